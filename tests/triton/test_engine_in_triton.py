"""The engine inside a real Triton: answers, faults and ends, with a tiny random BERT on two ranks."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

import engine_checkpoints as checkpoints
from fastserve.api.engine import EngineConfig, EngineReport
from fastserve.api.modelpool import Task
from fastserve.api.submodel import SubModelSpec
from fastserve.engine.tokens import TextTokenizer
from fastserve.local.environment import Environment
from fastserve.planning.facts import EngineHome
from fastserve.planning.triton import ServerPlace, model_files, server_arguments

pytestmark = [pytest.mark.triton, pytest.mark.timeout(400)]
PREFIX = f"engine-test-{os.getpid()}-"
BATCH = {"maxBatchSize": 32, "maxQueueDelayMicroseconds": 500_000}
"""Half a second of waiting, so that requests sent at once are one batch."""
Until = Callable[[Callable[[], object]], None]


@dataclass(frozen=True)
class Server:
    process: subprocess.Popen[bytes]
    client: triton.InferenceServerClient
    repository: Path
    environment: Environment

    def put(self, name: str, checkpoint: Path, ranks: int = 2) -> Path:
        """Write a model's folder; returns the path of its report socket."""
        folder = self.repository / name
        door = self.repository.parent / f"{name}.sock"
        home = EngineHome(
            python=str(self.environment.engine_python),
            stub_paths=(str(self.environment.package), str(self.environment.triton.stub_packages)),
        )
        spec = SubModelSpec.model_validate(
            {
                "poolRef": {"name": "p"},
                "examples": ["x"],
                "model": {"storageUri": "file:///x"},
                "engine": BATCH,
            }
        )
        config = EngineConfig(
            "TextClassification", ("cpu",) * ranks, home.python, str(checkpoint), socket=str(door)
        )
        files = {**model_files(home, spec, Task.TEXT_CLASSIFICATION), "engine.json": config.to_json()}
        for path, text in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text)
        return door

    def ask(self, name: str, *rows: bytes) -> np.ndarray:
        text = triton.InferInput("text", [len(rows), 1], "BYTES")
        text.set_data_from_numpy(np.array([[row] for row in rows], dtype=object))
        return self.client.infer(name, [text], client_timeout=30).as_numpy("scores")

    def executions(self, name: str) -> int:
        statistics = self.client.get_inference_statistics(name, as_json=True)
        return int(statistics["model_stats"][0]["execution_count"])


def read(door: Path) -> EngineReport:
    with socket.socket(socket.AF_UNIX) as reader, reader.makefile("rb") as stream:
        reader.connect(str(door))
        return msgspec.json.decode(stream.read(), type=EngineReport)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def stubs_of(process: subprocess.Popen[bytes]) -> list[int]:
    tasks = Path(f"/proc/{process.pid}/task")
    return [int(pid) for task in tasks.iterdir() for pid in (task / "children").read_text().split()]


def free_ports(count: int) -> list[int]:
    doors = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [door.getsockname()[1] for door in doors]
    finally:
        for door in doors:
            door.close()


@pytest.fixture
def until() -> Until:
    def wait(holds: Callable[[], object]) -> None:
        deadline = time.monotonic() + 120
        while not holds():
            assert time.monotonic() < deadline, "it never became so"
            time.sleep(0.05)

    return wait


