"""The loop of the session's process that starts and ends replicas of scaled sub-models, as many as are asked
for: what Kubernetes is on a cluster.

    asked   = what scale.json says, or said last; at first spec.replicas; within minReplicas and maxReplicas
    too few : start one after the other, as far as the machine has room
    too many: the newest leave. The route table says so, then nobody hears of them any more, then their
              routers answer what they have and end, then their Tritons end
"""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from fastserve.api.routes import Member
from fastserve.api.scaling import Staff
from fastserve.errors import BackendError
from fastserve.foreign_json import ForeignReader
from fastserve.local.documents import Launch, ReplicaCount, RouterPlace, ScaleFile, WantedPool
from fastserve.local.machine import Memory, memory_now, resident_bytes
from fastserve.local.outfitting import ROUTER_PORTS, TRITON_PORTS, Outfit, router_place
from fastserve.local.pool_files import SCALE, TABLE, WANTED, read_table, read_wanted, write_peers, write_table
from fastserve.local.room import Replica, Room
from fastserve.local.roster import Roster
from fastserve.local.supervisor import KILL_AFTER, Supervisor
from fastserve.router.table import WatchedFile
from fastserve.router.upstream import Upstream
from fastserve.router.wire import Readiness

LOOK_SECONDS = 0.5
NOTICE_SECONDS = 1.0
"""Routers look at the route table and at the list of peers twice a second."""
RETRY_SECONDS = 5.0
"""Between two looks whether a replica that did not fit does now."""
READY_SECONDS = 1.0
"""How long a router may take to tell whether it is ready."""
log = logging.getLogger(__name__)
_readiness = ForeignReader(Readiness)
Ready = Callable[[RouterPlace], Awaitable[bool]]


async def is_ready(place: RouterPlace) -> bool:
    """By its own word."""
    upstream = Upstream(place.admin)
    try:
        return _readiness.read((await upstream.get("/readyz", READY_SECONDS)).body).ready
    except (BackendError, ValueError):
        return False
    finally:
        upstream.close()


class Crew:
    """The replicas of one pool that come and go. `told` is called when its roster changed."""

    def __init__(
        self, roster: Roster, outfit: Outfit, supervisor: Supervisor, room: Room, told: Callable[[], None]
    ) -> None:
        self._roster, self._outfit, self._room, self._told = roster, outfit, room, told
        self._supervisor = supervisor
        self._folder = roster.place.folder
        self._fixed = roster.place.routers
        self._replicas: list[Replica] = []
        self._asked: dict[str, int] = {}
        self._retry_at: dict[str, float] = {}
        self._peers: list[RouterPlace] = []
        self._scale_file = WatchedFile(self._folder / SCALE)
        self._table_file = WatchedFile(self._folder / TABLE)
        self._wanted_file = WatchedFile(self._folder / WANTED)
        self._wanted: WantedPool | None = None
        self._news = False
        """The roster changed, and not everybody was told."""

    def look(self, now: float) -> None:
        """Start what is missing, and tell who serves from now on. Raises OSError or ValueError where a file
        cannot be read or written."""
        wanted = self._read()
        if not wanted.scaled:
            return
        counts = {member.name: self._count(wanted, member, staff, now) for member, staff in wanted.scaled}
        serving = (one.place for one in self._replicas if one.left_at is None)
        place = self._roster.place.model_copy(update={"routers": (*self._fixed, *serving), "counts": counts})
        self._news |= place != self._roster.place
        self._roster.place = place
        self._write_table()
        self._write_peers(now)
        if self._news:
            self._told()
        self._news = False

    def due(self, now: float) -> list[Replica]:
        """Replicas of which nobody hears any more, each once."""
        due = [one for one in self._replicas if not one.ending and _left(one, now) >= 2 * NOTICE_SECONDS]
        for replica in due:
            replica.ending = True
        return due

    async def end(self, replica: Replica) -> None:
        """Its router answers what it has; returns when nothing is left of both."""
        await self._supervisor.end(replica.router, replica.patience)
        await self._supervisor.end(replica.triton)
        try:
            self._outfit.clear(replica.place)
        except OSError as error:  # what is left of it on the disk stops nobody
            log.warning("a replica's files are left: %s", error)
        self._replicas.remove(replica)
        self._room.replicas.remove(replica)

    def _read(self) -> WantedPool:
        text = self._wanted_file.changed()
        if text is not None or self._wanted is None:
            self._wanted = WantedPool.model_validate_json(text or self._wanted_file.path.read_text("utf-8"))
        try:
            asked = self._scale_file.changed()
        except FileNotFoundError:
            asked = None
        if asked is not None:
            self._asked |= ScaleFile.model_validate_json(asked).replicas
        return self._wanted

    def _count(self, wanted: WantedPool, member: Member, staff: Staff, now: float) -> ReplicaCount:
        """Start or dismiss, and say what came of it."""
        said = self._asked.setdefault(member.name, staff.asked)
        asked = min(staff.most, max(staff.least, said))
        crew = self._serving(member.name)
        for replica in crew[asked:]:
            self._room.note(replica)
            replica.left_at = now
        because = ""
        while len(crew) < asked and not because:
            because = self._start(wanted, member, staff, now)
            crew = self._serving(member.name)
        return ReplicaCount(replicas=asked, said=said, unplaced=max(0, asked - len(crew)), because=because)

    def _serving(self, member: str) -> list[Replica]:
        return [one for one in self._replicas if one.place.member == member and one.left_at is None]

    def _start(self, wanted: WantedPool, member: Member, staff: Staff, now: float) -> str:
        """Start one more, or say why there is no room for it."""
        before = self._roster.place.counts.get(member.name)
        if before is not None and before.because and now < self._retry_at.get(member.name, 0.0):
            return before.because
        estimate = wanted.estimated_bytes[member.name]
        gpus, lacks = self._gpus(member, staff.gpus)
        lacks = lacks or self._room.lacks(member.target.digest, estimate)
        if lacks:
            self._retry_at[member.name] = now + RETRY_SECONDS
            return lacks
        self._add(wanted, member, gpus, estimate)
        return ""

    def _gpus(self, member: Member, count: int) -> tuple[tuple[str, ...], str]:
        """GPUs for one replica, or why it has none."""
        free = self._room.free_gpus()
        if len(free) >= count:
            return free[:count], ""
        if member.target.engine.allow_cpu:
            return (), ""
        return (), f"a replica takes {count} GPUs, and {len(free)} are free"

    def _add(self, wanted: WantedPool, member: Member, gpus: tuple[str, ...], estimate: int) -> None:
        # By then every request that it has was answered, or is too late.
        drain = max(self._outfit.ground.drain_seconds, math.ceil(wanted.table.deadline_millis / 1000))
        outfit = replace(self._outfit, ground=replace(self._outfit.ground, drain_seconds=drain))
        ports = data, admin, http, grpc, metrics = self._room.free_ports(ROUTER_PORTS + TRITON_PORTS)
        place = router_place(self._free_name(member.name), member.name, (data, admin))
        for spec in outfit.replica(place, (http, grpc, metrics), gpus):
            self._supervisor.start(spec)
        replica = Replica(place, ports, gpus, member.target.digest, estimate, drain + KILL_AFTER)
        self._replicas.append(replica)
        self._room.replicas.append(replica)

    def _free_name(self, member: str) -> str:
        taken = {one.place.instance for one in self._replicas}
        return next(name for i in range(len(taken) + 1) if (name := f"{member}-{i}") not in taken)

    def _write_table(self) -> None:
        if self._table_file.changed() is None and not self._news:
            return
        table = read_table(self._folder)
        if (staffed := self._roster.staffed(table)) != table:
            write_table(self._folder, staffed)

    def _write_peers(self, now: float) -> None:
        scaled = [one.place for one in self._replicas if _left(one, now) < NOTICE_SECONDS]
        peers = [*(one for one in self._fixed if one.member is not None), *scaled]
        if peers != self._peers:
            write_peers(self._folder, peers)
            self._peers = peers


