"""Local mode scales real Tritons and routers: as many as the file of the pool says; no request is lost."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from news import Cli, post

pytestmark = [pytest.mark.triton, pytest.mark.timeout(400)]
LOAD_SECONDS = 60.0
POOL = """\
apiVersion: fastserve.io/v1alpha1
kind: ModelPool
metadata: {name: scaled}
spec:
  combination: {deadlineMillis: 60000}
---
apiVersion: fastserve.io/v1alpha1
kind: SubModel
metadata: {name: waits}
spec:
  poolRef: {name: scaled}
  examples: [Which way shall we turn?, Left or right?]
  model: {storageUri: "file://./model", version: "1"}
  engine: {type: Custom, labels: [left, right]}
  autoscaling: {mode: External, minReplicas: 0, maxReplicas: 2}
"""
CONFIG = """
backend: "python"
max_batch_size: 8
input [ { name: "text" data_type: TYPE_STRING dims: [ 1 ] } ]
output [ { name: "scores" data_type: TYPE_FP32 dims: [ 2 ] } ]
"""
MODEL = """
import time

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        time.sleep(0.2)
        return [pb_utils.InferenceResponse([pb_utils.Tensor("scores", self.scores(one))]) for one in requests]

    def scores(self, request):
        texts = pb_utils.get_input_tensor_by_name(request, "text").as_numpy()
        return np.tile(np.array([0.75, 0.25], np.float32), (len(texts), 1))
"""


@pytest.fixture(scope="module")
def cli(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    folder = tmp_path_factory.mktemp("pool")
    (folder / "model" / "1").mkdir(parents=True)
    (folder / "model" / "config.pbtxt").write_text(CONFIG)
    (folder / "model" / "1" / "model.py").write_text(MODEL)
    (folder / "pool.yaml").write_text(POOL)
    made = Cli(tmp_path_factory.mktemp("s"))
    done = made("up", "-f", str(folder / "pool.yaml"), "--detach", "--port", "0")
    assert done.code == 0, done.err
    supervisor = psutil.Process(json.loads((made.state / "session.json").read_text())["pid"])
    yield made
    family = [supervisor, *supervisor.children(recursive=True)]
    assert made("down").code == 0
    assert [p for p in family if p.is_running() and p.status() != psutil.STATUS_ZOMBIE] == []


def folder_of(cli: Cli) -> Path:
    return cli.state / "pools" / "scaled"


def ask_for(cli: Cli, replicas: int) -> None:
    """What somebody else writes in External mode, and the stand-by router in Builtin mode."""
    new = folder_of(cli) / "scale.new"
    new.write_text(json.dumps({"replicas": {"waits": replicas}}))
    new.replace(folder_of(cli) / "scale.json")


def staff(cli: Cli) -> tuple[int, int]:
    (member,) = json.loads((folder_of(cli) / "routes.json").read_text())["members"]
    return member["staff"]["replicas"], member["staff"]["unplaced"]


def phases(cli: Cli) -> list[str]:
    return [member["phase"] for member in cli.pool()["members"]]


def processes(cli: Cli) -> set[str]:
    session = json.loads((cli.state / "session.json").read_text())
    return {one["name"] for one in session["processes"]} - {"scaled-door"}


def until(true: Callable[[], bool], seconds: float = LOAD_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.2)


class Asking:
    """Asks one question after the other, for as long as the block lasts."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask)
        self.statuses: list[int] = []

    def __enter__(self) -> "Asking":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _ask(self) -> None:
        while not self._over.is_set():
            status, _, _ = post(f"{self._url}/v1/predict", {"text": "Left or right?"})
            self.statuses.append(status)


def test_replicas_come_and_go_and_every_question_is_answered(cli: Cli) -> None:
    pool = cli.pool()
    assert (phases(cli), staff(cli), pool["replicas"][0]["wanted"]) == (["Ready"], (1, 0), 1)
    pairs = [f"waits-{i}-{part}" for i in range(2) for part in ("router", "triton")]
    with Asking(pool["url"]) as asking:
        ask_for(cli, 2)
        until(lambda: phases(cli) == ["Ready", "Ready"])
        assert (processes(cli), staff(cli)) == (set(pairs), (2, 0))
        ask_for(cli, 1)
        until(lambda: processes(cli) == set(pairs[:2]))
    assert len(asking.statuses) > 5
    assert set(asking.statuses) == {200}

    ask_for(cli, 0)
    until(lambda: processes(cli) == set())
    assert (phases(cli), staff(cli)) == (["Asleep"], (0, 0))
    assert "0/0" in cli("status").out

    waiting = threading.Timer(1.0, ask_for, (cli, 1))
    waiting.start()
    status, document, headers = post(f"{pool['url']}/v1/predict", {"text": "Left or right?"})
    assert (status, document["label"]) == (200, "left")
    assert headers["x-fastserve-woken"] == "waits"
    until(lambda: phases(cli) == ["Ready"])


def test_the_reason_is_told(cli: Cli) -> None:
    until(lambda: cli("explain", "scaling", "waits", "--json").code == 0, 20)
    explained = json.loads(cli("explain", "scaling", "waits", "--json").out)
    assert (explained["subModel"], explained["pool"], explained["source"]) == ("waits", "scaled", "Routers")
    assert explained["reason"]
    assert explained["message"]
    assert "has no sub-model w. It has: waits." in cli("explain", "scaling", "w").err
