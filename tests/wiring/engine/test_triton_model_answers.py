"""The class that Triton's stub calls, with ranks that are real processes and Triton's own module in small."""

import importlib
import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from fastserve.engine import supervisor

if TYPE_CHECKING:
    from conftest import Stage


class TritonError(Exception):
    UNAVAILABLE, INTERNAL, INVALID_ARG = 1, 2, 3

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


@dataclass
class Tensor:
    name: str
    array: np.ndarray

    def as_numpy(self) -> np.ndarray:
        return self.array


@dataclass
class Response:
    outputs: Any = None
    error: TritonError | None = None


@pytest.fixture
def model(stage: "Stage", tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    small = ModuleType("triton_python_backend_utils")
    small.__dict__.update(TritonError=TritonError, Tensor=Tensor, InferenceResponse=Response)
    small.__dict__["get_input_tensor_by_name"] = lambda request, name: request
    monkeypatch.setitem(sys.modules, small.__name__, small)
    monkeypatch.delitem(sys.modules, "fastserve.engine.triton_model", raising=False)
    triton_model = importlib.import_module("fastserve.engine.triton_model")
    monkeypatch.setattr(triton_model, "end_with_parent", lambda group: None)
    config = replace(stage.config, devices=("cpu", "cpu"))
    (tmp_path / "engine.json").write_text(config.to_json())
    model = triton_model.TritonPythonModel()
    model.initialize({"model_repository": str(tmp_path)})
    yield model
    model.finalize()
    sys.modules.pop("fastserve.engine.triton_model", None)


def ask(model: Any, *texts: bytes) -> list[Response]:
    return list(model.execute([Tensor("text", np.array([[text]], dtype=object)) for text in texts]))


def test_a_batch_that_fails_is_an_internal_error_and_the_next_one_is_answered(model: Any) -> None:
    (failed,) = ask(model, b"fail all")
    assert (str(failed.error), failed.error.code) == ("EngineFailed: no luck", TritonError.INTERNAL)

    (answered,) = ask(model, b"abc")
    assert answered.outputs[0].array.tolist() == [[3, 2]]


def test_a_dead_rank_makes_the_model_unavailable(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "FIRST_DELAY", 60.0)
    monkeypatch.setattr(supervisor, "LONGEST_DELAY", 60.0)
    os.kill(model._group.report().ranks[1].pid, signal.SIGKILL)
    for _ in range(2):
        (failed,) = ask(model, b"abc")
        assert "RankDied: rank 1 " in str(failed.error)
        assert failed.error.code == TritonError.UNAVAILABLE


def test_a_text_that_is_not_utf8_fails_alone(model: Any) -> None:
    good, bad, other = ask(model, b"abc", b"\xff", b"ab")
    assert bad.error.code == TritonError.INVALID_ARG
    assert [one.outputs[0].array.tolist() for one in (good, other)] == [[[3, 2]], [[2, 2]]]
