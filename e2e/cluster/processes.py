"""Processes that outlive the command that starts them, and are found again by pid and start time.

A pid alone names whoever has it now; pid, start time in clock ticks and the id of the boot name one
process for good.
"""

import hashlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class Program:
    """What shall run. `inputs` are files that it reads once, at its start: a change of one restarts it."""

    name: str
    command: tuple[str, ...]
    inputs: tuple[Path, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)

    def fingerprint(self) -> str:
        digest = hashlib.sha256("\0".join(self.command).encode())
        digest.update(json.dumps(sorted(self.environment.items())).encode())
        for path in self.inputs:
            digest.update(path.read_bytes())
        return digest.hexdigest()[:16]


@dataclass(frozen=True)
class Record:
    """A process that was started: enough to know it again."""

    pid: int
    started: int
    boot: str
    fingerprint: str

    @classmethod
    def read(cls, path: Path) -> "Record | None":
        try:
            return cls(**json.loads(path.read_text()))
        except (FileNotFoundError, ValueError, TypeError):
            return None  # a torn file names nobody

    def write(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_suffix(".new")
        fresh.write_text(json.dumps(asdict(self)))
        fresh.replace(path)

    def alive(self) -> bool:
        return self.boot == boot_id() and start_time(self.pid) == self.started


def boot_id() -> str:
    return BOOT_ID.read_text().strip()


def start_time(pid: int) -> int | None:
    """Clock ticks from the boot to the start of `pid`; None where it is gone or a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return parse_start_time(stat)


def parse_start_time(stat: str) -> int | None:
    """Field 22 of /proc/PID/stat; the name in field 2 may hold spaces and brackets."""
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in {"Z", "X"} else int(fields[19])


class Processes:
    """The processes of one cluster: a record and a log for each."""

    def __init__(self, records: Path, logs: Path) -> None:
        self._records = records
        self._logs = logs
        self.started: list[str] = []
        """What this command has started, in order."""

    def log(self, name: str) -> Path:
        return self._logs / f"{name}.log"

    def names(self) -> list[str]:
        return sorted(path.stem for path in self._records.glob("*.json"))

    def record(self, name: str) -> Record | None:
        return Record.read(self._path(name))

    def alive(self, name: str) -> bool:
        record = self.record(name)
        return record is not None and record.alive()

    def ensure(self, program: Program) -> bool:
        """Have `program` running as it is written. True where it had to be started."""
        record = self.record(program.name)
        if record is not None and record.alive():
            if record.fingerprint == program.fingerprint():
                return False
            print(f"{program.name}: its command or configuration changed; starting it anew", flush=True)
            self.stop(program.name)
        self._start(program)
        return True

    def stop(self, name: str, grace_seconds: float = 5.0) -> None:
        """End the process: politely, then by force. A process that only has its pid is left alone."""
        record = self.record(name)
        if record is not None:
            _end(record, grace_seconds)
        self._path(name).unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        return self._records / f"{name}.json"

    def _start(self, program: Program) -> None:
        self._logs.mkdir(parents=True, exist_ok=True)
        with self.log(program.name).open("ab") as log:
            child = subprocess.Popen(
                program.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd="/",
                env={**os.environ, **program.environment},
            )
        started = start_time(child.pid)
        Record(child.pid, started or 0, boot_id(), program.fingerprint()).write(self._path(program.name))
        self.started.append(program.name)
        print(f"started {program.name} (pid {child.pid})", flush=True)


def _end(record: Record, grace_seconds: float) -> None:
    for number, patience in ((signal.SIGTERM, grace_seconds), (signal.SIGKILL, 5.0)):
        if not record.alive():
            return
        os.kill(record.pid, number)
        deadline = time.monotonic() + patience
        while record.alive() and time.monotonic() < deadline:
            time.sleep(0.05)
