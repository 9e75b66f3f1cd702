import multiprocessing

import numpy as np
import pytest

from fastserve.engine.messages import error_of, receive, send
from fastserve.errors import CheckpointError, CheckpointMissing, EngineError


def test_texts_arrive_as_they_were_sent() -> None:
    ours, theirs = multiprocessing.Pipe()
    with ours, theirs:
        send(ours, {"kind": "predict", "texts": ["ä", "", "🙂 \x00"]})
        assert receive(theirs).header == {"kind": "predict", "texts": ["ä", "", "🙂 \x00"]}


def test_what_follows_the_header_arrives_bit_by_bit() -> None:
    scores = np.array([1e-38, -0.0, np.pi], dtype="<f4")
    ours, theirs = multiprocessing.Pipe()
    with ours, theirs:
        send(ours, {"kind": "scores"}, scores.tobytes())
        message = receive(theirs)
    assert message.kind == "scores"
    assert bytes(message.payload) == scores.tobytes()


def test_the_end_of_the_channel_is_told() -> None:
    ours, theirs = multiprocessing.Pipe()
    ours.close()
    with theirs, pytest.raises(EOFError):
        receive(theirs)


def test_an_error_keeps_its_class_or_at_least_its_reason() -> None:
    assert isinstance(error_of("CheckpointInvalid", "x"), CheckpointError)
    assert isinstance(error_of("CheckpointMissing", "x"), CheckpointMissing)
    unknown = error_of("InvalidSpec", "spec.parallelism.tensor: 3")
    assert (type(unknown), unknown.reason, unknown.message) == (
        EngineError,
        "InvalidSpec",
        "spec.parallelism.tensor: 3",
    )
    assert EngineError.reason == "EngineFailed"
