"""Heads that are remembered: the result is what it would be without a memory, for good heads and for bad."""

import json
from collections.abc import Callable

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastserve.errors import BackendError
from fastserve.router import heads
from fastserve.router.answers import Refusal
from fastserve.router.heads import Shown
from fastserve.router.oip import Result, TextBatch, infer_body, read_answer, read_infer, render

OUTPUTS = ("scores", "labels")
NAMES = st.sampled_from(["text", "scores", "labels", "other"])
SIZES = st.one_of(st.integers(-3, 40), st.none(), st.booleans(), st.just("7"), st.floats(0, 9))
TENSORS = st.fixed_dictionaries(
    {"name": NAMES},
    optional={
        "datatype": st.sampled_from(["BYTES", "FP32"]),
        "shape": st.lists(st.integers(-1, 1100), max_size=3),
        "parameters": st.fixed_dictionaries({}, optional={"binary_data_size": SIZES, "binary_data": SIZES}),
        "data": st.lists(st.text(max_size=3), max_size=3),
    },
)
REQUESTS = st.fixed_dictionaries(
    {"inputs": st.lists(TENSORS, max_size=2)},
    optional={
        "id": st.text(max_size=5),
        "parameters": st.fixed_dictionaries({"binary_data_output": st.booleans()}),
        "outputs": st.lists(TENSORS, max_size=3),
    },
)
GOOD = st.builds(
    lambda shape, size, outputs: json.loads(heads.question(shape, outputs, size)[1]),
    st.sampled_from([(1,), (3, 1)]),
    st.integers(0, 40),
    st.sampled_from([OUTPUTS, ("scores",), ("labels", "scores")]),
)
ANSWERS = st.fixed_dictionaries(
    {"model_name": st.just("m"), "outputs": st.lists(TENSORS, max_size=3)},
    optional={"model_version": st.text(max_size=3), "more": st.text(min_size=2048, max_size=2049)},
)
FAULTS = (Refusal, msgspec.DecodeError, ValueError)


def outcome(read: Callable[[], object]) -> object:
    try:
        return read()
    except FAULTS as error:
        return type(error), str(error), getattr(error, "reason", "")


@given(st.one_of(REQUESTS, GOOD), st.sampled_from([OUTPUTS, ("embedding",), ("scores",)]))
def test_a_request_s_head_means_the_same_each_time_it_comes(document: dict, allowed: tuple[str, ...]) -> None:
    head = json.dumps(document).encode()
    plain = outcome(lambda: heads.read_asked(head, allowed))

    assert [outcome(lambda: heads.asked(head, allowed)) for _ in range(2)] == [plain] * 2


@given(ANSWERS)
def test_an_answer_s_head_means_the_same_each_time_it_comes(document: dict) -> None:
    head = json.dumps(document).encode()
    plain = outcome(lambda: heads.read_answered(head))

    assert [outcome(lambda: heads.answered(head)) for _ in range(2)] == [plain] * 2


@given(st.binary(max_size=30))
def test_what_is_no_head_is_refused_each_time_it_comes(head: bytes) -> None:
    for read in (lambda: heads.asked(head, OUTPUTS), lambda: heads.answered(head)):
        first, second = outcome(read), outcome(read)
        assert isinstance(first, tuple)
        assert first == second


@given(
    st.builds(
        Shown,
        st.text(max_size=4),
        st.text(max_size=2),
        st.sampled_from(["", "one"]),
        st.lists(
            st.tuples(NAMES, st.just("FP32"), st.tuples(st.integers(1, 9)), st.integers(0, 99)), max_size=2
        ).map(tuple),
    )
)
def test_an_answer_s_head_is_written_the_same_each_time(what: Shown) -> None:
    assert [heads.shown(what) for _ in range(2)] == [heads.write_shown(what)] * 2


@given(st.lists(st.lists(st.binary(max_size=5), min_size=1, max_size=3), min_size=1, max_size=4))
def test_texts_and_scores_are_never_those_of_an_earlier_message(messages: list[list[bytes]]) -> None:
    for texts in messages:
        lines, body = infer_body(texts, (len(texts),), OUTPUTS)
        batch = read_infer(body, lines.rsplit(b": ", 1)[1].strip(), OUTPUTS)
        scores = np.frombuffer(b"".join(texts).ljust(40)[: 4 * len(texts)], "<f4").reshape(len(texts), 1)
        answer = render(Result("m", "scores", scores, (str(texts),), "1"), batch, ())
        result = read_answer(answer.body, dict(answer.headers)["inference-header-content-length"].encode())

        assert batch.texts == tuple(texts)
        assert (result.scores.tobytes(), result.labels) == (scores.tobytes(), (str(texts),))


def test_bad_heads_and_long_heads_are_not_remembered() -> None:
    def remembered() -> int:
        return heads._known_asked.cache_info().currsize + heads._known_answered.cache_info().currsize

    heads._known_asked.cache_clear()
    heads._known_answered.cache_clear()
    for at in range(20):
        with pytest.raises(Refusal):
            heads.asked(b'{"inputs":[],"id":"bad %d"}' % at, OUTPUTS)
        with pytest.raises(BackendError):
            read_answer(b'{"model_name":%d}' % at, None)
        heads.answered(json.dumps({"model_name": "m" * 2048, "outputs": [], "id": str(at)}).encode())

    assert remembered() == 0


def test_labels_are_those_of_their_own_set_also_where_hundreds_of_sets_come_and_go() -> None:
    batch = TextBatch((b"a",), (("labels", True),))
    for at in range(600):
        answer = render(Result("m", "scores", np.zeros((1, 1), np.float32), (str(at),)), batch, ())
        assert answer.body.endswith(str(at).encode())
