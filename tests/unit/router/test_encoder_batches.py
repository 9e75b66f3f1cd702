"""Texts that wait are encoded together, once each, and a full queue refuses."""

import asyncio
import threading
from collections.abc import Sequence

import numpy as np
import pytest

from fastserve.router.answers import Refusal
from fastserve.router.encoder import LONGEST_CACHED, EncoderService


class SlowEncoder:
    """Waits in its thread until it is let go."""

    digest = "slow"

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.go = threading.Event()

    def encode(self, texts: Sequence[str], max_tokens: int) -> np.ndarray:
        self.batches.append(list(texts))
        self.go.wait(5)
        if "bad" in texts:
            raise RuntimeError("the session failed")
        return np.array([[len(text), max_tokens] for text in texts], np.float32)


async def test_what_waits_is_joined_into_one_batch_and_remembered() -> None:
    encoder = SlowEncoder()
    service = EncoderService(encoder)
    tasks = [asyncio.create_task(service.vector(text, 8)) for text in ("a", "bb", "bb", "ccc")]
    await asyncio.sleep(0)
    encoder.go.set()
    vectors = await asyncio.gather(*tasks)

    assert [vector.tolist() for vector in vectors] == [[1, 8], [2, 8], [2, 8], [3, 8]]
    assert sorted(text for batch in encoder.batches for text in batch) == ["a", "bb", "ccc"]
    assert service.cached("bb", 8) is not None
    assert service.cached("bb", 16) is None
    assert (await service.vector("bb", 16)).tolist() == [2, 16]
    service.close()


async def test_one_caller_that_goes_does_not_take_the_text_from_another() -> None:
    encoder = SlowEncoder()
    service = EncoderService(encoder)
    gone = asyncio.create_task(service.vector("a", 8))
    stays = asyncio.create_task(service.vector("a", 8))
    await asyncio.sleep(0)
    gone.cancel()
    encoder.go.set()

    assert (await stays).tolist() == [1, 8]
    service.close()


async def test_a_full_queue_refuses_and_a_failure_reaches_its_callers_only() -> None:
    encoder = SlowEncoder()
    service = EncoderService(encoder)
    service.max_waiting = 1
    first = asyncio.create_task(service.vector("bad", 8))
    await asyncio.sleep(0)
    with pytest.raises(Refusal, match="wait for the encoder"):
        await service.vector("b", 8)
    encoder.go.set()
    with pytest.raises(RuntimeError):
        await first

    assert (await service.vector("b", 8)).tolist() == [1, 8]
    service.close()


async def test_a_very_long_text_is_encoded_but_not_kept() -> None:
    encoder = SlowEncoder()
    encoder.go.set()
    service = EncoderService(encoder)
    kept, passing = "x" * LONGEST_CACHED, "x" * (LONGEST_CACHED + 1)
    for text in (kept, passing):
        assert (await service.vector(text, 8)).tolist() == [len(text), 8]

    assert service.cached(passing, 8) is None
    vector = service.cached(kept, 8)
    assert vector is not None
    assert vector.base is None, "a view would keep the whole batch"
    service.close()
