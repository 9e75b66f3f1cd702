"""A model of the user's own in a real Triton: Triton's Python backend takes and gives numpy arrays."""

import os
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from fastserve.local.environment import TritonHome
from fastserve.local.ports import free_ports
from fastserve.planning.triton import ServerPlace, server_arguments

pytestmark = [pytest.mark.triton, pytest.mark.timeout(200)]
PREFIX = f"own-model-test-{os.getpid()}-"
CONFIG = """
backend: "python"
max_batch_size: 8
input [ { name: "text" data_type: TYPE_STRING dims: [ 1 ] } ]
output [ { name: "scores" data_type: TYPE_FP32 dims: [ 2 ] } ]
"""
MODEL = """
import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        answers = []
        for request in requests:
            texts = pb_utils.get_input_tensor_by_name(request, "text").as_numpy()
            lengths = np.array([[len(row[0]), 1] for row in texts], dtype=np.float32)
            answers.append(pb_utils.InferenceResponse([pb_utils.Tensor("scores", lengths)]))
        return answers
"""


def test_a_model_that_imports_numpy_answers(triton_home: TritonHome, tmp_path: Path) -> None:
    (tmp_path / "own" / "1").mkdir(parents=True)
    (tmp_path / "own" / "config.pbtxt").write_text(CONFIG)
    (tmp_path / "own" / "1" / "model.py").write_text(MODEL)
    ports = free_ports(3)
    place = ServerPlace(str(tmp_path), str(triton_home.backend_directory), *ports, PREFIX)
    environment = {"PATH": os.environ["PATH"], "LD_LIBRARY_PATH": triton_home.library_path}
    process = subprocess.Popen([triton_home.binary, *server_arguments(place)], env=environment)
    try:
        with triton.InferenceServerClient(f"127.0.0.1:{ports[1]}") as client:
            wait_for(client)
            client.load_model("own")
            text = triton.InferInput("text", [2, 1], "BYTES")
            text.set_data_from_numpy(np.array([[b"one"], [b"three"]], dtype=object))
            scores = client.infer("own", [text], client_timeout=30).as_numpy("scores")
        assert scores.tolist() == [[3.0, 1.0], [5.0, 1.0]]
    finally:
        process.kill()
        process.wait()
        for left in Path("/dev/shm").glob(f"{PREFIX}*"):
            left.unlink()


def wait_for(client: triton.InferenceServerClient) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            if client.is_server_live():
                return
        except InferenceServerException:
            assert time.monotonic() < deadline, "Triton did not come up"
        time.sleep(0.1)
