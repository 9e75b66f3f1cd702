"""A Triton model whose service time is declared and whose every answer tells its version and its text."""

import zlib
from dataclasses import dataclass
from pathlib import Path

VERSIONS = 8
"""Versions that answers can tell apart: 0 to 7."""
TOLERANCE = 1e-4
LABELS = ("left", "right")
CONFIG = """\
backend: "python"
max_batch_size: 32
dynamic_batching { max_queue_delay_microseconds: 0 }
input [ { name: "text" data_type: TYPE_STRING dims: [ 1 ] } ]
output [ { name: "scores" data_type: TYPE_FP32 dims: [ 2 ] } ]
"""
MODEL = """\
import sys
import time
import zlib
from pathlib import Path

sys.path.insert(0, "PACKAGES")
import numpy as np
import triton_python_backend_utils as pb_utils


def row(text):
    left = (VERSION + 0.05 + 0.9 * (zlib.crc32(text) % 1000) / 1000) / VERSIONS
    return [left, 1.0 - left]


class TritonPythonModel:
    def initialize(self, args):
        INITIALIZE
        self._illness = Path("ILLNESSES") / Path(args["model_repository"]).parent.name
        self._asked = 0

    def execute(self, requests):
        illness = self._illness.read_text() if self._illness.exists() else ""
        time.sleep(WAIT * (10 if illness == "slow" else 1))
        return [self._answer(one, illness) for one in requests]

    def _answer(self, request, illness):
        self._asked += 1
        if illness == "failing half" and self._asked % 2:
            return pb_utils.InferenceResponse(error=pb_utils.TritonError("one of two fails"))
        texts = pb_utils.get_input_tensor_by_name(request, "text").as_numpy().reshape(-1)
        scores = np.array([row(text) for text in texts], np.float32)
        return pb_utils.InferenceResponse([pb_utils.Tensor("scores", scores)])
"""
SOUND = "pass"
SPOILT = 'raise ValueError("these weights are spoilt")'
HANGING = "time.sleep(1e9)"
"""What a version does when it is loaded."""


@dataclass(frozen=True)
class Ground:
    """What every version's model stands on: numpy for Triton's stub, seconds of a batch, and the folder where
    the illness of an instance is written in a file of its name."""

    packages: Path
    wait: float
    illnesses: Path


def write_model(folder: Path, version: int, ground: Ground, initialize: str = SOUND) -> Path:
    """Make `folder` the model folder of a version."""
    (folder / "1").mkdir(parents=True)
    (folder / "config.pbtxt").write_text(CONFIG)
    text = MODEL.replace("VERSIONS", str(VERSIONS)).replace("VERSION", str(version))
    for word, value in (
        ("PACKAGES", str(ground.packages)),
        ("INITIALIZE", initialize),
        ("ILLNESSES", str(ground.illnesses)),
        ("WAIT", str(ground.wait)),
    ):
        text = text.replace(word, value)
    (folder / "1" / "model.py").write_text(text)
    return folder


def mark(version: int, text: str) -> float:
    """The score of the first label."""
    return (version + 0.05 + 0.9 * (zlib.crc32(text.encode()) % 1000) / 1000) / VERSIONS


def version_told(left: float, text: str) -> int | None:
    """The version that gives this score for this text; None where none does."""
    version = int(left * VERSIONS)
    return version if abs(left - mark(version, text)) < TOLERANCE else None
