"""From plans to processes: allots ports and folders, and writes what each process reads at its start."""

import secrets
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from fastserve.api.access import key_digest
from fastserve.errors import LocalError
from fastserve.local.documents import (
    Launch,
    PoolPlace,
    ProcessKind,
    ProcessSpec,
    RejectedMember,
    RouterPlace,
)
from fastserve.local.environment import Environment
from fastserve.local.files import write_whole
from fastserve.local.folders import Folders
from fastserve.local.pool_files import write_state_key, write_table, write_wanted
from fastserve.local.ports import LOOPBACK, door_ports, free_ports
from fastserve.local.preparing import PlannedPool, engine_home
from fastserve.planning.plan import Instance, PoolPlan
from fastserve.planning.triton import ServerPlace, server_arguments, warden_arguments
from fastserve.router.peers import Peer, PeerList
from fastserve.router.settings import RouterSettings

MAX_SOCKET_PATH = 100
"""Bytes; the kernel takes 107 for a Unix socket's path."""


@dataclass(frozen=True)
class Ground:
    """What launching stands on: installed pieces, and folders."""

    environment: Environment
    folders: Folders
    encoder_threads: int = 1
    drain_seconds: int = 10


def launch(made: Sequence[PlannedPool], ground: Ground, port: int) -> Launch:
    """Write all files under the state folder and return what to start. The first pool's door listens
    on `port`, the next one's on the port after it; 0 takes any free ports. Raises LocalError."""
    doors = door_ports(port, len(made))
    inner = iter(free_ports(sum(_inner_ports(one.plan) for one in made), but=doors))
    _fresh(ground.folders.state)
    pools: list[PoolPlace] = []
    processes: list[ProcessSpec] = []
    for one, door in zip(made, doors, strict=True):
        pool = _PoolLaunch(one, ground, door, inner)
        pools.append(pool.place())
        processes.extend(pool.processes())
    home = engine_home(ground.environment)
    launched = Launch(
        pools=tuple(pools),
        processes=tuple(processes),
        engine_python=home.python,
        stub_paths=home.stub_paths,
    )
    write_whole(ground.folders.launch_file, launched.model_dump_json(indent=2))
    return launched


def _inner_ports(plan: PoolPlan) -> int:
    """Ports besides the door's: its admin port; of each instance two of the router and three of Triton."""
    return 1 + 5 * len(plan.instances)


def _fresh(state: Path) -> None:
    """Clear what an earlier run left; logs are kept by being appended to."""
    if len(str(state / "run" / ("x" * 16))) > MAX_SOCKET_PATH:
        raise LocalError(
            f"The state folder's path is too long for Unix sockets: {state}. Choose a shorter --state."
        )
    for name in ("pools", "run", "tritons"):
        shutil.rmtree(state / name, ignore_errors=True)
        (state / name).mkdir(parents=True)


