"""A sub-model that is asked by name: a shorter way to the same answer as the way through choice and
combination, also where replicas fail."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from itertools import chain, repeat

import numpy as np
import pytest

from fake_replicas import Place
from fastserve.errors import (
    BackendError,
    BackendOverloaded,
    BackendTimeout,
    BackendUnavailable,
    FastServeError,
)
from fastserve.router.answers import Answer, error_answer, refusal_of
from fastserve.router.asking import Ask, Asking
from fastserve.router.caller import ANYONE
from fastserve.router.doors import DataDoor
from fastserve.router.encoder import EncoderService
from fastserve.router.metrics import Metrics
from fastserve.router.oip import Result, TextBatch, render
from fastserve.router.peers import Peers
from fastserve.router.pool import Pool
from fastserve.router.predicting import decision_headers
from fastserve.router.protocol import Request
from fastserve.router.replicas import MemberOutput
from fastserve.router.table import parse_table
from virtual_time import run_in_virtual_time

LABELS = ("cook", "flight", "hotel")
SECONDS = 5.0
TABLE = {
    "pool": "pool",
    "task": "TextClassification",
    "method": "WeightedSum",
    "selection": {},
    "deadlineMillis": 5000,
    "minMembers": 1,
    "limits": {},
    "members": [],
}
TARGET = {
    "digest": "0" * 64,
    "modelName": "m-00000000",
    "version": "7",
    "storageUri": "file:///none",
    "engine": {"devices": ["cpu"], "python": "python3"},
    "files": {"config.pbtxt": "max_batch_size: 64\n"},
}
MEANING = {"examples": ["m"], "digest": "0" * 64}


class NoEncoder:
    digest = "none"

    def encode(self, texts: object, max_tokens: int) -> np.ndarray:
        raise AssertionError("nothing is to be chosen")


def pool_of(task: str, *places: Place) -> Pool:
    members = [{"name": "m", "meaning": MEANING, "target": TARGET}]
    peers = Peers("me", lambda member, ready: None)
    peers.by_member = {"m": list(places)}
    pool = Pool("pool", None, peers)
    method = {} if task == "TextClassification" else {"method": "WeightedMean"}
    pool.snapshot = parse_table(json.dumps({**TABLE, **method, "task": task, "members": members}))
    return pool


def request_for(texts: tuple[str, ...]) -> Request:
    tensor = {"name": "text", "datatype": "BYTES", "shape": [len(texts)], "data": texts}
    body = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    return Request("POST", "/v2/models/m/infer", {b"x-request-id": b"one"}, body)


async def by_name(pool: Pool, texts: tuple[str, ...]) -> Answer:
    return await DataDoor(pool, EncoderService(NoEncoder()), Metrics()).handle(request_for(texts))


async def through_the_pool(pool: Pool, texts: tuple[str, ...]) -> Answer:
    """The way of a request whose sub-models are chosen."""
    asking = Asking(pool, EncoderService(NoEncoder()), Metrics())
    deadline = asyncio.get_running_loop().time() + SECONDS
    try:
        rows = await asking.answer(Ask(texts, deadline, "one", ANYONE, direct="m"))
    except FastServeError as error:
        return error_answer(refusal_of(error))
    outputs = pool.table().outputs
    scores = np.stack([row.combined.scores for row in rows]).astype(np.float32)
    result = Result("m", outputs[0], scores, rows[0].combined.labels, pool.version("m"))
    batch = TextBatch(tuple(text.encode() for text in texts), tuple((name, True) for name in outputs))
    return render(result, batch, decision_headers(rows, pool))


def told(
    task: str, way: Callable[[Pool, tuple[str, ...]], Awaitable[Answer]], places: list[Place], count: int
) -> tuple[object, ...]:
    answers = []

    async def run() -> None:
        answers.append(await way(pool_of(task, *places), tuple(f"text {i}" for i in range(count))))

    run_in_virtual_time(run())
    answer = answers[0]
    headers = {name: value for name, value in answer.headers if name != "x-request-id"}
    asked = sum(place.asked for place in places)
    return answer.status, answer.reason, answer.body, answer.content_type, headers, asked


@pytest.mark.parametrize("count", [1, 2, 17])
@pytest.mark.parametrize("task", ["TextClassification", "Embedding"])
def test_one_by_name_answers_with_the_bytes_of_the_long_way(task: str, count: int) -> None:
    scores = np.random.default_rng(count).normal(size=(count, 3)).astype(np.float32)
    scores[0, 1] = np.nan
    output = MemberOutput(LABELS if task == "TextClassification" else (), scores, "7")

    def places() -> list[Place]:
        return [Place(repeat(output), version="7", labels=output.labels)]

    short = told(task, by_name, places(), count)

    assert short == told(task, through_the_pool, places(), count)
    assert (short[0], short[5]) == (200, 1)


FAULTS = {
    "gone": BackendUnavailable("it is gone"),
    "late": BackendTimeout("it took too long"),
    "full": BackendOverloaded("no room", 7.0),
    "broken": BackendError("it failed"),
}


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("fault", sorted(FAULTS))
def test_faults_of_one_by_name_are_met_like_those_of_the_long_way(fault: str, again: bool) -> None:
    output = MemberOutput(LABELS, np.ones((1, 3), np.float32), "7")

    def places() -> list[Place]:
        says = repeat(FAULTS[fault]) if again else chain([FAULTS[fault]], repeat(output))
        return [Place(says, version="7"), Place(repeat(FAULTS[fault]), version="7", ready=False)]

    assert told("TextClassification", by_name, places(), 1) == told(
        "TextClassification", through_the_pool, places(), 1
    )


def test_one_by_name_that_is_not_ready_is_refused_like_on_the_long_way() -> None:
    short = told("TextClassification", by_name, [Place(ready=False)], 1)

    assert short == told("TextClassification", through_the_pool, [Place(ready=False)], 1)
    assert short[:2] == (503, "MemberUnavailable")


def test_one_whose_scores_do_not_fit_its_labels_failed() -> None:
    output = MemberOutput(LABELS, np.ones((1, 2), np.float32), "7")

    assert told("TextClassification", by_name, [Place(repeat(output))], 1)[1] == "MembersFailed"
