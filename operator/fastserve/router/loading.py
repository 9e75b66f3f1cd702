"""What the sidecar does next with its Triton. Pure: what is seen in, one action out.

Fetch the target's files where they are not there, load it beside whatever serves, prove it by an
inference, switch, let the old one finish, unload it, remove its files. The same rule brings a Triton back
that died, because nothing that Triton does not show as READY counts as loaded. Where the target cannot be
had then, the version that was proved last is loaded meanwhile.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

READY = "READY"
LOADING, UNLOADING = "LOADING", "UNLOADING"
GOING = (LOADING, UNLOADING)
MOST_BACKOFF_SECONDS = 30.0
STUBBORN_SECONDS = 300.0
STUBBORN = frozenset({"InvalidSpec", "DigestMismatch", "SizeLimitExceeded", "NotFound", "ArchiveRefused"})
"""Reasons that waiting does not mend, but somebody might at the source."""
UNAUTHORIZED, UNAUTHORIZED_SECONDS = "Unauthorized", 60.0
"""A Secret that somebody puts right reaches the pod within about a minute, and no event tells of it."""
SILENT_SECONDS = 1.0
"""An engine whose socket does not answer for so long, while its model fails, is dead and is loaded anew."""
GONE_SECONDS = 0.25
"""The same where nobody listens at the socket any more; time for a probe to tell otherwise."""
CUSTOM_SILENT_SECONDS = 10.0
"""The same for a model without such a socket, by its inferences alone."""


class Kind(StrEnum):
    REST = "Rest"
    WAIT = "Wait"
    FETCH = "Fetch"
    CHECK = "Check"
    DISCARD = "Discard"
    LOAD = "Load"
    PROVE = "Prove"
    SHARE = "Share"
    SWITCH = "Switch"
    LEAVE = "Leave"
    UNLOAD = "Unload"
    REMOVE = "Remove"


@dataclass(frozen=True, slots=True)
class Action:
    """One step, and why. `model` is a name in Triton; of DISCARD it is that of a fetched folder."""

    kind: Kind
    model: str = ""
    because: str = ""


@dataclass(frozen=True, slots=True)
class Seen:
    """All that the next step depends on. Times are seconds of one clock.

    `index` is Triton's repository index; `proved` are models whose inference answered since they were
    loaded, `proving` those that are asked now; `retry_at` is when a target that failed may be tried again;
    `dead_since` is since when the target fails and its engine's socket is silent, and `patience` how long
    that may last. `fetched` tells whether the target's files are there, `leftovers` are fetched folders of
    other versions, and `unused` those of them that nothing in Triton was loaded from. `checked` tells whether
    files that are only mounted were looked at, and `fetching` is true while they are as well. `spare` is
    another version that can be loaded now: the one that was proved last, where its files are here.

    Where the target is a candidate, `stable` is the version whose place it is to take, and `share` the part
    of the requests that it is to get; `stable_retry_at` is the stable one's `retry_at`. `trial` is the one
    that gets less than all of the requests now, and `watched` whom `dead_since` is about, where not the
    target. `leaving` is true where memory does not hold both; `away` then that no new requests come, and
    `drained` that none is left.
    """

    now: float
    live: bool
    target: str | None
    index: Mapping[str, str]
    serving: str | None = None
    loading: str | None = None
    proved: frozenset[str] = frozenset()
    proving: frozenset[str] = frozenset()
    rendered: frozenset[str] = frozenset()
    in_flight: Mapping[str, int] | None = None
    retry_at: float = 0.0
    dead_since: float | None = None
    patience: float = SILENT_SECONDS
    fetched: bool = True
    fetching: bool = False
    leftovers: frozenset[str] = frozenset()
    unused: frozenset[str] = frozenset()
    spare: str | None = None
    checked: bool = True
    stable: str | None = None
    stable_retry_at: float = 0.0
    share: float = 1.0
    trial: str | None = None
    watched: str | None = None
    paused: bool = False
    leaving: bool = False
    away: bool = False
    drained: bool = False

    def is_dead(self, name: str) -> bool:
        """Whether the engine of that version was silent for too long; not while it is asked for the first
        time, which may be slow and ends by itself."""
        about = name == (self.watched or self.target)
        about = about and name not in self.proving
        return about and self.dead_since is not None and self.now - self.dead_since >= self.patience

    def holds(self, name: str | None) -> bool:
        """Whether Triton shows that version as READY."""
        return name is not None and self.index.get(name) == READY

    @property
    def shares(self) -> bool:
        """Whether both versions are to answer."""
        return self.stable is not None and self.share < 1.0 and not self.leaving


def next_action(seen: Seen) -> Action:
    """The one next step."""
    serving = seen.serving
    if seen.paused and serving is not None and not seen.away and not seen.is_dead(serving):
        return Action(Kind.REST, serving, "the rollout is paused: what takes requests goes on")
    kept = _keep(seen, seen.stable) if seen.stable is not None and _stable_first(seen) else None
    if kept is not None:
        return kept
    action = _towards_target(seen)
    return (_fall_back(seen) or action) if action.kind is Kind.WAIT else action


def _stable_first(seen: Seen) -> bool:
    """Whether the stable version is to serve before anything is done for the candidate: beside a trial, and
    where nothing serves or it died, although Triton holds it, or would go further in a pause."""
    if seen.shares or seen.leaving:
        return seen.shares
    there, ready = seen.holds(seen.stable), seen.holds(seen.target)
    if seen.paused:
        return there or not ready
    if seen.target in seen.proving:  # that may take long
        return there and (seen.serving is None or seen.is_dead(seen.stable or ""))
    return seen.serving is None and there and not ready


def _fall_back(seen: Seen) -> Action | None:
    """Load the last version that answered, where nothing serves and the target cannot be had now."""
    spare = seen.spare
    missed = not seen.fetched or seen.now < seen.retry_at
    if spare is None or not missed or not seen.live or seen.loading is not None or seen.serving is not None:
        return None
    state = seen.index.get(spare)
    if state in GOING:
        return Action(Kind.WAIT, spare, f"Triton shows {spare} as {state}")
    if state != READY:
        return Action(Kind.LOAD, spare, f"{spare} answered before, and {seen.target} cannot be had now")
    if spare in seen.proved:
        return Action(Kind.SWITCH, spare, f"{spare} answers, and {seen.target} cannot be had now")
    return _ask(seen, spare, f"{spare} is loaded again and must answer once")


def _keep(seen: Seen, stable: str) -> Action | None:
    """The next step until the stable version serves, as it is to beside a trial; None where it does, or
    cannot be had now."""
    if not seen.live or seen.loading is not None:
        return None
    state = seen.index.get(stable)
    if state == READY and seen.is_dead(stable):
        return Action(Kind.UNLOAD, stable, f"the engine of {stable} is dead")
    if state == READY and stable in seen.proved:
        return None if seen.serving == stable else Action(Kind.SWITCH, stable, f"{stable} answers")
    if state == READY and seen.now >= seen.stable_retry_at:
        return _ask(seen, stable, f"{stable} is loaded and must answer once")
    if seen.spare != stable or state == READY or state in GOING:
        return None
    return Action(Kind.LOAD, stable, f"{stable} is not loaded")


def _towards_target(seen: Seen) -> Action:
    if seen.target is not None and not seen.fetched:
        return _fetch(seen, seen.target)
    if not seen.live:
        return _before_triton(seen)
    if seen.fetching:
        return Action(Kind.WAIT, seen.target or "", f"the files of {seen.target} are being looked at")
    if seen.loading is not None:
        return Action(Kind.WAIT, seen.loading, f"{seen.loading} is being loaded")
    if seen.target is None:
        return Action(Kind.REST, because="the route table names no version for this router")
    return _towards(seen, seen.target) or _tidy(seen, seen.target)


def _fetch(seen: Seen, target: str) -> Action:
    """The next step until the files are there; Triton may take its time to start meanwhile."""
    if seen.fetching:
        return Action(Kind.WAIT, target, f"the files of {target} are being fetched")
    for name in sorted(seen.unused):
        # Before and not after: the volume has room for what serves and what comes, not for all that failed.
        return Action(Kind.DISCARD, name, "another version was never served, or its fetch left half done")
    if seen.now < seen.retry_at:
        return Action(Kind.WAIT, target, f"the files of {target} are fetched again soon")
    return Action(Kind.FETCH, target, f"the files of {target} are not here")


def _before_triton(seen: Seen) -> Action:
    """What is wrong with mounted files need not wait until Triton has started."""
    if seen.target is None or seen.checked or seen.fetching or seen.now < seen.retry_at:
        return Action(Kind.WAIT, because="Triton is not live")
    return Action(Kind.CHECK, seen.target, f"the files of {seen.target} are looked at while Triton starts")


def _towards(seen: Seen, target: str) -> Action | None:
    """The next step until the target serves; None when it does."""
    state = seen.index.get(target)
    if state in GOING:
        return Action(Kind.WAIT, target, f"Triton shows {target} as {state}")
    if state == READY:
        return _prove(seen, target)
    if seen.now < seen.retry_at:
        return Action(Kind.WAIT, target, f"{target} failed to load and is tried again soon")
    return (
        _clear(seen, target)
        or _make_room(seen, target)
        or Action(Kind.LOAD, target, f"{target} is not loaded")
    )


def _clear(seen: Seen, target: str) -> Action | None:
    """Unload what was on its way before and is not any more: it may have the room that the target needs."""
    needed = {target, seen.stable, seen.serving, seen.spare}
    for name in sorted(set(seen.index) - needed):
        if seen.index[name] == UNLOADING:
            return Action(Kind.WAIT, name, f"{name} is being unloaded")
        if seen.index[name] == READY and not (seen.in_flight or {}).get(name):
            return Action(Kind.UNLOAD, name, f"{name} is not wanted any more")
    return None


def _make_room(seen: Seen, target: str) -> Action | None:
    """The next step until nothing else is in memory, where that is too small for both."""
    others = [name for name in sorted(seen.index) if name != target]
    if not seen.leaving or not any(seen.index[name] in (READY, *GOING) for name in others):
        return None
    if not seen.away:
        return Action(Kind.LEAVE, target, f"there is no room for {target} beside what serves")
    for name in others:
        if seen.index[name] in GOING:
            return Action(Kind.WAIT, name, f"Triton shows {name} as {seen.index[name]}")
        if seen.index[name] == READY and not seen.drained:
            return Action(Kind.WAIT, name, f"{name} finishes its requests")
        if seen.index[name] == READY:
            return Action(Kind.UNLOAD, name, f"{name} makes room for {target}")
    return None


def _prove(seen: Seen, target: str) -> Action | None:
    """The next step for a target that Triton holds: being READY there proves nothing."""
    if seen.is_dead(target):
        return Action(Kind.UNLOAD, target, f"the engine of {target} is dead")
    if target in seen.proved:
        return _active(seen, target)
    if seen.now < seen.retry_at:
        return Action(Kind.WAIT, target, f"{target} is loaded and did not answer yet")
    return _ask(seen, target, f"{target} is loaded and must answer once")


def _ask(seen: Seen, name: str, because: str) -> Action:
    """Ask a version that was not asked since it was loaded, or wait for its answer."""
    if name in seen.proving:
        return Action(Kind.WAIT, name, f"{name} is loaded and is being asked")
    return Action(Kind.PROVE, name, because)


def _active(seen: Seen, target: str) -> Action | None:
    """The next step until it takes the requests that it is to take."""
    if seen.shares and seen.serving == seen.stable:
        because = f"{target} answers, and gets {seen.share:.4g} of the requests"
        return None if seen.trial == target else Action(Kind.SHARE, target, because)
    if seen.serving == target and seen.trial is None:
        return None
    return Action(Kind.SWITCH, target, f"{target} answers")


def _tidy(seen: Seen, target: str) -> Action:
    """Unload what nobody uses any more, then remove its files."""
    in_flight = seen.in_flight or {}
    shared = seen.shares and seen.serving == seen.stable
    needed = {target, seen.stable} if shared else {target}
    for name in sorted((set(seen.index) | seen.rendered) - needed):
        state = seen.index.get(name)
        if state == READY and in_flight.get(name, 0) == 0:
            return Action(Kind.UNLOAD, name, f"{name} was replaced by {target}")
        if state == READY or state in GOING:
            return Action(Kind.WAIT, name, f"{name} finishes its requests")
        if name in seen.rendered:
            return Action(Kind.REMOVE, name, f"{name} is unloaded")
    if shared:
        return Action(Kind.REST, target, f"{target} answers a part of the requests, {seen.stable} the others")
    for name in sorted(seen.leftovers):
        return Action(Kind.DISCARD, name, "nobody uses these files any more")
    return Action(Kind.REST, target, f"{target} serves")


def backoff(failures: int, reason: str = "") -> float:
    """Seconds until the next try after so many failures in a row: 1, 2, 4 … 30; five minutes where only
    somebody's hand can mend the reason, a minute where that is the Secret."""
    if reason in STUBBORN:
        return STUBBORN_SECONDS
    if reason == UNAUTHORIZED:
        return UNAUTHORIZED_SECONDS
    return float(min(MOST_BACKOFF_SECONDS, 2.0 ** (failures - 1)))
