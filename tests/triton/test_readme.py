"""Every command of the README's tour runs, in order, as it stands there."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from news import ROOT, post

pytestmark = [pytest.mark.triton, pytest.mark.timeout(900)]


def blocks(language: str) -> list[str]:
    readme = (ROOT / "README.md").read_text()
    found = re.findall(rf"^```{language}\n(.*?)^```", readme, re.MULTILINE | re.DOTALL)
    return [line for block in found for line in block.splitlines() if line.strip()]


def test_the_tour_runs(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    shutil.copytree(ROOT / "examples", tmp_path / "examples", ignore=shutil.ignore_patterns("models"))
    (tmp_path / ".venv").symlink_to(Path(sys.executable).parent.parent)
    state = tmp_path_factory.mktemp("s")
    said: dict[str, str] = {}
    commands = blocks("console tour")
    assert len(commands) >= 11
    try:
        for command in commands:
            said[command] = _run(command, tmp_path, state)
            if " up " in command:
                said |= {curl: _run(curl, tmp_path, state) for curl in blocks("console") if "curl" in curl}
    finally:
        subprocess.run([".venv/bin/fastserve", "down", "--state", str(state)], cwd=tmp_path, check=False)
    curls = [answer for command, answer in said.items() if command.startswith("curl")]
    assert len(curls) == 2
    assert {"sport"} & {member["name"] for member in json.loads(curls[0])["members"]}
    assert json.loads(curls[1])["model_name"] == "news"


def _run(command: str, folder: Path, state: Path) -> str:
    words = shlex.split(command)
    if words[0] == "curl" and shutil.which("curl") is None:
        # A bare machine has none; the request is the same.
        status, document, _ = post(f"http://{words[2]}", json.loads(words[words.index("-d") + 1]))
        assert status == 200, document
        return json.dumps(document)
    done = subprocess.run(
        words,
        cwd=folder,
        env={**os.environ, "FASTSERVE_STATE": str(state), "COLUMNS": "160"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout
