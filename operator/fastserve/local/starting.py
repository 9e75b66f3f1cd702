"""Starts and ends a session: install, read, plan, write, and hand over to the supervisor process."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

from fastserve.errors import LocalError
from fastserve.local.documents import ProcessKind, Session
from fastserve.local.environment import Installer, Say
from fastserve.local.folders import Folders
from fastserve.local.ground import Ground
from fastserve.local.launching import launch
from fastserve.local.machine import this_machine
from fastserve.local.overview import read_session, supervisor_of
from fastserve.local.ports import door_ports
from fastserve.local.preparing import engine_home, plans_for, read
from fastserve.local.supervisor import KILL_AFTER, die_with_parent

START_SECONDS = 10.0


@dataclass(frozen=True)
class StartOptions:
    """What `fastserve up` was asked for."""

    files: tuple[Path, ...]
    folders: Folders
    port: int = 8080
    triton: Path | None = None
    torch_backend: str = ""
    visible_devices: str | None = None
    detach: bool = False
    secrets: Path | None = None
    """Folder with one folder for each Secret that a pool's spec.router names."""


def start(options: StartOptions, say: Say) -> Session:
    """Bring up what the files ask for; returns as soon as the supervisor runs, before models are loaded.

    Raises ManifestErrors, InvalidSpec or LocalError, in all cases with nothing left running.
    """
    options.folders.state.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(options.folders.state / "start.lock", timeout=0):
            _refuse_second(options.folders)
            return _start(options, say)
    except Timeout as busy:
        raise LocalError(f"Another `fastserve up` is starting with {options.folders.state}.") from busy


def _start(options: StartOptions, say: Say) -> Session:
    wanted = read(options.files)
    door_ports(options.port, len(wanted.pools))  # told before minutes of installing
    installer = Installer(options.folders, say, options.torch_backend, options.triton)
    environment = installer.everything()
    say("Planning")
    machine = this_machine(options.visible_devices)
    plans = plans_for(wanted, engine_home(environment), machine, options.secrets)
    launch(plans, Ground(environment, options.folders, machine.gpus), options.port)
    say("Starting")
    return _hand_over(options)


def stop(session: Session) -> None:
    """End the supervisor and with it everything it started; returns when all of it is gone."""
    process = supervisor_of(session)
    if process is None:
        return
    try:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=len(ProcessKind) * KILL_AFTER + 10)
    except psutil.NoSuchProcess:
        return
    except psutil.TimeoutExpired as late:
        raise LocalError(f"The supervisor (pid {session.pid}) did not end; kill it by hand.") from late


def _refuse_second(folders: Folders) -> None:
    session = read_session(folders.session_file)
    if session is not None:
        runs = ", ".join(f"{pool.name} at {pool.url}" for pool in session.pools)
        raise LocalError(
            f"Already running (pid {session.pid}): {runs}."
            " `fastserve status` shows it, `fastserve down` ends it, --state FOLDER runs another beside it."
        )


def _hand_over(options: StartOptions) -> Session:
    """Start the supervisor in a session of its own: Ctrl-C reaches only the command, which asks it to end."""
    folders = options.folders
    folders.logs.mkdir(parents=True, exist_ok=True)
    files = (str(folders.launch_file), str(folders.session_file))
    with (folders.logs / "supervisor.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "fastserve.local", *files],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=None if options.detach else die_with_parent,  # noqa: PLW1509 - it takes no lock
            cwd=os.sep,
        )
    try:
        return _written_session(process, folders)
    except BaseException:  # Ctrl-C too: nobody would know of it
        process.kill()
        raise


def _written_session(process: "subprocess.Popen[bytes]", folders: Folders) -> Session:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        session = read_session(folders.session_file)
        if session is not None and session.pid == process.pid:
            return session
        if process.poll() is not None:
            break
        time.sleep(0.05)
    raise LocalError(f"The supervisor did not start; see {folders.logs / 'supervisor.log'}.")
