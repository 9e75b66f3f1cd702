"""Files that are generated and checked in: written, or compared with what is there."""

import sys
from collections.abc import Mapping
from difflib import unified_diff
from pathlib import Path
from typing import Literal


def write_or_compare(files: Mapping[Path, str], mode: Literal["write", "compare"]) -> int:
    """Write `files` (path to text), or print a diff for each that differs. Returns the exit code: 1
    where a compared file differs or is missing."""
    if mode == "write":
        for path, text in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return 0
    differences = [difference for path, text in files.items() if (difference := _difference(path, text))]
    for difference in differences:
        sys.stdout.write(difference)
    return 1 if differences else 0


def _difference(path: Path, text: str) -> str:
    found = path.read_text(encoding="utf-8") if path.is_file() else ""
    lines = unified_diff(
        found.splitlines(keepends=True),
        text.splitlines(keepends=True),
        f"{path} (found)",
        f"{path} (generated)",
    )
    return "".join(lines)