class _PoolLaunch:
    """The files and processes of one pool."""

    def __init__(self, made: PlannedPool, ground: Ground, door_port: int, ports: Iterator[int]) -> None:
        plan = made.plan
        self._plan, self._wanted, self._ground = plan, made.wanted, ground
        self._folder = ground.folders.pool(plan.table.pool)
        self._access = made.wanted.access
        self._door = _router_place(f"{plan.table.pool}-door", None, (door_port, next(ports)))
        self._instances = [
            (instance, _router_place(instance.name, instance.sub_model, (next(ports), next(ports))))
            for instance in plan.instances
        ]
        self._tritons = {
            place.instance: (next(ports), next(ports), next(ports)) for _, place in self._instances
        }

    def place(self) -> PoolPlace:
        return PoolPlace(
            name=self._plan.table.pool,
            folder=self._folder,
            routers=(self._door, *(place for _, place in self._instances)),
            rejected=tuple(
                RejectedMember(name=name, reason=why.reason, message=why.message)
                for name, why in sorted(self._plan.rejected.items())
            ),
            scheme="https" if self._access.certificate else "http",
        )

    def processes(self) -> list[ProcessSpec]:
        """Write table, peers and settings; return the Tritons, their routers, and the door."""
        self._write_pool()
        peers = PeerList(
            peers=tuple(
                Peer(instance=place.instance, member=place.member, address=place.data, admin=place.admin)
                for _, place in self._instances
            )
        )
        write_whole(self._folder / "peers.json", msgspec.json.encode(peers).decode())
        tritons = [self._triton(instance, place) for instance, place in self._instances]
        routers = [self._router(place) for _, place in self._instances]
        return [*tritons, *routers, self._router(self._door)]

    def _write_pool(self) -> None:
        table = self._plan.table
        if self._access.keys is not None:
            key = secrets.token_hex(32)
            write_state_key(self._folder, key)
            access = table.access.model_copy(update={"operator_digest": key_digest(key.encode())})
            table = table.model_copy(update={"access": access})
        write_table(self._folder, table)
        write_wanted(self._folder, self._wanted.model_copy(update={"table": table}))

    def _triton(self, instance: Instance, place: RouterPlace) -> ProcessSpec:
        home = self._ground.environment.triton
        http, grpc, metrics = self._tritons[place.instance]
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
                *warden_arguments(str(self._warden(place)), prefix, server),
            ),
            # Without GPUs allotted a model must not see any: the engine counts what is visible.
            environment={"CUDA_VISIBLE_DEVICES": ",".join(instance.layout.gpus)},
            log=self._ground.folders.logs / f"{place.instance}-triton.log",
            shm_prefix=prefix,
        )

    def _router(self, place: RouterPlace) -> ProcessSpec:
        settings = self._folder / f"{place.instance}.settings.json"
        document = msgspec.json.format(msgspec.json.encode(self._settings(place)), indent=2)
        write_whole(settings, document.decode())
        return ProcessSpec(
            name=f"{place.instance}-router" if place.member else place.instance,
            kind=ProcessKind.ROUTER if place.member else ProcessKind.DOOR,
            arguments=(sys.executable, "-m", "fastserve.router", "--settings", str(settings)),
            log=self._ground.folders.logs / f"{place.instance}-router.log",
        )

    def _settings(self, place: RouterPlace) -> RouterSettings:
        http, grpc, _ = self._tritons.get(place.instance, (0, 0, 0))
        state, data = self._ground.folders.state, self._ground.folders
        return RouterSettings(
            pool=self._plan.table.pool,
            instance=place.instance,
            member=place.member,
            host=LOOPBACK,
            data_port=_port(place.data),
            admin_port=_port(place.admin),
            table_path=str(self._folder / "routes.json"),
            peers_path=str(self._folder / "peers.json"),
            run_path=str(state / "run"),
            prototypes_path=str(data.prototypes),
            computes_prototypes=place.member is None,
            encoder_path=str(self._ground.environment.encoder),
            encoder_threads=self._ground.encoder_threads,
            triton_http=f"{LOOPBACK}:{http}" if place.member else None,
            triton_grpc=f"{LOOPBACK}:{grpc}" if place.member else None,
            repository_path=str(self._repository(place)) if place.member else None,
            warden_socket=str(self._warden(place)) if place.member else None,
            keys_path=_text(self._access.keys),
            tls_path=_text(self._access.certificate),
            client_ca_path=_text(self._access.client_ca),
            drain_seconds=self._ground.drain_seconds,
        )

    def _warden(self, place: RouterPlace) -> Path:
        """Short, because the path of a Unix socket is: named by a port of its Triton."""
        http, _, _ = self._tritons[place.instance]
        return self._ground.folders.state / "run" / f"{http}.warden"

    def _repository(self, place: RouterPlace) -> Path:
        return self._ground.folders.state / "tritons" / place.instance


def _router_place(instance: str, member: str | None, ports: tuple[int, int]) -> RouterPlace:
    data, admin = ports
    return RouterPlace(
        instance=instance, member=member, data=f"{LOOPBACK}:{data}", admin=f"{LOOPBACK}:{admin}"
    )


def _text(path: Path | None) -> str | None:
    return str(path) if path else None


def _port(address: str) -> int:
    return int(address.rpartition(":")[2])
