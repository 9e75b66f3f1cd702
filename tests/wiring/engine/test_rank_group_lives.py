"""The supervisor with real processes: what happens when ranks die, hang, fail or cannot be loaded."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from fastserve.engine.devices import Placement, RankDevice
from fastserve.engine.ranks import RankProcesses, spawn
from fastserve.engine.supervisor import RankGroup, restart_delay
from fastserve.errors import CheckpointError, DeviceMissing, EngineError, RankDied

if TYPE_CHECKING:
    from conftest import Stage

Until = Callable[[Callable[[], object]], None]


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def pids(group: RankGroup) -> list[int]:
    return [rank.pid for rank in group.report().ranks]


def test_a_group_answers_in_the_order_of_the_texts(stage: "Stage") -> None:
    group = stage.started()
    np.testing.assert_array_equal(group.predict(["aa", "b", ""]), [[2, 2], [1, 2], [0, 2]])


def test_a_large_batch_goes_through(stage: "Stage") -> None:
    texts = ["x" * 100_000] * 64
    assert stage.started().predict(texts)[:, 0].tolist() == [100_000] * 64


def test_the_report_tells_ranks_progress_and_labels(stage: "Stage") -> None:
    report = stage.started().report()
    assert (report.phase, report.bytes_done, report.bytes_total) == ("Loaded", 200, 200)
    assert (report.labels, report.width, report.restarts) == (("a", "b"), 2, 0)
    assert [rank.rank for rank in report.ranks] == [0, 1]
    for rank in report.ranks:
        assert alive(rank.pid)
        assert (rank.device, rank.parameter_bytes, rank.peak_load_bytes) == ("cpu", 100, 1000)
        assert rank.memory_bytes > 1_000_000


@pytest.mark.parametrize("victim", [0, 1])
def test_a_call_in_flight_fails_within_two_seconds_of_a_ranks_death(
    stage: "Stage", until: Until, victim: int
) -> None:
    group = stage.started()
    group.predict(["warm"])
    began = time.monotonic()
    with pytest.raises(RankDied, match=rf"rank {victim} \(pid \d+\) was killed by SIGKILL"):
        group.predict([f"die {victim}"])
    assert time.monotonic() - began < 2
    until(lambda: group.report().phase == "Loaded" and group.report().restarts == 1)
    assert group.predict(["abc"]).tolist() == [[3, 2]]


def test_a_rank_that_dies_while_nobody_asks_is_noticed(stage: "Stage", until: Until) -> None:
    group = stage.started()
    before = pids(group)
    os.kill(before[1], signal.SIGKILL)
    until(lambda: group.report().restarts == 1 and group.report().phase == "Loaded")
    report = group.report()
    assert report.last_error_reason == "RankDied"
    assert report.last_error_message == f"rank 1 (pid {before[1]}) was killed by SIGKILL"
    assert report.last_error_time > 0
    assert not set(before) & set(pids(group))
    assert not any(alive(pid) for pid in before)


def test_requests_meanwhile_fail_at_once_with_the_reason(stage: "Stage", until: Until) -> None:
    group = stage.started()
    stage.word.write_text("slow")
    os.kill(pids(group)[0], signal.SIGKILL)
    until(lambda: group.report().restarts == 1)
    assert group.report().phase == "Loading"
    began = time.monotonic()
    with pytest.raises(RankDied, match="was killed by SIGKILL"):
        group.predict(["abc"])
    assert time.monotonic() - began < 0.5


def test_the_rank_that_died_is_named_and_not_those_that_were_killed_for_it(stage: "Stage") -> None:
    ranks = spawn(stage.config, Placement((RankDevice("cpu"),) * 2, "gloo"), dict(os.environ))
    waking, wake = os.pipe()
    try:
        ranks.load(30, lambda *_: None)
        os.kill(ranks.ranks[1].process.pid, signal.SIGKILL)
        assert "rank 1" in str(ranks.wait_for_end(waking))
        ranks.kill()
        ranks.ranks[0].process.wait()
        with pytest.raises(RankDied, match="rank 1 "):
            ranks.ask(["abc"], 5)
    finally:
        ranks.close()
        os.close(wake)
        os.close(waking)


def test_requests_fail_at_once_while_a_dead_group_takes_long_to_go(
    stage: "Stage", until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = stage.started()
    close = RankProcesses.close
    leaving = threading.Event()

    def close_slowly(ranks: RankProcesses) -> None:
        leaving.set()
        time.sleep(2)
        close(ranks)

    monkeypatch.setattr(RankProcesses, "close", close_slowly)
    os.kill(pids(group)[0], signal.SIGKILL)
    assert leaving.wait(5)
    began = time.monotonic()
    with pytest.raises(RankDied):
        group.predict(["abc"])
    assert time.monotonic() - began < 0.5


def test_a_checkpoint_that_went_bad_keeps_the_group_failed_until_it_is_mended(
    stage: "Stage", until: Until
) -> None:
    group = stage.started()
    stage.word.write_text("broken")
    os.kill(pids(group)[0], signal.SIGKILL)
    until(lambda: group.report().phase == "FailedToLoad")
    with pytest.raises(CheckpointError, match="tensor x is missing"):
        group.predict(["abc"])
    stage.word.write_text("good")
    until(lambda: group.report().phase == "Loaded")
    assert group.report().restarts >= 2
    assert group.predict(["abc"]).tolist() == [[3, 2]]


def test_a_rank_that_does_not_answer_ends_the_group_with_that_reason(stage: "Stage", until: Until) -> None:
    group = stage.started(execute_timeout_seconds=1)
    with pytest.raises(EngineError, match="no answer within 1 s; silent ranks: 1"):
        group.predict(["hang 1"])
    until(lambda: group.report().restarts == 1 and group.report().phase == "Loaded")
    assert group.report().last_error_message == "no answer within 1 s; silent ranks: 1"
    assert group.predict(["abc"]).tolist() == [[3, 2]]


def test_a_stopped_rank_that_takes_no_request_does_not_hold_the_caller(stage: "Stage", until: Until) -> None:
    group = stage.started(execute_timeout_seconds=1)
    os.kill(pids(group)[1], signal.SIGSTOP)
    with pytest.raises(EngineError, match="rank 1 took no request within 1 s"):
        group.predict(["x" * 5_000_000])
    until(lambda: group.report().restarts == 1 and group.report().phase == "Loaded")


def test_ranks_that_all_fail_stay_and_answer_the_next_request(stage: "Stage") -> None:
    group = stage.started()
    with pytest.raises(EngineError, match="no luck"):
        group.predict(["fail all"])
    assert group.predict(["abc"]).tolist() == [[3, 2]]
    assert group.report().restarts == 0


def test_ranks_of_which_one_failed_are_out_of_step_and_start_again(stage: "Stage", until: Until) -> None:
    group = stage.started(ranks=3)
    stage.word.write_text("good")
    with pytest.raises(EngineError):
        group.predict(["fail 1"])
    assert group.predict(["abc"]).tolist() == [[3, 3]]


@pytest.mark.parametrize(
    ("word", "error", "message"),
    [("broken", CheckpointError, "tensor x is missing"), ("slow", EngineError, "not loaded within 1 s")],
)
def test_a_first_load_that_fails_leaves_nothing_behind(
    stage: "Stage", word: str, error: type[Exception], message: str
) -> None:
    stage.word.write_text(word)
    group = stage.group(load_timeout_seconds=1)
    with pytest.raises(error, match=message):
        group.start()
    assert not any(alive(pid) for pid in pids(group))


def test_the_progress_of_a_load_can_be_read_while_it_lasts(stage: "Stage", until: Until) -> None:
    stage.word.write_text("slow")
    group = stage.group(load_timeout_seconds=60)

    def start() -> None:
        with suppress(EngineError):
            group.start()

    loading = threading.Thread(target=start)
    loading.start()
    until(lambda: group.report().bytes_total == 200)
    report = group.report()
    assert (report.phase, report.bytes_done, len(report.ranks)) == ("Loading", 0, 2)
    group.kill()
    loading.join()


def test_a_gpu_that_is_not_there_is_told_before_anything_starts(stage: "Stage") -> None:
    config = replace(stage.config, devices=("cuda:0",))
    group = RankGroup(config, {**os.environ, "CUDA_VISIBLE_DEVICES": ""})
    with pytest.raises(DeviceMissing, match="cuda:0 asked for, but 0 GPUs are visible"):
        group.start()
    assert group.report().ranks == ()


def test_the_cpu_serves_in_its_place_where_that_is_allowed(stage: "Stage") -> None:
    config = replace(stage.config, devices=("cuda:0",), allow_cpu=True)
    group = RankGroup(config, {**os.environ, "CUDA_VISIBLE_DEVICES": ""})
    stage.groups.append(group)
    group.start()
    assert group.report().ranks[0].device == "cpu"


def test_an_interpreter_that_is_not_there_is_told(stage: "Stage") -> None:
    group = stage.group(python="/nowhere/python")
    with pytest.raises(EngineError, match="/nowhere/python cannot be started: No such file"):
        group.start()


def test_an_environment_without_torch_is_told(stage: "Stage", tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "bare"], check=True)
    group = stage.group(ranks=1, python=str(tmp_path / "bare/bin/python"))
    with pytest.raises(EngineError, match="environment is incomplete: No module named 'torch'"):
        group.start()


def test_stop_leaves_no_process_and_may_be_called_twice(stage: "Stage") -> None:
    group = stage.started()
    before = pids(group)
    group.stop()
    group.stop()
    assert not any(alive(pid) for pid in before)


def test_stop_while_the_next_generation_loads_leaves_no_process(stage: "Stage", until: Until) -> None:
    group = stage.started()
    stage.word.write_text("slow")
    os.kill(pids(group)[0], signal.SIGKILL)
    until(lambda: group.report().restarts == 1 and len(group.report().ranks) == 2)
    before = pids(group)
    began = time.monotonic()
    group.stop()
    assert time.monotonic() - began < 5
    assert not any(alive(pid) for pid in before)


def test_the_back_off_grows_to_ten_seconds() -> None:
    assert [restart_delay(n) for n in range(7)] == [0.5, 1, 2, 4, 8, 10, 10]
