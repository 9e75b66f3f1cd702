"""This router's own Triton as a replica: what is cut in chunks, what waits while the version is exchanged."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import count

import numpy as np
import pytest

from fastserve.errors import BackendAway, BackendError, BackendLost
from fastserve.router.caller import ANYONE
from fastserve.router.metrics import Metrics
from fastserve.router.pulse import Pulse
from fastserve.router.replicas import MemberCall
from fastserve.router.serving import OwnReplica
from fastserve.router.triton import Question
from fastserve.router.versions.trial import Serving, Trial
from virtual_time import run_in_virtual_time

OLD = Serving("m-1", "1" * 64, "one", "scores", ("a", "b"), 2, 4)
NEW = replace(OLD, name="m-2", digest="2" * 64, version="two")


@dataclass
class Inference:
    """A Triton that answers each text with its own number, after `seconds`; `says` may raise instead."""

    seconds: float = 0.1
    says: Callable[[str, int], None] = lambda model, number: None
    pulse: Pulse = field(default_factory=Pulse)
    begun: list[str] = field(default_factory=list)
    ended: int = 0

    async def infer(self, question: Question, seconds: float) -> np.ndarray:
        number = len(self.begun)
        self.begun.append(question.model)
        await asyncio.sleep(self.seconds)
        self.says(question.model, number)
        self.ended += 1
        return np.array([[float(text), 0.0] for text in question.texts], np.float32)


def replica_of(triton: Inference, places: int, max_waiting: int = 256) -> OwnReplica:
    replica = OwnReplica("m", triton, Metrics())
    replica.switch(OLD)
    replica.gate.resize(places, max_waiting)
    return replica


def call(rows: int = 1) -> MemberCall:
    deadline = asyncio.get_running_loop().time() + 60.0
    texts = tuple(b"%d" % number for number in range(rows))
    return MemberCall("m", texts, deadline, "id", (), ANYONE)


@pytest.mark.parametrize(("places", "max_waiting"), [(1, 1), (2, 1), (8, 2), (64, 256)])
def test_a_request_of_many_chunks_does_not_fill_the_queue_that_it_waits_in(
    places: int, max_waiting: int
) -> None:
    triton = Inference()

    async def story() -> None:
        output = await replica_of(triton, places, max_waiting).infer(call(78))
        assert output.scores[:, 0].tolist() == list(range(78))
        # As quick as the places allow.
        assert asyncio.get_running_loop().time() <= 0.1 * -(-20 // places) + 0.01

    run_in_virtual_time(story())
    assert len(triton.begun) == 20


def test_two_large_requests_take_turns_and_neither_is_refused() -> None:
    async def story() -> None:
        replica = replica_of(Inference(), 4, 2)
        outputs = await asyncio.gather(*(replica.infer(call(60)) for _ in range(2)))
        assert [len(one.scores) for one in outputs] == [60, 60]

    run_in_virtual_time(story())


def test_the_first_chunk_that_fails_ends_the_others() -> None:
    def fails(model: str, number: int) -> None:
        if number in (0, 1):
            raise BackendError("EngineFailed")

    triton = Inference(says=fails)

    async def story() -> None:
        replica = replica_of(triton, 4)
        with pytest.raises(BackendError, match="EngineFailed"):
            await replica.infer(call(100))
        assert (replica.gate.in_flight, replica.gate.waiting) == (0, 0)

    run_in_virtual_time(story())
    assert (len(triton.begun), triton.ended) == (4, 2)


def test_a_caller_that_goes_takes_all_its_chunks_along() -> None:
    triton = Inference()

    async def story() -> None:
        replica = replica_of(triton, 2)
        asked = asyncio.create_task(replica.infer(call(100)))
        await asyncio.sleep(0.05)
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)
        assert (replica.gate.in_flight, replica.gate.waiting) == (0, 0)

    run_in_virtual_time(story())
    assert (len(triton.begun), triton.ended) == (2, 0)


@pytest.mark.parametrize("what", ["unloaded", "drained"])
def test_what_waited_while_the_version_went_is_no_fault_of_triton_s(what: str) -> None:
    triton = Inference()

    async def story() -> None:
        replica = replica_of(triton, 1)
        first, second = (asyncio.create_task(replica.infer(call())) for _ in range(2))
        await asyncio.sleep(0.05)
        if what == "unloaded":
            replica.switch(None)
        else:
            replica.closed = True
        await first
        with pytest.raises(BackendAway):
            await second
        assert replica.health.ready
        assert (replica.failures, replica.gate.in_flight) == (0, 0)

    run_in_virtual_time(story())
    assert triton.begun == ["m-1"]


def test_a_new_version_starts_with_a_clean_slate() -> None:
    async def story() -> None:
        replica = replica_of(Inference(), 1)
        before = replica.conduct
        for _ in range(4):
            before.failed(0.0)
        replica.switch(NEW)
        replica.conduct.failed(0.0)
        assert replica.conduct.fault(0.0, None) is None
        before.failed(0.0)  # the end of a call to the old one, that was on its way
        assert replica.conduct.fault(0.0, None) is None

    run_in_virtual_time(story())


def test_what_kills_the_version_on_trial_and_the_stable_one_is_told_to_be_asked_by_nobody_more() -> None:
    def dies(model: str, number: int) -> None:
        raise BackendLost(f"{model} died")

    triton = Inference(says=dies)

    async def story() -> None:
        replica = replica_of(triton, 4)
        replica.trial = Trial(NEW, 1.0)
        with pytest.raises(BackendLost) as lost:
            await replica.infer(call())
        assert lost.value.again

    run_in_virtual_time(story())
    assert triton.begun == ["m-2", "m-1"]


def test_what_was_asked_of_the_stable_version_says_nothing_of_a_trial_that_is_over() -> None:
    """It was drawn for the trial, and the trial ended while it waited at the gate."""
    numbers = count()

    def fails(model: str, number: int) -> None:
        if next(numbers):
            raise BackendError("EngineFailed")

    triton = Inference(says=fails)

    async def story() -> None:
        replica = replica_of(triton, 1)
        trial = replica.trial = Trial(NEW, 1.0)
        first, second = (asyncio.create_task(replica.infer(call())) for _ in range(2))
        await asyncio.sleep(0.05)
        replica.trial = None
        await first
        with pytest.raises(BackendError):
            await second
        assert (trial.failures, replica.health.failures) == (0, 1)

    run_in_virtual_time(story())
    assert triton.begun == ["m-2", "m-1"]
