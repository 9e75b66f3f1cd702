from pathlib import Path

import pytest

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
