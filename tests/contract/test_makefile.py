"""The Makefile, as far as nothing has to be installed for it."""

import subprocess
from pathlib import Path

from fastserve.local.environment import without_hashes

ROOT = Path(__file__).parents[2]


def make(*arguments: str) -> str:
    return subprocess.run(
        ["make", "--no-print-directory", *arguments], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout


def test_every_target_explains_itself() -> None:
    lines = (ROOT / "Makefile").read_text().splitlines()
    targets = [line.split()[1] for line in lines if line.startswith(".PHONY:")]
    listed = [line.split()[0] for line in make("help").splitlines()]
    assert len(targets) > 10
    assert sorted(targets) == sorted(listed)


def test_another_build_of_pytorch_is_installed_without_the_hashes_of_the_pinned_one() -> None:
    wanted = make("--always-make", "--dry-run", "install", "UV_TORCH_BACKEND=cpu")
    assert "--require-hashes -r .venv/requirements.txt" not in wanted
    assert "--require-hashes -r .venv/requirements.txt" in make(
        "--always-make", "--dry-run", "install", "UV_TORCH_BACKEND="
    )


def test_both_installations_loosen_pins_alike() -> None:
    loose = make("--eval", "loose: ; @$(LOOSE_PINS) requirements-dev.txt", "loose")
    assert "torch==" in loose
    assert loose == without_hashes((ROOT / "requirements-dev.txt").read_text())
