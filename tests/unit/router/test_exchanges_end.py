"""Exchanges of versions at one router, step by step against a model of Triton: versions that fail, load for
ever or end Triton, routers and Tritons that are restarted in the middle, tables that change."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastserve.api.routes import Member, Rollout
from fastserve.api.versions import LOAD_FAILED, LOAD_TIMEOUT
from fastserve.router.bookkeeping import failure_of
from fastserve.router.loading import GOING, LOADING, READY, Action, Kind, Seen, backoff, next_action
from fastserve.router.versions.driving import Course, Drive
from pretend_versions import member, target

DEADLINE = 60
SECONDS = {"A": 3.0, "B": 5.0, "C": 4.0}
ENDS = (Kind.REST, Kind.WAIT)
A, B, C = (target(letter.lower()).model_name for letter in "ABC")


def entry(candidate: str = "", share: str = "1", **rollout: object) -> Member:
    """The route table's entry: A is stable."""
    if not candidate:
        return member("a")
    moment = "2026-11-21T10:00:00Z"
    fields = {
        "named": ("me",),
        "since": moment,
        "step": moment,
        "deadline_seconds": DEADLINE,
        "generation": 2,
    }
    return member("a", rollout=Rollout(candidate=target(candidate), share=share, **{**fields, **rollout}))


@dataclass
class Pod:
    """One Triton and its router, which does what next_action says. `bad` is what happens to a version:
    "fails" or "ends" (Triton, with it) when it is loaded, "hangs", "mute" (loaded, and answers nothing).
    What is loaded answers after `slow` seconds; who waits for a mute one gives up after ten times that."""

    table: Member
    bad: Mapping[str, str] = field(default_factory=dict)
    roomy: bool = True
    slow: float = 1.0
    now: float = 0.0
    index: dict[str, str] = field(default_factory=dict)
    live_at: float = 0.0
    course: Course = field(default_factory=lambda: Course("me"))
    rendered: set[str] = field(default_factory=set)
    done: list[Action] = field(default_factory=list)
    answered: list[str | None] = field(default_factory=list)
    dead: dict[str, float] = field(default_factory=dict)
    hanging: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """A new router beside what its Triton holds."""
        self.course = Course("me")
        self.proved: set[str] = set()
        self.serving: str | None = None
        self.trial: str | None = None
        self.away, self.left_at = False, 0.0
        self.loading: tuple[str, float] | None = None
        self.proving: dict[str, float] = {}
        self.aim, self.failures, self.retry_at = "", 0, 0.0
        self.spare_failures, self.spare_retry_at = 0, 0.0

    def end_triton(self) -> None:
        self.index, self.dead, self.hanging, self.live_at = {}, {}, {}, self.now + 2.0

    def drive(self) -> Drive:
        drive = self.course.drive(self.table)
        name = drive.target.model_name if drive.target else ""
        if name != self.aim:
            self.aim, self.failures, self.retry_at = name, 0, 0.0
            self.loading, self.proving = None, {}
        if self.trial != name:
            self.trial = None
        if self.course.leaving != name:
            self.course.leaving, self.away = "", False
        return drive

    def seen(self, drive: Drive) -> Seen:
        if self.now < self.live_at:
            index: dict[str, str] = {}
        else:
            self.ended()
            index = dict(self.index)
        self.told()
        self.proved &= {name for name, state in index.items() if state == READY}
        if self.serving not in self.proved:
            self.serving, self.trial = None, self.trial if self.trial in self.proved else None
        stable = drive.stable.model_name if drive.stable else None
        if stable and not self.loading and index.get(stable) == READY and self.aim not in index:
            self.course.leaving = "" if self.roomy else self.aim
        spare = stable if self.now >= self.spare_retry_at else None
        watched = stable if stable is not None and self.serving == stable else self.aim
        return Seen(
            now=self.now,
            live=self.now >= self.live_at,
            target=self.aim,
            index=index,
            serving=self.serving,
            loading=self.loading[0] if self.loading else None,
            proved=frozenset(self.proved),
            proving=frozenset(self.proving),
            rendered=frozenset(self.rendered),
            retry_at=self.retry_at,
            dead_since=self.dead.get(watched),
            stable=stable,
            stable_retry_at=self.spare_retry_at,
            spare=spare,
            share=drive.share,
            trial=self.trial,
            watched=watched,
            paused=drive.paused,
            leaving=bool(self.course.leaving),
            away=self.away,
            drained=self.now - self.left_at > 2.0,
        )

    def ended(self) -> None:
        """The load that is under way, where it ended by now."""
        if self.loading is None:
            return
        name, since = self.loading
        fate, drive = self.bad.get(name, ""), self.course.drive(self.table)
        candidate = drive.rollout is not None and drive.rollout.candidate.model_name == name
        if fate == "hangs":
            self.index[name] = LOADING
            if candidate and self.now - since >= DEADLINE:
                self.failed(name, LOAD_TIMEOUT)
        elif self.now - since >= 3.0:
            if fate == "ends":
                self.end_triton()
                self.failed(name, "TritonEnded")
            elif fate in ("fails", "unsure"):
                self.failed(name, "CheckpointInvalid" if fate == "fails" else LOAD_FAILED)
            else:
                self.index[name] = READY
                self.dead.pop(name, None)
                self.loading = None

    def told(self) -> None:
        """What those answered that were asked; one whose engine died says so at once."""
        for name, since in list(self.proving.items()):
            died = name in self.dead or self.index.get(name) != READY
            mute = self.bad.get(name) == "mute"
            if not died and self.now - since < self.slow * (10.0 if mute else 1.0):
                continue
            del self.proving[name]
            if died or mute:
                self.failed(name, "BackendFailed")
                continue
            self.proved.add(name)
            if name == self.aim:
                self.failures = 0

    def failed(self, name: str, reason: str) -> None:
        self.loading = None
        if name != self.aim:
            self.spare_failures += 1
            self.spare_retry_at = self.now + backoff(self.spare_failures)
            return
        self.failures += 1
        self.retry_at = self.now + backoff(self.failures, reason)
        rollout = self.course.drive(self.table).rollout
        if rollout and self.course.is_over(name, reason, self.failures):
            self.course.give_up(rollout, failure_of(reason, reason), self.failures)

    def step(self) -> Action:
        seen = self.seen(self.drive())
        action = next_action(seen)
        self.check(action, seen)
        self.do(action)
        self.done.append(action)
        self.now += 0.5 if action.kind in ENDS else 0.01
        self.answered.append(self.serving if not self.away else None)
        return action

    def check(self, action: Action, seen: Seen) -> None:
        """What answers is not unloaded, but where nothing else is left: not for whom it left the pool."""
        if action.kind is not Kind.UNLOAD or action.model != seen.serving or seen.is_dead(action.model):
            return
        assert seen.trial in seen.proved or (seen.away and seen.leaving and seen.drained)

    def do(self, action: Action) -> None:
        name = action.model
        if action.kind is Kind.LOAD:
            assert self.loading is None
            self.rendered.add(name)
            self.loading = (name, self.now)
        elif action.kind is Kind.PROVE:
            assert name not in self.proving
            self.proving[name] = self.now
        elif action.kind is Kind.SHARE:
            self.trial = name
        elif action.kind is Kind.SWITCH:
            self.serving, self.trial, self.away = name, None, False
        elif action.kind is Kind.LEAVE:
            self.away, self.left_at = True, self.now
        elif action.kind is Kind.UNLOAD:
            self.proving = {}
            self.index[name] = "UNAVAILABLE"
            self.proved.discard(name)
            if self.serving == name:
                self.serving = self.trial
        elif action.kind is Kind.REMOVE:
            self.rendered.discard(name)

    def run(self, seconds: float) -> None:
        end, busy = self.now + seconds, 0
        while self.now < end:
            busy = 0 if self.step().kind in ENDS else busy + 1
            assert busy < 20, [str(action) for action in self.done[-20:]]

    def rests(self) -> bool:
        return self.done[-1].kind is Kind.REST


