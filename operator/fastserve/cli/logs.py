"""Prints logs, each line with the name of the process it came from."""

import time
from collections import deque
from pathlib import Path

from fastserve.cli.terminal import out
from fastserve.errors import LocalError

POLL_SECONDS = 0.3


def show_logs(folder: Path, name: str | None, lines: int, *, follow: bool) -> None:
    """Print the last lines of every log whose file name contains `name`; with `follow`, what comes after."""
    files = sorted(file for file in folder.glob("*.log") if name is None or name in file.stem)
    if not files:
        there = ", ".join(sorted(file.stem for file in folder.glob("*.log"))) or "none yet"
        raise LocalError(f"No log with {name or 'any name'!r} in its name. Logs: {there}")
    for file in files:
        with file.open(errors="replace") as content:
            for line in deque(content, maxlen=lines):
                _print(file, line)
    if follow:
        _follow(files)


def _follow(files: list[Path]) -> None:
    opened = [(file, file.open(errors="replace")) for file in files]
    for _, content in opened:
        content.seek(0, 2)
    try:
        while True:
            quiet = True
            for file, content in opened:
                for line in content:
                    _print(file, line)
                    quiet = False
            if quiet:
                time.sleep(POLL_SECONDS)
    except KeyboardInterrupt:
        return
    finally:
        for _, content in opened:
            content.close()


def _print(file: Path, line: str) -> None:
    out.print(f"{file.stem} | {line.rstrip()}", markup=False, highlight=False)
