"""From texts to unit vectors: ONNX in a thread of its own, so that the event loop never waits for it."""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import msgspec
import numpy as np
import numpy.typing as npt
import onnxruntime
from tokenizers import Tokenizer

from fastserve.errors import CheckpointError
from fastserve.router.answers import Refusal

Vectors = npt.NDArray[np.float32]
CACHED_TEXTS = 10_000
LONGEST_CACHED = 2_000
"""Characters; ten thousand texts as long as a body may be would fill the machine's memory."""
LONGEST_TOKEN = 128
"""Characters of a text that are read for each token it is cut to. No word of WordPiece is longer than 100;
the tokeniser would read all of a text before it cuts, a second of CPU for a mebibyte."""
BATCH = 32
"""Texts that wait are encoded together, up to so many."""


class Encoder(Protocol):
    """What selection needs of an encoder. Called from one thread only."""

    digest: str
    """Identity of the weights; prototypes of one encoder mean nothing to another."""

    def encode(self, texts: Sequence[str], max_tokens: int) -> Vectors:
        """Unit vectors, float32 [n, d], of n texts, each cut after `max_tokens` tokens."""
        ...


class EncoderCard(msgspec.Struct, frozen=True, rename="camel"):
    """encoder.json."""

    digest: str
    dimension: int
    max_tokens: int


class OnnxEncoder:
    """A sentence encoder exported to ONNX: mean-pooled and of unit length already."""

    def __init__(self, folder: Path, threads: int) -> None:
        try:
            card = msgspec.json.decode((folder / "encoder.json").read_bytes(), type=EncoderCard)
            self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
            self._session = _session(folder / "model.onnx", threads)
        except Exception as error:  # the libraries raise bare Exceptions for files that are missing or broken
            raise CheckpointError(f"the encoder in {folder} cannot be loaded: {error}") from error
        self.digest = card.digest
        self._limit = card.max_tokens
        self._truncated = 0

    def encode(self, texts: Sequence[str], max_tokens: int) -> Vectors:
        limit = min(max_tokens, self._limit)
        if limit != self._truncated:
            self._tokenizer.enable_truncation(limit)
            self._tokenizer.enable_padding()
            self._truncated = limit
        encodings = self._tokenizer.encode_batch([text[: limit * LONGEST_TOKEN] for text in texts])
        inputs = {
            "input_ids": np.array([one.ids for one in encodings], np.int64),
            "attention_mask": np.array([one.attention_mask for one in encodings], np.int64),
        }
        return np.asarray(self._session.run(["embedding"], inputs)[0], np.float32)


def _session(path: Path, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


class EncoderService:
    """One encoder for all requests: remembers texts, joins those that wait into one batch.

    `max_waiting` bounds the texts that wait; one more is refused with QueueFull.
    """

    def __init__(self, encoder: Encoder) -> None:
        self.digest = encoder.digest
        self.max_waiting = 256
        self._encoder = encoder
        self._dimension: int | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="encoder")
        self._known: OrderedDict[tuple[int, str], npt.NDArray[np.float32]] = OrderedDict()
        self._waiting: OrderedDict[tuple[int, str], asyncio.Future[npt.NDArray[np.float32]]] = OrderedDict()
        self._busy: asyncio.Task[None] | None = None

    def cached(self, text: str, max_tokens: int) -> npt.NDArray[np.float32] | None:
        """The vector of a text that was encoded before."""
        vector = self._known.get((max_tokens, text))
        if vector is not None:
            self._known.move_to_end((max_tokens, text))
        return vector

    async def vector(self, text: str, max_tokens: int) -> npt.NDArray[np.float32]:
        """Unit vector float32 [d]. Raises Refusal QueueFull where too many texts wait."""
        found = self.cached(text, max_tokens)
        if found is not None:
            return found
        key = (max_tokens, text)
        future = self._waiting.get(key)
        if future is None:
            if len(self._waiting) >= self.max_waiting:
                raise Refusal("QueueFull", f"{len(self._waiting)} texts wait for the encoder already")
            future = self._waiting[key] = asyncio.get_running_loop().create_future()
        if self._busy is None:
            self._busy = asyncio.create_task(self._work())
        # Shielded: another request may wait for the same text.
        return await asyncio.shield(future)

    async def dimension(self, max_tokens: int) -> int:
        """d of the vectors."""
        if self._dimension is None:
            self._dimension = int((await self.batch(["dimension"], max_tokens)).shape[1])
        return self._dimension

    async def batch(self, texts: Sequence[str], max_tokens: int) -> Vectors:
        """Vectors float32 [n, d] of examples; between its steps, requests have their turn."""
        loop = asyncio.get_running_loop()
        parts = []
        for start in range(0, len(texts), BATCH):
            part = list(texts[start : start + BATCH])
            parts.append(await loop.run_in_executor(self._thread, self._encoder.encode, part, max_tokens))
        return np.concatenate(parts)

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._waiting:
                taken = self._next_batch()
                texts = [text for (_, text), _ in taken]
                try:
                    vectors = await loop.run_in_executor(
                        self._thread, self._encoder.encode, texts, taken[0][0][0]
                    )
                except Exception as error:
                    _fail(taken, error)
                else:
                    self._deliver(taken, vectors)
        finally:
            self._busy = None

    def _next_batch(self) -> list[tuple[tuple[int, str], asyncio.Future[npt.NDArray[np.float32]]]]:
        """The oldest that wait, all with the same truncation."""
        first = next(iter(self._waiting))
        keys = [key for key in self._waiting if key[0] == first[0]][:BATCH]
        return [(key, self._waiting.pop(key)) for key in keys]

    def _deliver(
        self, taken: list[tuple[tuple[int, str], asyncio.Future[npt.NDArray[np.float32]]]], vectors: Vectors
    ) -> None:
        for (key, future), vector in zip(taken, vectors, strict=True):
            if len(key[1]) <= LONGEST_CACHED:
                # A copy: a row would keep the vectors of its whole batch in memory.
                self._known[key] = vector.copy()
            if len(self._known) > CACHED_TEXTS:
                self._known.popitem(last=False)
            if not future.done():
                future.set_result(vector)


def _fail(
    taken: list[tuple[tuple[int, str], asyncio.Future[npt.NDArray[np.float32]]]], error: Exception
) -> None:
    for _, future in taken:
        if not future.done():
            future.set_exception(error)
            future.exception()  # the callers may all have gone