@pytest.fixture(scope="module")
def server(environment: Environment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = environment.triton
    repository = tmp_path_factory.mktemp("t") / "models"
    repository.mkdir()
    http, grpc, metrics = free_ports(3)
    place = ServerPlace(str(repository), str(home.backend_directory), http, grpc, metrics, PREFIX)
    process = subprocess.Popen(
        [home.binary, *server_arguments(place)], env={**os.environ, "LD_LIBRARY_PATH": home.library_path}
    )
    with triton.InferenceServerClient(f"127.0.0.1:{grpc}") as client:
        yield Server(process, client, repository, environment)
    process.kill()
    process.wait()
    for left in Path("/dev/shm").glob(f"{PREFIX}*"):
        left.unlink()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    """A checkpoint, and what the undivided model says to the texts, one by one."""
    folder = tmp_path_factory.mktemp("bert")
    whole = checkpoints.save_classifier(folder, "bert")
    tokenizer = TextTokenizer(folder, 32, 0)
    with torch.inference_mode():
        rows = [
            whole(torch.tensor([ids])).logits[0].softmax(-1) for ids in tokenizer.encode(checkpoints.TEXTS)
        ]
    return folder, torch.stack(rows).numpy()


@pytest.fixture(scope="module")
def door(server: Server, checkpoint: tuple[Path, np.ndarray], live: None) -> Path:
    """The report socket of the model ``pair``, loaded."""
    door = server.put("pair", checkpoint[0])
    server.client.load_model("pair")
    return door


@pytest.fixture(scope="module")
def live(server: Server) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            if server.client.is_server_live():
                return
        except InferenceServerException:
            assert time.monotonic() < deadline, "Triton did not come up"
        time.sleep(0.1)


def test_two_ranks_in_triton_answer_as_the_undivided_model(
    server: Server, door: Path, checkpoint: tuple[Path, np.ndarray]
) -> None:
    scores = server.ask("pair", *(text.encode() for text in checkpoints.TEXTS))
    np.testing.assert_allclose(scores, checkpoint[1], rtol=0, atol=1e-5)
    report = read(door)
    assert (report.phase, report.labels, report.width) == ("Loaded", ("negative", "neutral", "positive"), 3)
    assert len({rank.pid for rank in report.ranks}) == 2


def test_a_text_that_is_not_utf8_fails_alone_among_its_batch(
    server: Server, door: Path, checkpoint: tuple[Path, np.ndarray]
) -> None:
    before = server.executions("pair")
    texts = [checkpoints.TEXTS[0].encode(), b"\xff\xfe", checkpoints.TEXTS[1].encode()]
    with ThreadPoolExecutor(3) as threads:
        first, bad, second = [threads.submit(server.ask, "pair", text) for text in texts]
    np.testing.assert_allclose(first.result(), checkpoint[1][:1], rtol=0, atol=1e-5)
    np.testing.assert_allclose(second.result(), checkpoint[1][1:2], rtol=0, atol=1e-5)
    with pytest.raises(InferenceServerException, match="not UTF-8") as refused:
        bad.result()
    assert "INVALID_ARGUMENT" in refused.value.status()
    assert server.executions("pair") == before + 1


def test_a_killed_rank_fails_requests_with_the_reason_until_the_group_is_back(
    server: Server, door: Path, until: Until
) -> None:
    victim = read(door).ranks[1].pid
    os.kill(victim, signal.SIGKILL)
    began = time.monotonic()
    with pytest.raises(InferenceServerException, match=r"RankDied: rank 1 .* SIGKILL") as refused:
        server.ask("pair", b"w5")
    assert time.monotonic() - began < 2
    assert "UNAVAILABLE" in refused.value.status()
    until(lambda: read(door).phase == "Loaded" and read(door).restarts == 1)
    assert server.ask("pair", b"w5").shape == (1, 3)


def test_all_requests_of_a_batch_that_loses_a_rank_are_told_so(
    server: Server, door: Path, until: Until
) -> None:
    """Triton takes the words out of an error that responses share, and then nobody knows whom to blame."""
    restarts, victim = read(door).restarts, read(door).ranks[1].pid
    os.kill(victim, signal.SIGSTOP)
    with ThreadPoolExecutor(9) as threads:
        asked = [threads.submit(server.ask, "pair", b"w5") for _ in range(9)]
        time.sleep(0.5)  # one is with the ranks then, and the others wait for them as one batch
        os.kill(victim, signal.SIGKILL)
        said = [str(one.exception()) for one in asked]
    assert all("RankDied: rank 1 " in words for words in said), said
    until(lambda: read(door).phase == "Loaded" and read(door).restarts == restarts + 1)


def test_a_corrupt_checkpoint_fails_the_load_with_its_reason_and_leaves_no_process(
    server: Server, door: Path, tmp_path: Path, until: Until
) -> None:
    checkpoints.save_classifier(tmp_path, "bert")
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    broken = server.put("broken", tmp_path, ranks=1)
    before = set(stubs_of(server.process))
    with pytest.raises(InferenceServerException, match=r"CheckpointInvalid: model\.safetensors cannot"):
        server.client.load_model("broken")
    assert not broken.exists()
    until(lambda: set(stubs_of(server.process)) <= before)


def test_unloading_ends_the_ranks_and_the_socket(server: Server, door: Path, until: Until) -> None:
    ranks = [rank.pid for rank in read(door).ranks]
    server.client.unload_model("pair")
    until(lambda: not any(alive(pid) for pid in ranks))
    until(lambda: not door.exists())


def test_neither_stub_nor_rank_outlives_a_killed_triton(server: Server, door: Path, until: Until) -> None:
    server.client.load_model("pair")
    family = [*stubs_of(server.process), *(rank.pid for rank in read(door).ranks)]
    assert len(family) >= 3
    server.process.kill()
    server.process.wait()
    until(lambda: not any(alive(pid) for pid in family))
