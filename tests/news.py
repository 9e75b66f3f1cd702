"""Runs the `fastserve` command as a user does, and keeps a trained copy of the example 01-news."""

import json
import os
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "examples" / "01-news"
SPECIALISTS = ("world", "business", "sport", "science")
COMMAND = str(Path(sys.executable).parent / "fastserve")


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Cli:
    """The command with a state folder of its own."""

    state: Path

    def __call__(self, *arguments: str, seconds: float = 180, **environment: str) -> Done:
        done = subprocess.run(
            [COMMAND, *arguments],
            env={**os.environ, "FASTSERVE_STATE": str(self.state), "COLUMNS": "200", **environment},
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def pool(self) -> dict[str, Any]:
        done = self("status", "--json")
        assert done.code == 0, done.err
        return dict(json.loads(done.out)["pools"][0])

    def member(self, name: str) -> dict[str, Any]:
        return next(member for member in self.pool()["members"] if member["subModel"] == name)


def trained(folder: Path, cli: Cli) -> Path:
    """A copy of the example in `folder` with its four models trained (head only: quick, and good enough)."""
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("models"))
    for name in SPECIALISTS:
        data = ("--data", str(folder / "data" / f"{name}.jsonl"))
        done = cli("train", *data, "--output", str(folder / "models" / name), "--head-only")
        assert done.code == 0, done.err
    return folder


def post(url: str, document: object, **headers: str) -> tuple[int, dict[str, Any], dict[str, str]]:
    """Status, JSON and headers of a POST."""
    request = urllib.request.Request(url, json.dumps(document).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.load(answer), dict(answer.headers)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error), dict(error.headers)
