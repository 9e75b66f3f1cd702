"""The chaos bench, short: exchanges, a corrupt version, a killed Triton; no answer lost or wrong."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from fastserve.local.environment import Environment

BENCH = Path(__file__).parents[2] / "bench"

pytestmark = [pytest.mark.triton, pytest.mark.timeout(300)]


def test_faults_under_load_lose_and_mistake_nothing(environment: Environment, tmp_path: Path) -> None:
    result = tmp_path / "chaos-short.json"
    command = [sys.executable, "-m", "chaos", "--short", "--results", str(tmp_path)]
    done = subprocess.run(command, cwd=BENCH, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = {row["name"]: row for row in json.loads(result.read_text())["rows"]}
    assert {name: row["trials"] for name, row in rows.items()} == {
        "A→B→A": 2,
        "corrupt B": 1,
        "custom model's Triton killed": 1,
    }
    assert all(row["whole"]["requests"] > 100 for row in rows.values())
