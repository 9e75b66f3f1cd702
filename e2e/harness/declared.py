"""A model in a real Triton whose service time is a declared wait: two cores cannot scale a busy one."""

from pathlib import Path

NAME = "declared"
LABELS = ("left", "right")
ENGINE = {"type": "Custom", "labels": list(LABELS)}
"""The engine of a sub-model that answers with it."""
CONFIG = """\
backend: "python"
max_batch_size: 1
input [ { name: "text" data_type: TYPE_STRING dims: [ 1 ] } ]
output [ { name: "scores" data_type: TYPE_FP32 dims: [ 2 ] } ]
instance_group [ { kind: KIND_CPU count: 1 } ]
"""
MODEL = """\
import time

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        answers = []
        for one in requests:
            time.sleep(WAIT)
            size = len(pb_utils.get_input_tensor_by_name(one, "text").as_numpy())
            scores = np.tile(np.array([0.75, 0.25], np.float32), (size, 1))
            answers.append(pb_utils.InferenceResponse([pb_utils.Tensor("scores", scores)]))
        return answers
"""


def write_model(folder: Path, wait_seconds: float) -> None:
    """Make `folder`/declared a Triton model folder: one request at a time, each after so many seconds."""
    version = folder / NAME / "1"
    version.mkdir(parents=True)
    (folder / NAME / "config.pbtxt").write_text(CONFIG)
    (version / "model.py").write_text(MODEL.replace("WAIT", repr(wait_seconds)))
