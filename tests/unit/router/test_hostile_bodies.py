"""Bodies that lie: JSON and binary tensors are read or refused, and never unpacked beyond need."""

import json
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastserve.errors import BackendError
from fastserve.router.answers import MAX_MESSAGE, Refusal, error_answer
from fastserve.router.encoder import LONGEST_TOKEN, OnnxEncoder
from fastserve.router.oip import TextBatch, join_bytes, read_answer, read_infer
from fastserve.router.wire import PredictRequest, Reader

OUTPUTS = ("scores", "labels")
MANY = 300_000


def deep(depth: int) -> str:
    return "[" * depth + "]" * depth


def infer(tensor: str = '"shape":[1],"data":["a"]', rest: str = "") -> TextBatch:
    text = '{"inputs":[{"name":"text","datatype":"BYTES",' + tensor + "}]" + rest + "}"
    return read_infer(text.encode(), None, OUTPUTS)


def binary(blob: bytes, size: object, shape: tuple[int, ...] = (1,), **more: object) -> TextBatch:
    tensor = {"name": "text", "datatype": "BYTES", "shape": shape, "parameters": {"binary_data_size": size}}
    head = json.dumps({"inputs": [{**tensor, **more}]}).encode()
    return read_infer(head + blob, b"%d" % len(head), OUTPUTS)


def predict(text: str) -> object:
    return Reader(PredictRequest).read(text.encode())


BLOB = join_bytes([b"a"])
ROWS = [
    ("a parameter that is nested", lambda: infer(rest=f',"parameters":{{"a":{deep(3)}}}'), "WrongType"),
    ("a deep parameter", lambda: infer(rest=f',"parameters":{{"a":{deep(100_000)}}}'), "WrongType"),
    ("deep data", lambda: infer(f'"shape":[1],"data":{deep(100_000)}'), "WrongType"),
    ("what nobody reads, 100,000 deep", lambda: infer(rest=f',"x":{deep(100_000)}'), "BadJson"),
    ("a text 100,000 deep", lambda: predict(f'{{"text":{deep(100_000)}}}'), "WrongType"),
    ("a body 100,000 deep", lambda: predict(deep(100_000)), "WrongType"),
    ("a number of 4,000 digits", lambda: infer(f'"shape":[{"9" * 4000}],"data":["a"]'), "OutOfRange"),
    ("a number of 100,000 digits", lambda: infer(f'"shape":[{"9" * 100_000}],"data":["a"]'), "WrongType"),
    ("a long topK", lambda: predict(f'{{"text":"a","topK":{"9" * 100_000}}}'), "WrongType"),
    ("an exponent without end", lambda: infer(f'"shape":[1e{"9" * 1000}],"data":["a"]'), "WrongType"),
    ("NaN", lambda: infer('"shape":[NaN],"data":["a"]'), "BadJson"),
    ("Infinity as topK", lambda: predict('{"text":"a","topK":Infinity}'), "BadJson"),
    ("half a character", lambda: predict(r'{"text":"\ud800"}'), "BadJson"),
    ("half a character in a tensor", lambda: infer(r'"shape":[1],"data":["\udfff "]'), "BadJson"),
    ("a shape below zero", lambda: infer('"shape":[-1],"data":["a"]'), "BadTensor"),
    (
        "a shape whose product overflows",
        lambda: infer('"shape":[4294967296,4294967296],"data":["a"]'),
        "BadTensor",
    ),
    (
        "a shape that fits no machine",
        lambda: infer('"shape":[9223372036854775808],"data":["a"]'),
        "OutOfRange",
    ),
    (
        "a shape of many dimensions",
        lambda: infer(f'"shape":{json.dumps([1] * MANY)},"data":["a"]'),
        "BadTensor",
    ),
    ("a shape of floats", lambda: infer('"shape":[1.0],"data":["a"]'), "WrongType"),
    ("a datatype that is another", lambda: infer('"datatype":"FP32","shape":[1],"data":["a"]'), "BadTensor"),
    (
        "more texts than the shape has",
        lambda: infer(f'"shape":[1],"data":{json.dumps([""] * MANY)}'),
        "BadTensor",
    ),
    ("more texts in one row", lambda: infer(f'"shape":[1],"data":{json.dumps([[""] * MANY])}'), "BadTensor"),
    ("fewer texts than the shape has", lambda: infer('"shape":[2],"data":["a"]'), "BadTensor"),
    ("data twice", lambda: binary(BLOB, len(BLOB), data=["b"]), "BadTensor"),
    ("a size below zero", lambda: binary(BLOB, -5), "BadTensor"),
    ("a size too large", lambda: binary(BLOB, 2**63), "BadTensor"),
    ("a size that is a truth", lambda: binary(b"a", True), "BadTensor"),
    ("a size that is a list", lambda: binary(BLOB, [5]), "WrongType"),
    ("an element longer than all", lambda: binary(struct.pack("<I", 2**32 - 1) + b"a", 5), "BadTensor"),
    ("an element's length cut short", lambda: binary(b"\1\0", 2), "BadTensor"),
    ("more elements than the shape has", lambda: binary(bytes(4 * MANY), 4 * MANY), "BadTensor"),
    ("a name without end", lambda: predict('{"' + "a" * 10**6 + '":1}'), "UnknownField"),
]


