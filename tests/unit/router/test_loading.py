"""The sidecar's next step: single looks, and whole courses against a model of Triton."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastserve.router.loading import Action, Kind, Seen, backoff, next_action

SEEN = Seen(now=100.0, live=True, target="m-new", index={})


@pytest.mark.parametrize(
    ("change", "kind", "model"),
    [
        ({"live": False}, Kind.WAIT, ""),
        ({"target": None}, Kind.REST, ""),
        ({}, Kind.LOAD, "m-new"),
        ({"loading": "m-new"}, Kind.WAIT, "m-new"),
        ({"retry_at": 101.0}, Kind.WAIT, "m-new"),
        ({"retry_at": 99.0}, Kind.LOAD, "m-new"),
        ({"index": {"m-new": "UNAVAILABLE"}}, Kind.LOAD, "m-new"),
        ({"index": {"m-new": "UNLOADING"}}, Kind.WAIT, "m-new"),
        ({"index": {"m-new": "READY"}}, Kind.PROVE, "m-new"),
        ({"index": {"m-new": "READY"}, "dead_since": 98.0}, Kind.UNLOAD, "m-new"),
        ({"index": {"m-new": "READY"}, "dead_since": 99.5}, Kind.PROVE, "m-new"),
    ],
)
def test_with_nothing_serving_the_next_step_is(change: dict, kind: Kind, model: str) -> None:
    action = next_action(replace(SEEN, **change))

    assert (action.kind, action.model) == (kind, model)
    assert action.because


BESIDE = replace(
    SEEN, index={"m-new": "READY", "m-old": "READY"}, serving="m-old", proved=frozenset({"m-old"})
)
BOTH = replace(BESIDE, proved=frozenset({"m-old", "m-new"}))


@pytest.mark.parametrize(
    ("seen", "kind", "model"),
    [
        (replace(BESIDE, index={"m-old": "READY"}), Kind.LOAD, "m-new"),
        (BESIDE, Kind.PROVE, "m-new"),
        (BOTH, Kind.SWITCH, "m-new"),
        (replace(BOTH, serving="m-new", in_flight={"m-old": 2}), Kind.WAIT, "m-old"),
        (replace(BOTH, serving="m-new", in_flight={"m-old": 0}), Kind.UNLOAD, "m-old"),
        (
            replace(BOTH, serving="m-new", index={"m-new": "READY", "m-old": "UNLOADING"}),
            Kind.WAIT,
            "m-old",
        ),
        (
            replace(BOTH, serving="m-new", index={"m-new": "READY"}, rendered=frozenset({"m-old", "m-new"})),
            Kind.REMOVE,
            "m-old",
        ),
        (replace(BOTH, serving="m-new", index={"m-new": "READY"}), Kind.REST, "m-new"),
    ],
)
def test_a_new_version_goes_beside_the_old_one_step_by_step(seen: Seen, kind: Kind, model: str) -> None:
    action = next_action(seen)

    assert (action.kind, action.model) == (kind, model)


def act(seen: Seen) -> Seen:
    """What Triton and the router look like after the next step."""
    action = next_action(seen)
    index, name = dict(seen.index), action.model
    if action.kind is Kind.LOAD:
        index[name] = "READY"
        return replace(seen, index=index, rendered=seen.rendered | {name})
    if action.kind is Kind.PROVE:
        return replace(seen, proved=seen.proved | {name})
    if action.kind is Kind.SWITCH:
        return replace(seen, serving=name)
    if action.kind is Kind.UNLOAD:
        index[name] = "UNAVAILABLE"
        return replace(seen, index=index, proved=seen.proved - {name})
    if action.kind is Kind.REMOVE:
        return replace(seen, rendered=seen.rendered - {name})
    return seen


@given(st.lists(st.tuples(st.sampled_from(["m-1", "m-2", "m-3"]), st.integers(0, 4)), min_size=1, max_size=6))
def test_whatever_the_targets_something_serves_from_the_first_switch_on(
    course: list[tuple[str, int]],
) -> None:
    seen = replace(SEEN, target=course[0][0])
    for _ in range(3):
        seen = act(seen)
    for target, steps in course:
        seen = replace(seen, target=target)
        for _ in range(steps):
            seen = act(seen)
            assert seen.serving is not None
            assert seen.index[seen.serving] == "READY"
    for _ in range(20):
        seen = act(seen)

    assert next_action(seen).kind is Kind.REST
    assert (seen.serving, seen.rendered) == (seen.target, frozenset({seen.target}))


NOT_HERE = replace(SEEN, fetched=False)


@pytest.mark.parametrize(
    ("change", "kind", "model"),
    [
        ({}, Kind.FETCH, "m-new"),
        ({"live": False}, Kind.FETCH, "m-new"),
        ({"fetching": True, "unused": frozenset({"old.partial"})}, Kind.WAIT, "m-new"),
        ({"retry_at": 101.0}, Kind.WAIT, "m-new"),
        ({"unused": frozenset({"failed", "old.partial"})}, Kind.DISCARD, "failed"),
        ({"leftovers": frozenset({"old"}), "index": {"m-old": "READY"}}, Kind.FETCH, "m-new"),
    ],
)
def test_files_that_are_not_here_are_fetched_first(change: dict, kind: Kind, model: str) -> None:
    action = next_action(replace(NOT_HERE, **change))

    assert (action.kind, action.model) == (kind, model)


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"live": False}, Kind.CHECK),
        ({"live": False, "fetching": True}, Kind.WAIT),
        ({"live": False, "retry_at": 101.0}, Kind.WAIT),
        ({"fetching": True}, Kind.WAIT),
        ({}, Kind.LOAD),
    ],
)
def test_mounted_files_are_looked_at_while_triton_starts(change: dict, kind: Kind) -> None:
    assert next_action(replace(SEEN, checked=False, **change)).kind is kind


LOST = replace(SEEN, spare="m-old", retry_at=110.0)


@pytest.mark.parametrize(
    ("change", "kind", "model"),
    [
        ({}, Kind.LOAD, "m-old"),
        ({"fetched": False}, Kind.LOAD, "m-old"),
        ({"fetched": False, "fetching": True, "retry_at": 0.0}, Kind.LOAD, "m-old"),
        ({"index": {"m-old": "LOADING"}}, Kind.WAIT, "m-old"),
        ({"index": {"m-old": "READY"}}, Kind.PROVE, "m-old"),
        ({"index": {"m-old": "READY"}, "proved": frozenset({"m-old"})}, Kind.SWITCH, "m-old"),
        ({"index": {"m-old": "READY", "m-new": "READY"}}, Kind.PROVE, "m-old"),
        ({"live": False}, Kind.WAIT, ""),
        ({"loading": "m-old"}, Kind.WAIT, "m-old"),
        ({"serving": "m-old", "index": {"m-old": "READY"}}, Kind.WAIT, "m-new"),
        ({"spare": None}, Kind.WAIT, "m-new"),
        ({"retry_at": 99.0}, Kind.LOAD, "m-new"),
        ({"retry_at": 99.0, "fetched": False}, Kind.FETCH, "m-new"),
        ({"retry_at": 99.0, "index": {"m-new": "LOADING"}}, Kind.WAIT, "m-new"),
    ],
)
def test_the_last_version_comes_back_only_while_nothing_serves_and_the_target_cannot_be_had(
    change: dict, kind: Kind, model: str
) -> None:
    action = next_action(replace(LOST, **change))

    assert (action.kind, action.model) == (kind, model)


def test_an_old_versions_files_stay_until_nothing_of_it_is_loaded_or_rendered() -> None:
    done = replace(
        BOTH, serving="m-new", index={"m-new": "READY"}, leftovers=frozenset({"old", "older.partial"})
    )

    assert next_action(replace(done, rendered=frozenset({"m-old"}))).kind is Kind.REMOVE
    assert next_action(replace(done, index=BOTH.index, in_flight={"m-old": 1})).kind is Kind.WAIT
    assert next_action(done) == Action(Kind.DISCARD, "old", "nobody uses these files any more")


def test_what_only_a_hand_can_mend_is_tried_every_five_minutes() -> None:
    assert {backoff(n, reason) for n in (1, 9) for reason in ("NotFound", "DigestMismatch")} == {300.0}
    assert {backoff(n, "Unauthorized") for n in (1, 9)} == {60.0}  # a Secret put right is taken up
    assert backoff(1, "SourceUnavailable") == 1.0


def test_tries_come_further_apart_up_to_half_a_minute() -> None:
    assert [backoff(n) for n in range(1, 8)] == [1, 2, 4, 8, 16, 30, 30]
