import ast

import pytest

from fastserve.api.modelpool import Task
from fastserve.planning.facts import EngineHome
from fastserve.planning.triton import ServerPlace, config_pbtxt, model_files, server_arguments
from make import sub_model

PLACE = ServerPlace("/repo", "/backends", 8000, 8001, 8002, "fs-a-")


@pytest.mark.parametrize(
    ("task", "output"), [(Task.TEXT_CLASSIFICATION, "scores"), (Task.EMBEDDING, "embedding")]
)
def test_the_output_is_named_after_the_task(task: Task, output: str) -> None:
    assert f'output [\n  {{\n    name: "{output}"\n' in config_pbtxt(sub_model().spec, task)


def test_batching_is_as_the_spec_says() -> None:
    spec = sub_model(engine={"maxBatchSize": 7, "maxQueueDelayMicroseconds": 0}).spec
    text = config_pbtxt(spec, Task.TEXT_CLASSIFICATION)
    assert "max_batch_size: 7\n" in text
    assert "dynamic_batching { max_queue_delay_microseconds: 0 }\n" in text


def test_the_stub_is_pinned_to_no_gpu_even_for_a_model_on_gpus() -> None:
    text = config_pbtxt(sub_model(tensor=2, gpu={}).spec, Task.TEXT_CLASSIFICATION)
    assert "instance_group [ { count: 1 kind: KIND_CPU } ]\n" in text


@pytest.mark.parametrize(
    "path", ["/a b", '/it"s', "/it's", "/back\\slash", "/ü/\U0001f600", "/new\nline", "/{brace}"]
)
def test_any_path_reaches_the_stub_as_it_is(path: str) -> None:
    text = model_files(EngineHome("python", (path, "/second")), sub_model().spec, Task.EMBEDDING)[
        "1/model.py"
    ]
    [assignment] = [node for node in ast.parse(text).body if isinstance(node, ast.Assign)]
    assert ast.literal_eval(assignment.value) == [path, "/second"]


def test_the_model_comes_from_the_engine_after_the_paths_are_set() -> None:
    text = model_files(EngineHome("python", ("/first",)), sub_model().spec, Task.EMBEDDING)["1/model.py"]
    statements = [ast.unparse(node) for node in ast.parse(text).body]
    assert statements[-2:] == [
        "sys.path[:0] = ['/first']",
        "from fastserve.engine.triton_model import TritonPythonModel",
    ]


def test_every_door_of_a_triton_is_on_loopback() -> None:
    arguments = dict(argument.split("=", 1) for argument in server_arguments(PLACE) if "=" in argument)
    assert {arguments[f"--{door}-address"] for door in ("http", "grpc", "metrics")} == {"127.0.0.1"}
    assert [arguments[f"--{door}-port"] for door in ("http", "grpc", "metrics")] == ["8000", "8001", "8002"]


def test_a_triton_starts_empty_with_shared_memory_of_its_own() -> None:
    arguments = server_arguments(PLACE)
    assert "--model-control-mode=explicit" in arguments
    assert not [argument for argument in arguments if argument.startswith("--load-model")]
    assert "--backend-config=python,shm-region-prefix-name=fs-a-" in arguments
