"""The pool under test: `fastserve up` and `apply` on models that tell who answers, with real Tritons."""

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psutil

from chaos.load import TEXTS
from chaos.model import LABELS, Ground
from fastserve.api.routes import Member, RouteTable
from fastserve.api.state import RouterState
from fastserve.local.applying import ApplyOptions, apply
from fastserve.local.documents import PoolPlace, Session
from fastserve.local.environment import Installer
from fastserve.local.folders import Folders
from fastserve.local.pool_files import read_table, read_wanted

POOL, ILLNESSES = "chaos", "illnesses"
START_SECONDS = 120.0
LOOK_SECONDS = 0.05


class Never(RuntimeError):
    """What was waited for did not come."""


@dataclass(frozen=True)
class Part:
    """One sub-model as its file is to say. `version` is the user's name for it."""

    name: str
    examples: tuple[str, ...]
    model: Path
    version: str = "1"
    replicas: int = 1
    rollout: dict[str, Any] = field(default_factory=dict)
    spec: dict[str, Any] = field(default_factory=dict)
    """More of it, in the place of what stands here."""

    def document(self) -> dict[str, Any]:
        model = {"storageUri": self.model.as_uri(), "version": self.version}
        spec = {
            "poolRef": {"name": POOL},
            "examples": list(self.examples),
            "replicas": self.replicas,
            "rollout": self.rollout,
            "model": model,
            "engine": {"type": "Custom", "labels": list(LABELS)},
        }
        head = {"apiVersion": "fastserve.io/v1alpha1", "kind": "SubModel"}
        return {**head, "metadata": {"name": self.name}, "spec": {**spec, **self.spec}}


ASKED_FOR = TEXTS[:4]
"""Examples of who is to answer the load."""
ELSEWHERE = ("the weather in the mountains",)
"""Examples of who answers it where nobody nearer is ready."""


def ground_of(folder: Path, wait: float) -> Ground:
    """Installs what models stand on, where it is not there yet."""
    illnesses = folder / ILLNESSES
    illnesses.mkdir()
    packages = Installer(Folders.of_platform(), print).everything().triton.stub_packages
    return Ground(packages, wait, illnesses)


class World:
    """A running pool. Instances are named ``<sub-model>-<n>``."""

    def __init__(self, folder: Path, parts: Sequence[Part]) -> None:
        self.folder, self.state = folder, folder / "state"
        self._parts = {part.name: part for part in parts}
        self._folders = Folders.of_platform(state=self.state)
        self._file = folder / "pool.yaml"
        self._write()

    def up(self) -> None:
        self._fastserve("up", "-f", str(self._file), "--detach", "--port", "0")
        self.until(lambda: all(self.ready(one.instance) for one in self.place.routers), START_SECONDS)

    def down(self) -> None:
        self._fastserve("down")

    def change(self, name: str, **changes: Any) -> None:
        """What `fastserve apply` does with a changed file, without the start of another Python."""
        self._parts[name] = replace(self._parts[name], **changes)
        self._write()
        apply(ApplyOptions((self._file,), self._folders, ""), self.session)

    @property
    def session(self) -> Session:
        return Session.model_validate_json(self._folders.session_file.read_text())

    @property
    def place(self) -> PoolPlace:
        return self.session.pools[0]

    @property
    def address(self) -> str:
        """Of the pool's door."""
        return self.place.door.data

    def log(self, instance: str) -> Path:
        return self._folders.logs / f"{instance}-router.log"

    def said(self, instance: str) -> RouterState | None:
        """What a router says of itself; None where it does not answer."""
        try:
            with urllib.request.urlopen(f"http://{self._admin(instance)}/v1/state", timeout=2) as answer:
                return RouterState.model_validate_json(answer.read())
        except (OSError, ValueError):
            return None

    def ready(self, instance: str) -> bool:
        try:
            with urllib.request.urlopen(f"http://{self._admin(instance)}/readyz", timeout=2):
                return True
        except OSError:
            return False

    def process(self, name: str) -> psutil.Process | None:
        """A process that the session keeps: ``<instance>-router`` or ``<instance>-triton``."""
        found = {one.name: one.pid for one in self.session.processes}
        try:
            return psutil.Process(found[name]) if found[name] else None
        except psutil.NoSuchProcess:
            return None

    def triton(self, instance: str) -> psutil.Process:
        """Triton itself, below its warden."""
        warden = self.process(f"{instance}-triton")
        children = warden.children() if warden else []
        if len(children) != 1:
            raise Never(f"the warden of {instance} has {len(children)} children")
        return children[0]

    def models_in(self, instance: str) -> int:
        """Models that have a process in a Triton; 0 where there is none."""
        warden = self.process(f"{instance}-triton")
        try:
            return sum(len(one.children()) for one in warden.children()) if warden else 0
        except psutil.NoSuchProcess:
            return 0

    def memory(self, instance: str) -> int:
        """Resident bytes of a router and of all below its warden: Triton, stubs, ranks."""
        family = []
        for name in (f"{instance}-router", f"{instance}-triton"):
            process = self.process(name)
            family += [process, *process.children(recursive=True)] if process else []
        return sum(int(one.memory_info().rss) for one in family)

    def serves(self, name: str, version: str) -> bool:
        """Whether this version, and no other one, is in all Tritons of a sub-model."""
        member = _member(read_table(self.place.folder), name)
        if member.rollout is not None or member.target.version != version:
            return False
        states = [self.said(one.instance) for one in self.place.routers if one.member == name]
        return all(state is not None and _serves(state, version) for state in states)

    def refused(self, name: str) -> bool:
        """Whether the version that the sub-model's file asks for was refused, and nothing is on its way."""
        folder = self.place.folder
        wanted, member = _member(read_wanted(folder).table, name), _member(read_table(folder), name)
        refused = {(one.digest, one.generation) for one in member.refused}
        return member.rollout is None and (wanted.target.digest, wanted.generation) in refused

    def until(self, true: Callable[[], bool], seconds: float) -> float:
        """When it became so. Raises Never."""
        moment = self.when(true, seconds)
        if moment is None:
            raise Never(f"not within {seconds:.0f} s")
        return moment

    def when(self, true: Callable[[], bool], seconds: float) -> float | None:
        """When it became so; None where it did not."""
        deadline = time.monotonic() + seconds
        while not true():
            if time.monotonic() > deadline:
                return None
            time.sleep(LOOK_SECONDS)
        return time.monotonic()

    def _admin(self, instance: str) -> str:
        return next(one.admin for one in self.place.routers if one.instance == instance)

    def _write(self) -> None:
        head = {"apiVersion": "fastserve.io/v1alpha1", "kind": "ModelPool", "metadata": {"name": POOL}}
        pool = {**head, "spec": {"selection": {"topK": 1, "minScore": "0"}}}
        documents = [pool, *(part.document() for part in self._parts.values())]
        self._file.write_text("\n---\n".join(json.dumps(one, indent=1) for one in documents))

    def _fastserve(self, *arguments: str) -> None:
        program = str(Path(sys.executable).parent / "fastserve")
        command = [program, *arguments, "--state", str(self.state)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def _serves(state: RouterState, version: str) -> bool:
    there = [(one.version, one.active) for one in state.versions if one.phase == "Loaded"]
    return state.ready and there == [(version, True)]


def _member(table: RouteTable, name: str) -> Member:
    return next(one for one in table.members if one.name == name)


@contextmanager
def running(folder: Path, parts: Sequence[Part]) -> Iterator[World]:
    """The pool while the block runs."""
    world = World(folder, parts)
    try:
        world.up()
        yield world
    finally:
        world.down()
