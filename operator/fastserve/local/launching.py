"""From plans to processes: allots ports and folders, and writes what each process reads at its start."""

import secrets
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from fastserve.api.access import key_digest
from fastserve.errors import LocalError
from fastserve.local.documents import Launch, PoolPlace, ProcessSpec, RejectedMember
from fastserve.local.files import write_whole
from fastserve.local.ground import Ground
from fastserve.local.outfitting import ROUTER_PORTS, TRITON_PORTS, Outfit, router_place
from fastserve.local.pool_files import SCALE, write_peers, write_state_key, write_table, write_wanted
from fastserve.local.ports import door_ports, free_ports
from fastserve.local.preparing import PlannedPool
from fastserve.planning.plan import PoolPlan

MAX_SOCKET_PATH = 100
"""Bytes; the kernel takes 107 for a Unix socket's path."""


def launch(made: Sequence[PlannedPool], ground: Ground, port: int) -> Launch:
    """Write all files under the state folder and return what to start. The first pool's door listens
    on `port`, the next one's on the port after it; 0 takes any free ports. Raises LocalError."""
    doors = door_ports(port, len(made))
    allotted = free_ports(sum(_inner_ports(one.plan) for one in made), but=doors)
    inner = iter(allotted)
    _fresh(ground.folders.state)
    pools: list[PoolPlace] = []
    processes: list[ProcessSpec] = []
    for one, door in zip(made, doors, strict=True):
        pool = _PoolLaunch(one, ground, door, inner)
        pools.append(pool.place())
        processes.extend(pool.processes())
    launched = Launch(
        pools=tuple(pools), processes=tuple(processes), ground=ground, ports=(*doors, *allotted)
    )
    write_whole(ground.folders.launch_file, launched.model_dump_json(indent=2))
    return launched


def _inner_ports(plan: PoolPlan) -> int:
    """Ports besides the door's: its admin port, and those of each instance."""
    return 1 + (ROUTER_PORTS + TRITON_PORTS) * len(plan.instances)


def _fresh(state: Path) -> None:
    """Clear what an earlier run left, but for its numbers of replicas; logs are kept by being appended to."""
    if len(str(state / "run" / ("x" * 16))) > MAX_SOCKET_PATH:
        raise LocalError(
            f"The state folder's path is too long for Unix sockets: {state}. Choose a shorter --state."
        )
    scaled = {file: file.read_bytes() for file in (state / "pools").glob(f"*/{SCALE}")}
    for name in ("pools", "run", "tritons"):
        shutil.rmtree(state / name, ignore_errors=True)
        (state / name).mkdir(parents=True)
    for file, text in scaled.items():
        file.parent.mkdir()
        file.write_bytes(text)


class _PoolLaunch:
    """The files and processes of one pool."""

    def __init__(self, made: PlannedPool, ground: Ground, door_port: int, ports: Iterator[int]) -> None:
        plan = made.plan
        self._plan, self._wanted = plan, made.wanted
        self._folder = ground.folders.pool(plan.table.pool)
        self._outfit = Outfit(plan.table.pool, self._folder, ground, made.wanted.access)
        self._door = router_place(f"{plan.table.pool}-door", None, (door_port, next(ports)))
        self._instances = [
            (instance, router_place(instance.name, instance.sub_model, (next(ports), next(ports))))
            for instance in plan.instances
        ]
        self._tritons = [(next(ports), next(ports), next(ports)) for _ in self._instances]

    def place(self) -> PoolPlace:
        return PoolPlace(
            name=self._plan.table.pool,
            folder=self._folder,
            routers=(self._door, *(place for _, place in self._instances)),
            rejected=tuple(
                RejectedMember(name=name, reason=why.reason, message=why.message)
                for name, why in sorted(self._plan.rejected.items())
            ),
            scheme="https" if self._wanted.access.certificate else "http",
        )

    def processes(self) -> list[ProcessSpec]:
        """Write table, peers and settings; return the Tritons, their routers, and the door."""
        self._write_pool()
        write_peers(self._folder, [place for _, place in self._instances])
        replicas = [
            self._outfit.replica(place, ports, instance.layout.gpus)
            for (instance, place), ports in zip(self._instances, self._tritons, strict=True)
        ]
        tritons, routers = [triton for triton, _ in replicas], [router for _, router in replicas]
        return [*tritons, *routers, self._outfit.door(self._door, scales=bool(self._wanted.scaled))]

    def _write_pool(self) -> None:
        table = self._plan.table
        if self._wanted.access.keys is not None:
            key = secrets.token_hex(32)
            write_state_key(self._folder, key)
            access = table.access.model_copy(update={"operator_digest": key_digest(key.encode())})
            table = table.model_copy(update={"access": access})
        write_table(self._folder, table)
        write_wanted(self._folder, self._wanted.model_copy(update={"table": table}))
