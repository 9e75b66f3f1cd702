"""A version that answers too late: counted against it where the time was enough, and only there."""

import asyncio
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from fastserve.api.versions import Gate
from fastserve.errors import BackendError, BackendTimeout
from fastserve.planning.versions import gate
from fastserve.router.caller import ANYONE
from fastserve.router.metrics import Metrics
from fastserve.router.pulse import Pulse
from fastserve.router.replicas import MemberCall
from fastserve.router.serving import OwnReplica
from fastserve.router.triton import Question
from fastserve.router.versions.trial import Serving, Trial
from pretend_versions import heard, told
from virtual_time import run_in_virtual_time

OLD = Serving("m-1", "1" * 64, "one", "scores", ("a", "b"), 2, 4)
NEW = replace(OLD, name="m-2", digest="2" * 64, version="two")


@dataclass
class Models:
    """A Triton whose models take so many seconds each, times the text's own number; `expires` is after how
    many Triton itself gives one up."""

    seconds: dict[str, float]
    expires: dict[str, float] = field(default_factory=dict)
    pulse: Pulse = field(default_factory=Pulse)
    asked: list[str] = field(default_factory=list)

    async def infer(self, question: Question, seconds: float) -> np.ndarray:
        self.asked.append(question.model)
        takes = self.seconds[question.model] * max(float(text) for text in question.texts)
        allowed = min(seconds, self.expires.get(question.model, seconds))
        await asyncio.sleep(min(takes, allowed))
        if takes > allowed:
            raise BackendTimeout("no answer by the deadline")
        return np.zeros((len(question.texts), 2), np.float32)


async def ask(replica: OwnReplica, seconds: float, text: bytes = b"1") -> bool:
    """Whether there was an answer."""
    deadline = asyncio.get_running_loop().time() + seconds
    try:
        await replica.infer(MemberCall("m", (text,), deadline, "id", (), ANYONE))
    except BackendError:
        return False
    return True


def replica_of(triton: Models) -> OwnReplica:
    replica = OwnReplica("m", triton, Metrics())
    replica.switch(OLD)
    return replica


def fault(replica: OwnReplica) -> str:
    """What the gate says of the newer version by the figures of this replica."""
    now, versions = asyncio.get_running_loop().time(), []
    for one in (OLD, NEW):
        tally = replica.tallies.of(one.name)
        figures = {"requests": tally.requests, "failures": tally.failures}
        p50, p95 = tally.quantiles(now)
        versions.append(
            told(one.digest, inference_p50_seconds=p50, inference_p95_seconds=p95, generation=2, **figures)
        )
    one = heard("me", *versions)
    found = gate.gate_fault(Gate(), gate.Trial(NEW.digest, OLD.digest, [one], [one]))
    return found.message if found else ""


async def warmed(replica: OwnReplica, rounds: int = 100) -> None:
    for number in range(rounds):
        await ask(replica, 0.1, b"1" if number % 7 else b"4")


def test_a_candidate_that_never_answers_in_time_loses_its_trial_and_is_refused() -> None:
    async def story() -> None:
        replica = replica_of(Models({"m-1": 0.05, "m-2": 1e9}))
        for _ in range(20):
            assert await ask(replica, 2.0)
        trial = replica.trial = Trial(NEW, 0.5)
        answered = [await ask(replica, 2.0) for _ in range(20)]

        assert (trial.lost, answered.count(False)) == (True, 3)
        tally = replica.tallies.of("m-2")
        assert (tally.requests, tally.failures) == (3, 3)
        assert "requests failed" in fault(replica)

    run_in_virtual_time(story())


def test_what_does_not_answer_in_time_counts_with_the_time_that_it_was_given() -> None:
    """Otherwise the median would be of those alone that made it."""

    async def story() -> None:
        replica = replica_of(Models({"m-1": 0.05, "m-2": 0.05}))
        for _ in range(40):
            await ask(replica, 2.0)
        replica.trial = Trial(NEW, 0.5)
        for number in range(60):
            await ask(replica, 2.0, b"1" if number % 4 < 2 else b"1000")

        for name in ("m-1", "m-2"):
            tally = replica.tallies.of(name)
            assert tally.requests == {"m-1": 70, "m-2": 30}[name]
            assert tally.quantiles(asyncio.get_running_loop().time())[1] == pytest.approx(2.0)

    run_in_virtual_time(story())


def test_what_triton_gives_up_on_trial_is_answered_by_the_stable_version_where_time_is_left() -> None:
    triton = Models({"m-1": 0.05, "m-2": 1e9}, {"m-2": 0.5})

    async def story() -> None:
        replica = replica_of(triton)
        assert await ask(replica, 5.0)
        trial = replica.trial = Trial(NEW, 1.0)
        assert await ask(replica, 5.0)
        assert trial.failures == 1

    run_in_virtual_time(story())
    assert triton.asked == ["m-1", "m-2", "m-1"]


def test_callers_that_allow_too_little_do_not_refuse_a_candidate_that_is_as_fast() -> None:
    """Every seventh text takes longer than its caller allows, by either version."""

    async def story() -> None:
        replica = replica_of(Models({"m-1": 0.05, "m-2": 0.05}))
        await warmed(replica)
        trial = replica.trial = Trial(NEW, 0.5)
        await warmed(replica)

        tally = replica.tallies.of("m-2")
        assert (tally.requests, tally.failures, trial.lost) == (50, 0, False)
        assert fault(replica) == ""

    run_in_virtual_time(story())


def test_deadlines_that_no_version_could_keep_say_nothing() -> None:
    async def story() -> None:
        replica = replica_of(Models({"m-1": 0.05, "m-2": 0.05}))
        assert await ask(replica, 1.0)
        trial = replica.trial = Trial(NEW, 1.0)
        for _ in range(10):
            assert not await ask(replica, 0.02)

        assert (trial.failures, replica.tallies.of("m-2").requests) == (0, 0)
        assert not replica.health.failures

    run_in_virtual_time(story())


def test_a_candidate_that_took_the_place_at_once_is_measured_by_the_version_before() -> None:
    async def story() -> None:
        replica = replica_of(Models({"m-1": 0.05, "m-2": 0.05}))
        await warmed(replica)
        replica.switch(NEW)
        await warmed(replica)
        alike = replica.tallies.of("m-2").failures
        for _ in range(10):
            await ask(replica, 2.0, b"1000")

        assert (alike, replica.tallies.of("m-2").failures) == (0, 10)
        assert "requests failed" in fault(replica)

    run_in_virtual_time(story())