def served(**changes: object) -> Pod:
    """A pod that serves A."""
    pod = Pod(entry(), **changes)
    pod.run(10.0)
    assert (pod.serving, pod.rests()) == (A, True)
    return pod


FATES = ["", "fails", "unsure", "ends", "hangs", "mute"]
changes = st.lists(
    st.tuples(
        st.sampled_from(
            ["table", "table", "table", "end Triton", "kill router", "kill engine", "wait", "wait"]
        ),
        st.sampled_from(["", "b", "c"]),
        st.sampled_from(["0.1", "0.5", "1"]),
        st.booleans(),
        st.floats(0.0, 12.0),
    ),
    max_size=8,
)


@settings(max_examples=300)
@given(
    course=changes,
    bad=st.fixed_dictionaries({B: st.sampled_from(FATES), C: st.sampled_from(FATES)}),
    roomy=st.booleans(),
    slow=st.sampled_from([0.0, 1.0, 3.0]),
)
def test_whatever_happens_an_exchange_ends_and_something_answers(
    course: list[tuple[str, str, str, bool, float]], bad: dict[str, str], roomy: bool, slow: float
) -> None:
    pod = served(bad=bad, roomy=roomy, slow=slow)
    generation = 2
    for what, candidate, share, paused, seconds in course:
        if what == "table":
            generation += 1
            pod.table = entry(candidate, share, paused=paused, generation=generation)
        elif what == "end Triton":
            pod.end_triton()
        elif what == "kill router":
            pod.forget()
        elif what == "kill engine" and pod.serving is not None:
            pod.dead[pod.serving] = pod.now
        pod.run(seconds)
    rollout = pod.table.rollout
    if rollout is not None:
        pod.table = pod.table.model_copy(update={"rollout": rollout.model_copy(update={"paused": False})})
    pod.run(200.0)
    if pod.serving is None:  # a candidate that an earlier router began to load, without an end
        pod.table = entry()
        pod.run(200.0)
    assert pod.serving is not None
    assert not pod.away
    if any(state in GOING for state in pod.index.values()):
        return
    drive = pod.drive()
    if bad.get(pod.aim) == "mute":  # asked again and again, until whoever decides has enough of it
        assert pod.serving == A or A in pod.dead
        pod.table = entry()
        pod.run(200.0)
        drive = pod.drive()
    trying = drive.share < 1 and drive.stable is not None and not pod.course.leaving
    assert pod.serving == (A if trying else pod.aim)
    assert pod.rests()


