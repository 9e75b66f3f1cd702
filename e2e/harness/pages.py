"""The commands of a page for users, typed as they stand there."""

import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```console(?P<kind>[ \w-]*)\n(?P<text>.*?)^```", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^#+ +(.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """What is to be typed; `section` is the heading above it."""

    text: str
    kind: str
    section: str

    @property
    def commands(self) -> list[str]:
        return [line for line in self.text.splitlines() if line and not line.startswith("#")]


def blocks(page: str, section: str = "") -> list[Block]:
    """The blocks of a page, or of one section of it. Raises AssertionError where there are none."""
    text = (ROOT / page).read_text(encoding="utf-8")
    found = [
        Block(one["text"], one["kind"].strip(), HEADING.findall(text[: one.start()])[-1])
        for one in BLOCK.finditer(text)
    ]
    found = [one for one in found if section in ("", one.section)]
    assert found, f"{page} has no commands under {section!r}"
    return found


@dataclass
class Typist:
    """Types blocks in `folder`, one shell for each; what a shell left running goes on until the end.
    `said_for` stand in the place of what a page leaves to its reader."""

    folder: Path
    environment: Mapping[str, str]
    said_for: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 600
    _shells: list[int] = field(default_factory=list)

    def type(self, block: Block) -> str:
        """What the block printed, its commands among it. Raises AssertionError where one of them failed."""
        text = block.text
        for name, value in self.said_for.items():
            text = text.replace(name, value)
        with tempfile.TemporaryFile("w+") as said:
            shell = subprocess.Popen(
                ["bash", "-eux", "-o", "pipefail", "-c", text],
                cwd=self.folder,
                env={**os.environ, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            self._shells.append(shell.pid)
            status = shell.wait(self.seconds)
            said.seek(0)
            printed = said.read()
        print(printed)
        assert status == 0, f"{block.section}: exit status {status} of\n{text}\n{printed[-2000:]}"
        return printed

    def end(self) -> None:
        """End what the shells left running."""
        for group in self._shells:
            try:
                os.killpg(group, signal.SIGTERM)
            except ProcessLookupError:
                continue
        self._shells.clear()


@contextmanager
def at_the_keyboard(typist: Typist) -> Iterator[Typist]:
    """For one page: its background jobs end with it."""
    try:
        yield typist
    finally:
        typist.end()
