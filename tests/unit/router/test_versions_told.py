"""What a router tells of versions fits what it tells of its model's load, whatever it knows."""

from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fastserve.api.routes import Rollout
from fastserve.router.bookkeeping import failure_of
from fastserve.router.known import SidecarParts
from fastserve.router.metrics import Metrics
from fastserve.router.model_files import ModelPlaces
from fastserve.router.serving import OwnReplica
from fastserve.router.sidecar import Sidecar
from fastserve.router.telling import versions_of
from fastserve.router.versions.trial import Serving, Trial
from pretend_versions import member, target


class NoTriton:
    """Nothing is asked of it."""


class Snapshot:
    def __init__(self, candidate: str, named: bool) -> None:
        moment = "2026-11-21T10:00:00Z"
        fields: dict[str, Any] = {"since": moment, "step": moment, "deadline_seconds": 60, "generation": 2}
        rollout = Rollout(candidate=target(candidate), named=("me",) if named else (), **fields)
        self.members = {"world": member("a", rollout=rollout if candidate != "a" else None)}


def serving(letter: str) -> Serving:
    one = target(letter)
    return Serving(one.model_name, one.digest, one.version, "scores", ("x", "y"), 2, 4)


@given(
    candidate=st.sampled_from("abc"),
    named=st.booleans(),
    proved=st.sets(st.sampled_from("abc")),
    current=st.sampled_from(["", "a", "b", "c"]),
    tried=st.sampled_from(["", "b", "c"]),
    failures=st.integers(0, 3),
    given_up=st.booleans(),
)
def test_the_version_whose_load_is_told_is_among_the_versions_with_the_same_phase(
    *,
    candidate: str,
    named: bool,
    proved: set[str],
    current: str,
    tried: str,
    failures: int,
    given_up: bool,
) -> None:
    own = OwnReplica("world", NoTriton(), Metrics())
    own.current = serving(current) if current else None
    own.trial = Trial(serving(tried), 0.5) if tried else None
    snapshot = Snapshot(candidate, named)
    places = ModelPlaces(Path("run"), None, None, None, None)
    parts = SidecarParts(
        "world",
        Path("models"),
        places,
        "me",
        0.0,
        NoTriton(),
        own,
        Metrics(),
        lambda: snapshot,
        lambda _: None,
    )
    sidecar = Sidecar(parts)
    known = sidecar.known
    rollout = snapshot.members["world"].rollout
    if rollout is not None and given_up:
        known.course.give_up(rollout, failure_of("LoadTimeout", "too long"), 1)
    known.drive = known.course.drive(known.member)
    known.book.take_target(known.drive.target)
    for letter in sorted(proved):
        known.book.proved[target(letter).model_name] = serving(letter)
    for _ in range(failures):
        known.book.fail(RuntimeError("no"), 0.0)

    told = {one.digest: one for one in versions_of(sidecar, own, 0.0)}

    aim = known.drive.target
    assert aim is not None
    assert told[aim.digest].phase == known.progress(aim).phase
    if rollout is not None and given_up:
        assert told[target(candidate).digest].phase == "FailedToLoad"
        assert told[target(candidate).digest].last_failure is not None
