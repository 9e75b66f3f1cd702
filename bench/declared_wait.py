"""A pool in local mode whose only model, in a real Triton, just waits: what it can answer is known."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from fastserve.local.environment import Installer
from fastserve.local.folders import Folders

TEXT = "what is asked again and again"
"""Its encoding is remembered after the first time."""
MANIFEST = """\
apiVersion: fastserve.io/v1alpha1
kind: ModelPool
metadata: {name: overload}
spec: {selection: {topK: 1, minScore: "0"}}
---
apiVersion: fastserve.io/v1alpha1
kind: SubModel
metadata: {name: declared}
spec:
  poolRef: {name: overload}
  examples: [TEXT]
  model: {storageUri: "MODEL"}
  engine: {type: Custom, labels: [left, right]}
"""
CONFIG = """\
backend: "python"
max_batch_size: BATCH
dynamic_batching { max_queue_delay_microseconds: 0 }
input [ { name: "text" data_type: TYPE_STRING dims: [ 1 ] } ]
output [ { name: "scores" data_type: TYPE_FP32 dims: [ 2 ] } ]
"""
MODEL = """\
import sys
import time

sys.path.insert(0, "PACKAGES")
import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        time.sleep(WAIT)
        sizes = [len(pb_utils.get_input_tensor_by_name(one, "text").as_numpy()) for one in requests]
        return [
            pb_utils.InferenceResponse([pb_utils.Tensor("scores", np.full((size, 2), 0.5, np.float32))])
            for size in sizes
        ]
"""


@contextmanager
def declared_wait(
    folder: Path, batch: int, wait: float, manifest: str = MANIFEST
) -> Iterator[dict[str, Any]]:
    """The pool's overview while it runs, by the command that users type. Triton answers `batch` requests at
    once after `wait` seconds; `folder` is empty, and its state is in `folder`/state."""
    packages = Installer(Folders.of_platform(), print).everything().triton.stub_packages
    model = folder / "model"
    (model / "1").mkdir(parents=True)
    (model / "config.pbtxt").write_text(CONFIG.replace("BATCH", str(batch)))
    (model / "1" / "model.py").write_text(MODEL.replace("WAIT", str(wait)).replace("PACKAGES", str(packages)))
    file = folder / "pool.yaml"
    file.write_text(manifest.replace("MODEL", model.as_uri()).replace("TEXT", TEXT))

    def fastserve(*arguments: str) -> str:
        command = [
            str(Path(sys.executable).parent / "fastserve"),
            *arguments,
            "--state",
            str(folder / "state"),
        ]
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout

    fastserve("up", "-f", str(file), "--detach", "--port", "0")
    try:
        yield dict(json.loads(fastserve("status", "--json"))["pools"][0])
    finally:
        fastserve("down")


def router_processes(state: Path) -> dict[str, psutil.Process]:
    """Door and routers, by name."""
    processes = json.loads((state / "session.json").read_text())["processes"]
    found = {one["name"]: psutil.Process(one["pid"]) for one in processes}
    return {name: process for name, process in found.items() if not name.endswith("-triton")}


def cpu_of(processes: dict[str, psutil.Process]) -> dict[str, float]:
    """CPU seconds so far."""
    return {name: sum(process.cpu_times()[:2]) for name, process in processes.items()}