@pytest.mark.parametrize("roomy", [True, False])
@pytest.mark.parametrize("share", ["0.1", "1"])
@pytest.mark.parametrize(
    ("fate", "reason", "loads"),
    [
        ("fails", "CheckpointInvalid", 1),
        ("unsure", LOAD_FAILED, 2),
        ("hangs", LOAD_TIMEOUT, 1),
        ("ends", "TritonEnded", 2),
    ],
)
def test_what_cannot_be_had_is_given_up_with_its_reason_and_a_serves(
    roomy: bool, share: str, fate: str, reason: str, loads: int
) -> None:
    pod = served(bad={B: fate}, roomy=roomy)
    pod.table = entry("b", share)
    pod.run(DEADLINE + 60.0)

    assert pod.table.rollout is not None
    given_up = pod.course.failed(pod.table.rollout)
    assert given_up is not None
    assert given_up.failure.reason == reason
    assert given_up.loads >= loads, "whoever decides waits for that many"
    assert sum(one == (Kind.LOAD, B) for one in kinds(pod)) <= loads
    assert pod.serving == A
    if fate != "hangs":
        assert pod.rests()


@pytest.mark.parametrize("share", ["0.1", "1"])
def test_a_triton_that_restarts_while_the_candidate_cannot_be_had_is_given_the_stable_version(
    share: str,
) -> None:
    pod = served(bad={B: "mute"})
    pod.table = entry("b", share)
    pod.run(20.0)
    pod.end_triton()
    pod.run(30.0)

    assert (Kind.LOAD, A) in kinds(pod)[1:]
    assert pod.serving == A


def test_a_router_that_is_restarted_while_the_candidate_is_loaded_lets_the_stable_one_serve_at_once() -> None:
    pod = served(bad={B: "hangs"})
    pod.table = entry("b")
    pod.run(5.0)
    assert pod.index == {A: READY, B: LOADING}
    pod.forget()
    pod.run(2.0)

    assert pod.serving == A


def test_what_was_on_its_way_before_is_gone_before_the_newest_one_is_loaded() -> None:
    pod = served()
    pod.table = entry("b", "0.5")
    pod.run(10.0)
    assert pod.trial == B
    pod.table = entry("c", "0.5", generation=3)
    pod.run(10.0)

    course = kinds(pod)
    assert course.index((Kind.UNLOAD, B)) < course.index((Kind.LOAD, C))
    assert (pod.serving, pod.trial) == (A, C)


def test_in_a_pause_a_dead_engine_is_brought_back_and_nothing_goes_further() -> None:
    pod = served()
    pod.table = entry("b", paused=True)
    pod.run(2.0)
    pod.dead[A] = pod.now
    pod.run(10.0)
    assert (pod.serving, pod.dead) == (A, {})
    pod.end_triton()
    pod.run(10.0)

    assert pod.serving == A
    assert (Kind.LOAD, B) not in kinds(pod)


def test_a_stable_version_that_answers_nothing_is_not_asked_without_a_pause() -> None:
    pod = Pod(entry("b", "0.5"), {A: "mute"}, index={A: READY})
    pod.run(30.0)

    assert pod.serving == B


@pytest.mark.parametrize("share", ["0.5", "1"])
def test_a_stable_version_that_dies_while_the_candidate_is_asked_is_unloaded_at_once(share: str) -> None:
    pod = served(bad={B: "mute"})
    pod.slow = 3.0
    pod.table = entry("b", share)
    pod.run(10.0)
    assert B in pod.proving
    pod.dead[A] = pod.now
    asked = len(pod.done)
    pod.run(3.0)

    assert (Kind.UNLOAD, A) in kinds(pod)[asked:]


def kinds(pod: Pod) -> list[tuple[Kind, str]]:
    return [(action.kind, action.model) for action in pod.done]
