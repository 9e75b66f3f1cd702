"""What runs, as one value: the session file joined with what each router says of itself."""

import json
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
from pydantic import ValidationError

from fastserve.api.meta import Document, LoadProgress
from fastserve.api.state import RankState, RouterState
from fastserve.local.documents import ExchangeNote, PoolPlace, ReplicaCount, RouterPlace, Session
from fastserve.local.pool_files import read_exchanges, shown_state_key
from fastserve.planning.versions.words import Phase

HOPELESS = ("FailedToLoad", "Crashing", "Rejected", "Unplaced")
"""Phases that waiting will not end soon."""
AT_REST = ("Ready", "Asleep")
"""Phases in which all is as it is to be."""
STATE_SECONDS = 2.0
"""How long one router may take to tell its state."""


class MemberRow(Document):
    """One replica of a sub-model (or a sub-model that is not served), for people and scripts."""

    sub_model: str
    instance: str = ""
    phase: str
    """Ready, Starting, Loading, FailedToLoad, Crashing, Down or Rejected; of a scaled one that has no replica
    also Asleep, and Unplaced of replicas that do not fit."""
    because: str = ""
    version: str = ""
    """Of the weights that answer; two while one takes the other's place."""
    exchange: str = ""
    """How one version takes another one's place, or why it does not; empty at rest."""
    load: LoadProgress | None = None
    load_seconds: float = 0.0
    ranks: tuple[RankState, ...] = ()
    memory_bytes: int = 0
    """Resident memory of the ranks, their Triton and their router."""
    wait_p95_seconds: float = 0.0
    waiting: int = 0
    requests: int = 0
    failures: int = 0
    restarts: int = 0
    """Starts after the first, of ranks, Triton and router together."""


class ReplicasRow(Document):
    """Replicas of a sub-model."""

    sub_model: str
    ready: int
    wanted: int
    """That are to run."""
    unplaced: int = 0
    """Of these, so many do not fit on this machine."""


class PoolOverview(Document):
    """One pool and its members."""

    name: str
    url: str
    ready: bool
    because: str
    crashing: bool = False
    """The pool's door does not come up."""
    requests: int = 0
    members: tuple[MemberRow, ...] = ()
    replicas: tuple[ReplicasRow, ...] = ()

    @property
    def settled(self) -> bool:
        """Nothing is under way: every member is ready, or failed and waiting for its next try."""
        hopeful = [member for member in self.members if member.phase not in HOPELESS]
        if self.crashing or not hopeful:
            return True
        return self.ready and all(member.phase in AT_REST for member in hopeful)


class Overview(Document):
    """Everything that one `fastserve up` runs."""

    supervisor_pid: int
    pools: tuple[PoolOverview, ...]


def read_session(path: Path) -> Session | None:
    """The session that runs now; None where none does, also when the file was left by a dead one."""
    try:
        session = Session.model_validate_json(path.read_text())
    except (FileNotFoundError, ValidationError):
        return None
    return session if supervisor_of(session) else None


def supervisor_of(session: Session) -> psutil.Process | None:
    """The process that wrote the session; None where it ended, also when another one has its pid now."""
    try:
        process = psutil.Process(session.pid)
        return process if abs(process.create_time() - session.created) < 1.0 else None
    except psutil.NoSuchProcess:
        return None


def look(session: Session) -> Overview:
    """Ask every router for its state, all at once, and join the answers."""
    places = [(router, pool.folder) for pool in session.pools for router in pool.routers]
    with ThreadPoolExecutor(max_workers=max(1, min(16, len(places)))) as threads:
        asked = threads.map(lambda one: _state(*one), places)
        states = dict(zip((place.instance for place, _ in places), asked, strict=True))
    memory = {process.name: _memory(process.pid) for process in session.processes}
    return overview(session, states, memory)


def overview(
    session: Session, states: Mapping[str, RouterState | None], memory: Mapping[str, int]
) -> Overview:
    """Join what the supervisor knows with what the routers said. `memory` is by process, in bytes."""
    pools = tuple(_pool(session, pool, states, memory) for pool in session.pools)
    return Overview(supervisor_pid=session.pid, pools=pools)


def _pool(
    session: Session, pool: PoolPlace, states: Mapping[str, RouterState | None], memory: Mapping[str, int]
) -> PoolOverview:
    door = states.get(pool.door.instance)
    rejected = tuple(
        MemberRow(sub_model=member.name, phase="Rejected", because=f"{member.reason}: {member.message}")
        for member in pool.rejected
    )
    notes = read_exchanges(pool.folder).members
    served = tuple(
        _member(session, place, states.get(place.instance), memory).model_copy(
            update={"exchange": _exchange(notes.get(place.member), states.get(place.instance))}
        )
        for place in pool.routers
        if place.member is not None
    )
    rows = sorted((*served, *_absent(pool)), key=lambda row: row.sub_model)
    crashing = _crashing(session, pool.door.instance) if door is None else ""
    return PoolOverview(
        name=pool.name,
        url=pool.url,
        ready=door.ready if door else False,
        because=door.because if door else crashing or "the pool's door does not answer yet",
        crashing=bool(crashing),
        requests=door.requests if door else 0,
        members=(*rows, *rejected),
        replicas=_replicas(pool, rows),
    )


