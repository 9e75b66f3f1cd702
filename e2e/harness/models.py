"""The four news specialists of examples/01-news, trained once and kept outside the checkout."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
NEWS = ROOT / "examples" / "01-news"
SPECIALISTS = ("world", "business", "sport", "science")


def specialists() -> Path:
    """The folder that holds the four checkpoints; trains what is missing (half a minute each)."""
    folder = _folder()
    for name in SPECIALISTS:
        if not (folder / name / "fastserve.json").is_file():
            print(f"training {name}", file=sys.stderr)
            _train(NEWS / "data" / f"{name}.jsonl", folder / name)
    return folder


def _train(data: Path, output: Path) -> None:
    subprocess.run(
        [Path(sys.executable).with_name("fastserve"), "train", "--data", data, "--output", output],
        check=True,
        stdout=subprocess.DEVNULL,
    )


def _folder() -> Path:
    """Keyed by what the checkpoints depend on."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    sources = [
        *sorted((NEWS / "data").glob("*.jsonl")),
        *sorted(ROOT.glob("operator/fastserve/lifecycle/*.py")),
    ]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:12]
    return cache / "fastserve" / "e2e" / f"models-{digest}"
