"""The real thing without Triton: rank processes with torch and gloo."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

import engine_checkpoints as checkpoints
from fastserve.api.engine import EngineConfig
from fastserve.engine.supervisor import RankGroup
from fastserve.engine.tokens import TextTokenizer
from fastserve.errors import CheckpointError, EngineError, RankDied

pytestmark = pytest.mark.timeout(240)
SUPERVISOR = """
import os, sys, time
from pathlib import Path
from fastserve.api.engine import EngineConfig
from fastserve.engine.supervisor import RankGroup
group = RankGroup(EngineConfig.from_json(sys.argv[1]), dict(os.environ))
group.start()
print(*(rank.pid for rank in group.report().ranks), flush=True)
sys.stdin.readline()
group.predict(["w5 w6 w7"])
"""
Until = Callable[[Callable[[], object]], None]


def config(folder: Path, ranks: int, **changes: object) -> EngineConfig:
    devices = ("cpu",) * ranks
    return EngineConfig("TextClassification", devices, sys.executable, str(folder), **changes)  # type: ignore[arg-type]


def started(engine: EngineConfig) -> RankGroup:
    group = RankGroup(engine, dict(os.environ))
    group.start()
    return group


def probabilities(folder: Path, whole: torch.nn.Module) -> np.ndarray:
    tokenizer = TextTokenizer(folder, 32, 0)
    with torch.inference_mode():
        rows = [
            whole(torch.tensor([ids])).logits[0].softmax(-1) for ids in tokenizer.encode(checkpoints.TEXTS)
        ]
    return torch.stack(rows).numpy()


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RankGroup, np.ndarray]]:
    """Two ranks of one classifier, and what the undivided one says."""
    folder = tmp_path_factory.mktemp("bert")
    whole = checkpoints.save_classifier(folder, "bert")
    group = started(config(folder, 2))
    yield group, probabilities(folder, whole)
    group.stop()


def test_two_processes_answer_as_one(pair: tuple[RankGroup, np.ndarray]) -> None:
    group, expected = pair
    np.testing.assert_allclose(group.predict(checkpoints.TEXTS), expected, rtol=0, atol=1e-5)
    report = group.report()
    assert report.labels == ("negative", "neutral", "positive")
    assert report.bytes_done == report.bytes_total == sum(rank.parameter_bytes for rank in report.ranks)


def test_a_rank_killed_within_a_pass_fails_the_call_and_the_group_comes_back(
    pair: tuple[RankGroup, np.ndarray], until: Until
) -> None:
    group, expected = pair
    victim = group.report().ranks[1].pid
    # Stopped, it never comes to the sum: the other rank waits for it inside the collective.
    os.kill(victim, signal.SIGSTOP)
    killer = subprocess.Popen([sys.executable, "-c", f"import time, os; time.sleep(1); os.kill({victim}, 9)"])
    with pytest.raises(RankDied, match=r"rank 1 .* was killed by SIGKILL"):
        group.predict(checkpoints.TEXTS)
    killer.wait()
    began = time.monotonic()
    with pytest.raises(EngineError):
        group.predict(["w5"])
    assert time.monotonic() - began < 2
    until(lambda: group.report().phase == "Loaded" and group.report().restarts == 1)
    np.testing.assert_allclose(group.predict(checkpoints.TEXTS), expected, rtol=0, atol=1e-5)


def test_four_processes_answer_as_one(tmp_path: Path) -> None:
    whole = checkpoints.save_classifier(tmp_path, "roberta")
    group = started(config(tmp_path, 4))
    try:
        expected = probabilities(tmp_path, whole)
        np.testing.assert_allclose(group.predict(checkpoints.TEXTS), expected, rtol=0, atol=1e-5)
    finally:
        group.stop()


def test_no_rank_outlives_a_killed_supervisor_even_inside_a_collective(tmp_path: Path, until: Until) -> None:
    checkpoints.save_classifier(tmp_path, "bert")
    supervisor = subprocess.Popen(
        [sys.executable, "-c", SUPERVISOR, config(tmp_path, 2).to_json()],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert supervisor.stdin is not None
    assert supervisor.stdout is not None
    with supervisor.stdin, supervisor.stdout:
        blocked, stopped = (int(pid) for pid in supervisor.stdout.readline().split())
        os.kill(stopped, signal.SIGSTOP)
        supervisor.stdin.write("go\n")
        supervisor.stdin.flush()
        until(lambda: "S" in state_of(blocked) and cpu_ticks_at_rest(blocked))
        supervisor.kill()
        supervisor.wait()
        until(lambda: not Path(f"/proc/{blocked}").exists() or state_of(blocked) == "Z")
    os.kill(stopped, signal.SIGCONT)
    until(lambda: not Path(f"/proc/{stopped}").exists() or state_of(stopped) == "Z")


def test_a_truncated_checkpoint_is_told_by_the_process_that_found_it(tmp_path: Path) -> None:
    checkpoints.save_classifier(tmp_path, "bert")
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"model\.safetensors cannot be read"):
        started(config(tmp_path, 2))


def test_a_degree_that_does_not_divide_is_told_with_its_own_reason(tmp_path: Path) -> None:
    checkpoints.save_classifier(tmp_path, "bert")
    with pytest.raises(EngineError, match="3 ranks do not divide this checkpoint") as caught:
        started(config(tmp_path, 3))
    assert caught.value.reason == "InvalidSpec"


def state_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return "Z"


def cpu_ticks_at_rest(pid: int) -> bool:
    """Whether a process used no CPU for a fifth of a second: it waits inside the collective."""

    def ticks() -> int:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    before = ticks()
    time.sleep(0.2)
    return ticks() == before