def _left(replica: Replica, now: float) -> float:
    """Seconds since it was told to end; negative where it was not."""
    return -1.0 if replica.left_at is None else now - replica.left_at


class Scaler:
    """Starts and ends the replicas of all pools, which share the machine. `told` is called when a roster
    changed."""

    def __init__(
        self,
        launch: Launch,
        rosters: Sequence[Roster],
        supervisor: Supervisor,
        told: Callable[[], None],
        *,
        memory: Callable[[], Memory] = memory_now,
        ready: Ready = is_ready,
    ) -> None:
        self._supervisor, self._ready, self._logged = supervisor, ready, ""
        ground = launch.ground
        pools = [(one, read_wanted(one.place.folder)) for one in rosters] if ground else []
        held = {gpu for _, wanted in pools for gpus in wanted.shape.values() for gpu in gpus}
        gpus = [gpu for gpu in (ground.gpus if ground else ()) if gpu not in held]
        self._room = Room(gpus, launch.ports, self._resident, memory)
        self._crews = [
            Crew(
                roster,
                Outfit(roster.place.name, roster.place.folder, ground, wanted.access),
                supervisor,
                self._room,
                told,
            )
            for roster, wanted in pools
            if ground is not None
        ]

    async def run(self) -> None:
        """Look, for ever; what goes wrong is logged once and tried again."""
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as group:
            while True:
                await self.look()
                for crew in self._crews:
                    for replica in crew.due(loop.time()):
                        group.create_task(crew.end(replica))
                await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """Once at every pool."""
        unheard = [one for one in self._room.replicas if not one.answered and not one.ending]
        for replica, ready in zip(
            unheard, await asyncio.gather(*(self._ready(one.place) for one in unheard)), strict=True
        ):
            replica.answered = ready
        wrong = ""
        for crew in self._crews:
            try:
                crew.look(asyncio.get_running_loop().time())
            except Exception as error:  # whatever it is, the processes go on
                wrong = str(error)
                if wrong != self._logged:
                    log.exception("replicas cannot be started or ended")
        self._logged = wrong

    def _resident(self, replica: Replica) -> int:
        names = (replica.router, replica.triton)
        return sum(resident_bytes(one.pid) for one in self._supervisor.processes() if one.name in names)
