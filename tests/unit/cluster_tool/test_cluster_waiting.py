import datetime as dt
from pathlib import Path
from typing import Any

import pytest

from cluster.bringing_up import node_missing
from cluster.failures import ClusterFailed
from cluster.waiting import Wait, tail, wait


def test_a_wait_that_is_content_at_once_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    wait(Wait("etcd", lambda: "", 5))
    assert capsys.readouterr().out == ""


def test_a_wait_says_what_it_waits_for(capsys: pytest.CaptureFixture[str]) -> None:
    answers = iter(["not yet", ""])
    wait(Wait("etcd", lambda: next(answers), 5), pause_seconds=0)
    assert "waiting for etcd" in capsys.readouterr().out


def test_a_deadline_ends_with_what_is_missing_and_the_end_of_the_log(tmp_path: Path) -> None:
    log = tmp_path / "etcd.log"
    log.write_text("\n".join(f"line {number}" for number in range(100)))
    with pytest.raises(ClusterFailed, match=r"no answer(.|\n)*line 99"):
        wait(Wait("etcd", lambda: "no answer", 0, log), pause_seconds=0)
    assert "line 84" not in tail(log)


def test_a_process_that_has_ended_is_not_waited_for() -> None:
    with pytest.raises(ClusterFailed, match="the process ended"):
        wait(Wait("etcd", lambda: "no answer", 60, alive=lambda: False), pause_seconds=0)


def node_that_says(status: str) -> dict[str, Any]:
    said = {"type": "Ready", "status": status, "message": "why", "lastHeartbeatTime": "2026-01-02T03:04:05Z"}
    return {"status": {"conditions": [said]}}


def test_a_node_is_ready_when_it_says_so() -> None:
    assert node_missing(node_that_says("True")) == ""
    assert node_missing(node_that_says("Unknown")) == "why"
    assert node_missing(None) == "it has not registered"


def test_what_a_killed_kubelet_said_last_does_not_count() -> None:
    then = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
    assert node_missing(node_that_says("True"), then) == ""
    assert "not spoken" in node_missing(node_that_says("True"), then + dt.timedelta(seconds=1))