@pytest.mark.parametrize(("read", "reason"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_it_is_refused_in_few_words(read, reason: str) -> None:
    with pytest.raises(Refusal) as refusal:
        read()

    assert (refusal.value.status, refusal.value.reason) == (400, reason)
    assert len(refusal.value.message) < 1000


def test_of_a_field_that_is_there_twice_the_last_counts_for_all_of_us() -> None:
    assert predict('{"text":"a","text":"b"}') == PredictRequest("b")


def test_an_error_repeats_no_more_than_a_page() -> None:
    assert len(error_answer(Refusal("BadJson", "a" * 10**6)).body) < MAX_MESSAGE + 100


@given(
    st.binary(max_size=60),
    st.one_of(st.none(), st.binary(max_size=3), st.integers(-1, 70).map(lambda n: b"%d" % n)),
)
def test_any_body_is_read_or_refused(body: bytes, length: bytes | None) -> None:
    with pytest.raises(Refusal):
        read_infer(body, length, OUTPUTS)


@given(st.binary(max_size=40), st.integers(-1, 50), st.lists(st.integers(-1, 4), max_size=3))
def test_any_tensor_is_read_as_many_texts_as_its_shape_has_or_refused(
    blob: bytes, size: int, shape: list[int]
) -> None:
    try:
        batch = binary(blob, size, tuple(shape))
    except Refusal:
        return
    assert (join_bytes(batch.texts), len(batch.texts)) == (blob, shape[0])


@pytest.mark.parametrize("length", [b"x", b"-1", b"99999999999", b"1", None])
def test_another_server_s_answer_that_lies_is_a_failure_of_that_server(length: bytes | None) -> None:
    with pytest.raises(BackendError):
        read_answer(b'{"model_name":"a","outputs":[{"name":"s","shape":[1,9]}]}\0\0\0\0', length)


class CountingTokenizer:
    """Remembers how much it was given."""

    def __init__(self) -> None:
        self.longest = 0

    def enable_truncation(self, limit: int) -> None: ...
    def enable_padding(self) -> None: ...

    def encode_batch(self, texts: list[str]) -> list["CountingTokenizer"]:
        self.longest = max(map(len, texts))
        self.ids = self.attention_mask = [1]
        return [self for _ in texts]


class OneVector:
    def run(self, _names: list[str], _inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        return [np.ones((1, 1))]


def test_of_a_long_text_no_more_is_tokenised_than_can_count() -> None:
    encoder = object.__new__(OnnxEncoder)
    encoder._tokenizer, encoder._session = CountingTokenizer(), OneVector()
    encoder._limit, encoder._truncated = 256, 0

    encoder.encode(["a " * 10**6], 64)

    assert encoder._tokenizer.longest == 64 * LONGEST_TOKEN
