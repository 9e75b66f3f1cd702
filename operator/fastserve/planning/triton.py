"""Triton's model folder and Triton's command line. Tried with Triton 2.51 (24.10)."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from fastserve.api.modelpool import Task
from fastserve.api.submodel import SubModelSpec
from fastserve.planning.facts import EngineHome

OUTPUT_NAMES: Final[Mapping[Task, str]] = MappingProxyType(
    {Task.TEXT_CLASSIFICATION: "scores", Task.EMBEDDING: "embedding"}
)
LOOPBACK = "127.0.0.1"

_CONFIG = """\
backend: "python"
max_batch_size: {batch}
input [
  {{
    name: "text"
    data_type: TYPE_STRING
    dims: [ 1 ]
    reshape: {{ shape: [ ] }}
  }}
]
output [
  {{
    name: "{output}"
    data_type: TYPE_FP32
    dims: [ -1 ]
  }}
]
# The stub itself computes nothing: its ranks are processes that pin their own devices. Triton would
# ignore the gpus of a Python model's instance group, and with KIND_GPU refuse to load where it sees none.
instance_group [ {{ count: 1 kind: KIND_CPU }} ]
dynamic_batching {{ max_queue_delay_microseconds: {delay} }}
# Triton calls the model ready only after this inference, so that ready means usable.
model_warmup [
  {{
    name: "empty text"
    batch_size: 1
    inputs {{
      key: "text"
      value: {{ data_type: TYPE_STRING dims: [ 1 ] zero_data: true }}
    }}
  }}
]
"""

_MODEL = '''\
"""Written by FastServe; changes are overwritten. The code is in fastserve/engine."""

import sys

# Triton's stub ignores PYTHONPATH and virtual environments.
sys.path[:0] = {paths}

from fastserve.engine.triton_model import TritonPythonModel  # noqa: E402, F401
'''


def config_pbtxt(spec: SubModelSpec, task: Task) -> str:
    """``config.pbtxt``. Input ``text`` arrives in the stub as BYTES [n]; the output is FP32 [n, L]. The
    model's name is left out: Triton takes the folder's."""
    return _CONFIG.format(
        batch=spec.engine.max_batch_size,
        delay=spec.engine.max_queue_delay_microseconds,
        output=OUTPUT_NAMES[task],
    )


def model_files(home: EngineHome, spec: SubModelSpec, task: Task) -> dict[str, str]:
    """The model folder, relative path to text; the router adds ``engine.json``."""
    return {
        "config.pbtxt": config_pbtxt(spec, task),
        "1/model.py": _MODEL.format(paths=json.dumps(home.stub_paths, ensure_ascii=False)),
    }


@dataclass(frozen=True)
class ServerPlace:
    """Where one Triton finds its files and listens; always on loopback, since only the router beside it
    may reach it (its model control executes code). `shm_prefix` must be its own on the machine."""

    repository: str
    backend_directory: str
    http_port: int
    grpc_port: int
    metrics_port: int
    shm_prefix: str
    exit_timeout_seconds: int = 10
    stub_timeout_seconds: int = 60
    """How long the stub's process may take to come up; loading the weights is not part of it."""


def warden_arguments(socket: str, regions: str, server: Sequence[str]) -> tuple[str, ...]:
    """The warden's arguments (engine/warden.py): where it is asked, how Triton's shared memory is named, and
    the command line of Triton."""
    return (f"--socket={socket}", f"--regions={regions}", "--", *server)


def server_arguments(place: ServerPlace) -> tuple[str, ...]:
    """``tritonserver``'s arguments. It starts empty; the router loads over gRPC."""
    return (
        f"--model-repository={place.repository}",
        f"--backend-directory={place.backend_directory}",
        f"--http-address={LOOPBACK}",
        f"--http-port={place.http_port}",
        f"--grpc-address={LOOPBACK}",
        f"--grpc-port={place.grpc_port}",
        f"--metrics-address={LOOPBACK}",
        f"--metrics-port={place.metrics_port}",
        "--metrics-config=summary_latencies=true",
        "--model-control-mode=explicit",
        # Our configuration is complete; completing it starts another stub first (measured: 1.5 s a load).
        "--disable-auto-complete-config",
        f"--exit-timeout-secs={place.exit_timeout_seconds}",
        f"--backend-config=python,shm-region-prefix-name={place.shm_prefix}",
        f"--backend-config=python,stub-timeout-seconds={place.stub_timeout_seconds}",
    )
