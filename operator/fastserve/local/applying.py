"""`fastserve apply`: a running session takes over what the files say now."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fastserve.api.routes import Member
from fastserve.errors import LocalError
from fastserve.local.documents import Launch, PoolPlace, Session, WantedPool
from fastserve.local.folders import Folders
from fastserve.local.machine import this_machine
from fastserve.local.pool_files import read_wanted, write_wanted
from fastserve.local.preparing import PlannedPool, engine_home, plans_for, read
from fastserve.planning.versions.words import name_of

NO_LIMIT = 1 << 62
"""Bytes: what runs holds the memory that a plan from nothing would ask for; routers admit what is new."""
OLDER = "What runs was started by an older fastserve. It takes `fastserve down` and `fastserve up`."


@dataclass(frozen=True)
class ApplyOptions:
    """What `fastserve apply` was asked for."""

    files: tuple[Path, ...]
    folders: Folders
    visible_devices: str | None = None
    secrets: Path | None = None


def apply(options: ApplyOptions, session: Session) -> list[str]:
    """Hand what the files ask for to the session's process; returns what changes, one sentence each.

    Raises ManifestErrors, InvalidSpec or LocalError, in all cases with nothing changed."""
    launch = Launch.model_validate_json(options.folders.launch_file.read_text(encoding="utf-8"))
    if launch.ground is None:
        raise LocalError(OLDER)
    home = engine_home(launch.ground.environment)
    machine = replace(this_machine(options.visible_devices), memory_bytes=NO_LIMIT)
    planned = plans_for(read(options.files), home, machine, options.secrets)
    places = {place.name: place for place in session.pools}
    _check_pools(places, planned)
    changes = []
    for one in planned:
        folder = places[one.plan.table.pool].folder
        before = _wanted_before(folder)
        _check_shape(before, one)
        wanted = _numbered(before, one.wanted)
        changes.append((folder, wanted, list(_told(before, wanted))))
    for folder, wanted, sentences in changes:
        if sentences:
            write_wanted(folder, wanted)
    return [sentence for _, _, sentences in changes for sentence in sentences]


def _wanted_before(folder: Path) -> WantedPool:
    try:
        return read_wanted(folder)
    except (OSError, ValueError) as error:
        raise LocalError(OLDER) from error


def _check_pools(places: dict[str, PoolPlace], planned: Sequence[PlannedPool]) -> None:
    names = {one.plan.table.pool for one in planned}
    if names != set(places):
        raise LocalError(
            f"The files hold the pools {', '.join(sorted(names))}; {', '.join(sorted(places))} run."
            " Pools come and go with `fastserve down` and `fastserve up`."
        )


def _check_shape(before: WantedPool, now: PlannedPool) -> None:
    """Only what shapes no process can be taken over while they run."""
    served = {member.name for member in before.table.members}
    for name, why in sorted(now.plan.rejected.items()):
        if name in served:
            raise LocalError(f"{name} cannot be served like this, and goes on as it is: {why.message}")
    if now.plan.table.task is not before.table.task:
        raise LocalError("spec.task changed. It takes `fastserve down` and `fastserve up`.")
    if now.wanted.access != before.access:
        raise LocalError(
            "Routers hear at their start which Secrets hold keys and certificates (spec.router.auth and tls,"
            " --secrets). Others take `fastserve down` and `fastserve up`; what is in them counts at once."
        )
    other = set(before.shape.items()) ^ set(now.wanted.shape.items())
    scaled = _gpus_of_scaled(before) ^ _gpus_of_scaled(now.wanted)
    members = served ^ {member.name for member in now.plan.table.members}
    if other or scaled or members:
        names = ", ".join(sorted({*(name for name, _ in other), *(name for name, _ in scaled), *members}))
        raise LocalError(
            f"Processes would have to come or go: {names}. Sub-models, replicas and GPUs change with"
            " `fastserve down` and `fastserve up`, and so does whether a sub-model is scaled; nothing was"
            " changed."
        )


def _gpus_of_scaled(wanted: WantedPool) -> set[tuple[str, int]]:
    return {(member.name, staff.gpus) for member, staff in wanted.scaled}


def _numbered(before: WantedPool, now: WantedPool) -> WantedPool:
    """Generations, which on a cluster the API server counts: one more where a spec is another one."""
    was = {member.name: member for member in before.table.members}
    members = tuple(_with_generation(member, was[member.name]) for member in now.table.members)
    # The key with which the session reads states is its own affair.
    key = {"operator_digest": before.table.access.operator_digest}
    access = now.table.access.model_copy(update=key)
    return now.model_copy(
        update={"table": now.table.model_copy(update={"members": members, "access": access})}
    )


def _with_generation(member: Member, was: Member) -> Member:
    generation = was.generation if member.asked == was.asked else was.generation + 1
    return member.model_copy(update={"generation": generation})


def _told(before: WantedPool, now: WantedPool) -> Iterator[str]:
    """What is another one, in words."""
    was = {member.name: member for member in before.table.members}
    for member in now.table.members:
        old = was[member.name]
        if member.target.digest != old.target.digest:
            names = f"{name_of(member.target)} is to take the place of {name_of(old.target)}"
            yield f"{member.name}: version {names}"
        elif member != old or now.policies[member.name] != before.policies[member.name]:
            yield f"{member.name}: changed"
    if before.table.model_copy(update={"members": ()}) != now.table.model_copy(update={"members": ()}):
        yield f"{now.table.pool}: changed"
