"""The processes of one pool: writes what each reads at its start, and tells how it is started."""

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import msgspec

from fastserve.local.documents import AccessFolders, ProcessKind, ProcessSpec, RouterPlace
from fastserve.local.files import write_whole
from fastserve.local.ground import Ground
from fastserve.local.pool_files import PEERS, SCALE, TABLE
from fastserve.local.ports import LOOPBACK
from fastserve.planning.triton import ServerPlace, server_arguments, warden_arguments
from fastserve.router.settings import RouterSettings

TritonPorts = tuple[int, int, int]
"""HTTP, gRPC, metrics."""
ROUTER_PORTS, TRITON_PORTS = 2, 3


def router_place(instance: str, member: str | None, ports: tuple[int, int]) -> RouterPlace:
    """A router with these data and admin ports."""
    data, admin = ports
    return RouterPlace(
        instance=instance, member=member, data=f"{LOOPBACK}:{data}", admin=f"{LOOPBACK}:{admin}"
    )


@dataclass(frozen=True)
class Outfit:
    """What all processes of a pool share. `folder` is the pool's."""

    pool: str
    folder: Path
    ground: Ground
    access: AccessFolders

    def replica(self, place: RouterPlace, ports: TritonPorts, gpus: tuple[str, ...]) -> list[ProcessSpec]:
        """A Triton and the router beside it. `place` has a member."""
        return [self._triton(place, ports, gpus), self._router(place, ports)]

    def door(self, place: RouterPlace, *, scales: bool) -> ProcessSpec:
        """The stand-by router; one that `scales` looks how many replicas there are to be."""
        settings = self._settings(place)
        if scales:
            settings = msgspec.structs.replace(settings, scale_path=str(self.folder / SCALE))
        return self._process(place, settings, place.instance, ProcessKind.DOOR)

    def clear(self, place: RouterPlace) -> None:
        """Remove what was written for a replica that is gone."""
        shutil.rmtree(self._repository(place), ignore_errors=True)
        self._settings_file(place).unlink(missing_ok=True)

    def _repository(self, place: RouterPlace) -> Path:
        """Where a replica's Triton finds its models."""
        return self.ground.folders.state / "tritons" / place.instance

    def _settings_file(self, place: RouterPlace) -> Path:
        return self.folder / f"{place.instance}.settings.json"

    def _triton(self, place: RouterPlace, ports: TritonPorts, gpus: tuple[str, ...]) -> ProcessSpec:
        home = self.ground.environment.triton
        http, grpc, metrics = ports
        repository = self._repository(place)
        repository.mkdir(parents=True)
        prefix = f"fastserve-{place.instance}-{http}-"
        where = ServerPlace(
            repository=str(repository),
            backend_directory=str(home.backend_directory),
            http_port=http,
            grpc_port=grpc,
            metrics_port=metrics,
            shm_prefix=prefix,
        )
        # The warden's own interpreter must not load Triton's libraries.
        libraries = ("env", f"LD_LIBRARY_PATH={home.library_path}")
        server = (*libraries, str(home.binary), *server_arguments(where))
        return ProcessSpec(
            name=f"{place.instance}-triton",
            kind=ProcessKind.TRITON,
            arguments=(
                *(sys.executable, "-m", "fastserve.engine.warden"),
                *warden_arguments(str(self._warden(http)), prefix, server),
            ),
            # Without GPUs allotted a model must not see any: the engine counts what is visible.
            environment={"CUDA_VISIBLE_DEVICES": ",".join(gpus)},
            log=self.ground.folders.logs / f"{place.instance}-triton.log",
            shm_prefix=prefix,
        )

    def _router(self, place: RouterPlace, ports: TritonPorts) -> ProcessSpec:
        http, grpc, _ = ports
        settings = msgspec.structs.replace(
            self._settings(place),
            triton_http=f"{LOOPBACK}:{http}",
            triton_grpc=f"{LOOPBACK}:{grpc}",
            repository_path=str(self._repository(place)),
            warden_socket=str(self._warden(http)),
        )
        return self._process(place, settings, f"{place.instance}-router", ProcessKind.ROUTER)

    def _process(
        self, place: RouterPlace, settings: RouterSettings, name: str, kind: ProcessKind
    ) -> ProcessSpec:
        file = self._settings_file(place)
        write_whole(file, msgspec.json.format(msgspec.json.encode(settings), indent=2).decode())
        return ProcessSpec(
            name=name,
            kind=kind,
            arguments=(sys.executable, "-m", "fastserve.router", "--settings", str(file)),
            log=self.ground.folders.logs / f"{place.instance}-router.log",
        )

    def _settings(self, place: RouterPlace) -> RouterSettings:
        folders = self.ground.folders
        return RouterSettings(
            pool=self.pool,
            instance=place.instance,
            member=place.member,
            host=LOOPBACK,
            data_port=_port(place.data),
            admin_port=_port(place.admin),
            table_path=str(self.folder / TABLE),
            peers_path=str(self.folder / PEERS),
            run_path=str(folders.state / "run"),
            prototypes_path=str(folders.prototypes),
            computes_prototypes=place.member is None,
            encoder_path=str(self.ground.environment.encoder),
            encoder_threads=self.ground.encoder_threads,
            keys_path=_text(self.access.keys),
            tls_path=_text(self.access.certificate),
            client_ca_path=_text(self.access.client_ca),
            drain_seconds=self.ground.drain_seconds,
        )

    def _warden(self, http_port: int) -> Path:
        """Short, because the path of a Unix socket is: named by a port of its Triton."""
        return self.ground.folders.state / "run" / f"{http_port}.warden"


def _text(path: Path | None) -> str | None:
    return str(path) if path else None


def _port(address: str) -> int:
    return int(address.rpartition(":")[2])