def _absent(pool: PoolPlace) -> Iterator[MemberRow]:
    """What is to be told of scaled sub-models besides the replicas that run."""
    for name, count in pool.counts.items():
        if not count.replicas:
            yield MemberRow(
                sub_model=name, phase="Asleep", because="it has no replica; the next request wakes it"
            )
        if count.unplaced:
            which = f"{count.unplaced} of its {count.replicas} replicas do not fit"
            yield MemberRow(sub_model=name, phase="Unplaced", because=f"{which}: {count.because}")


def _replicas(pool: PoolPlace, rows: Sequence[MemberRow]) -> tuple[ReplicasRow, ...]:
    ready = Counter(row.sub_model for row in rows if row.phase == "Ready")
    runs = Counter(row.sub_model for row in rows if row.instance)
    counts = {name: ReplicaCount(replicas=number) for name, number in runs.items()} | pool.counts
    return tuple(
        ReplicasRow(sub_model=name, ready=ready[name], wanted=one.replicas, unplaced=one.unplaced)
        for name, one in sorted(counts.items())
    )


def _member(
    session: Session, place: RouterPlace, state: RouterState | None, memory: Mapping[str, int]
) -> MemberRow:
    names = (f"{place.instance}-router", f"{place.instance}-triton")
    running = [process for process in session.processes if process.name in names]
    restarts = sum(max(0, process.starts - 1) for process in running)
    used = sum(memory.get(name, 0) for name in names)
    sub_model = place.member or ""
    crashing = _crashing(session, *names)
    if state is None:
        down = any(process.starts > 1 or process.last_exit for process in running)
        because = next((f"{p.name}: {p.last_exit}" for p in running if p.last_exit), "its router starts")
        return MemberRow(
            sub_model=sub_model,
            instance=place.instance,
            phase="Crashing" if crashing else "Down" if down else "Starting",
            because=crashing or because,
            memory_bytes=used,
            restarts=restarts,
        )
    model, queue = state.model, state.queue
    return MemberRow(
        sub_model=sub_model,
        instance=place.instance,
        phase="Crashing" if crashing and not state.ready else _phase(state),
        because="" if state.ready else crashing or state.because,
        version=_version(state),
        load=model.load if model else None,
        load_seconds=model.load_seconds if model else 0.0,
        ranks=model.ranks if model else (),
        memory_bytes=used + sum(rank.memory_bytes for rank in (model.ranks if model else ())),
        wait_p95_seconds=queue.wait_p95_seconds,
        waiting=queue.waiting,
        requests=queue.requests,
        failures=queue.failures,
        restarts=restarts + (model.restarts if model else 0),
    )


def _exchange(note: ExchangeNote | None, state: RouterState | None) -> str:
    if note is None or note.phase == Phase.REST:
        return ""
    swap = state.swap if state is not None else None
    return note.because + (f" ({swap.phase}: {swap.because})" if swap is not None else "")


def _version(state: RouterState) -> str:
    active = sorted((one for one in state.versions if one.active), key=lambda one: -one.share)
    if active:
        return ", ".join(one.version or one.digest[:12] for one in active)
    return state.model.version if state.model else ""


def _crashing(session: Session, *names: str) -> str:
    """Which of these processes does not come up, in words."""
    return next((p.crashing for p in session.processes if p.name in names and p.crashing), "")


def _phase(state: RouterState) -> str:
    if state.ready:
        return "Ready"
    phase = state.model.load.phase if state.model else "Pending"
    if phase == "FailedToLoad":
        return phase
    if not state.triton_live or phase == "Pending":
        return "Starting"
    return {"Loaded": "Down"}.get(phase, "Loading")


def _state(place: RouterPlace, folder: Path) -> RouterState | None:
    try:
        shown = {"authorization": shown_state_key(folder)}
        request = urllib.request.Request(f"http://{place.admin}/v1/state", headers=shown)
        with urllib.request.urlopen(request, timeout=STATE_SECONDS) as answer:  # noqa: S310
            return RouterState.model_validate(json.load(answer))
    except (OSError, ValueError, urllib.error.URLError):
        return None


def _memory(pid: int | None) -> int:
    """With its children, since the supervisor sees a Triton's warden; theirs are told apart."""
    if pid is None:
        return 0
    try:
        process = psutil.Process(pid)
        return sum(int(one.memory_info().rss) for one in (process, *process.children()))
    except psutil.NoSuchProcess:
        return 0
