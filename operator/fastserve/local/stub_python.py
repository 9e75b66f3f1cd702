"""Triton's Python stub embeds a Python: the shared library of one must be on this machine.

Versions are those for which the wheel brings a stub *and* numpy 1.26 has a wheel: numpy 2 inside that
stub gives silent empty outputs.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fastserve.errors import LocalError

VERSIONS = ("3.11", "3.12", "3.10", "3.9")


@dataclass(frozen=True)
class StubPython:
    """`library_folder` is empty where the loader finds the library by itself."""

    version: str
    library_folder: str = ""


def find_stub_python(say: Callable[[str], None]) -> StubPython:
    """The first Python shared library that suits; where we are root and apt is there, it is installed."""
    found = _of_system() or _of_this_interpreter()
    if found is None and os.geteuid() == 0 and Path("/usr/bin/apt-get").exists():
        say("Installing libpython with apt-get: Triton's Python backend embeds it")
        found = _from_apt()
    if found is None:
        wanted = ", ".join(f"libpython{version}.so.1.0" for version in VERSIONS)
        raise LocalError(
            f"Triton's Python backend needs a shared Python library, one of {wanted}, and none is installed."
            " On Debian 12: sudo apt-get install libpython3.11; on Ubuntu 24.04: libpython3.12"
        )
    return found


def _from_apt() -> StubPython | None:
    """The first of the versions that this distribution has."""
    apt = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-y", "-q"]
    for arguments in (["update"], *(["install", f"libpython{version}"] for version in VERSIONS)):
        subprocess.run([*apt, *arguments], check=False, capture_output=True, stdin=subprocess.DEVNULL)
        if found := _of_system():
            return found
    return None


def _of_system() -> StubPython | None:
    ldconfig = shutil.which("ldconfig", path="/sbin:/usr/sbin")
    if ldconfig is None:
        return None
    listing = subprocess.run([ldconfig, "-p"], capture_output=True, text=True, check=False).stdout
    return next((StubPython(v) for v in VERSIONS if f"libpython{v}.so.1.0 " in listing), None)


def _of_this_interpreter() -> StubPython | None:
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    folder = str(sysconfig.get_config_var("LIBDIR") or "")
    if version in VERSIONS and (Path(folder) / f"libpython{version}.so.1.0").exists():
        return StubPython(version, folder)
    return None
