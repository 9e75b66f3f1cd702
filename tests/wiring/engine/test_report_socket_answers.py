import socket
from pathlib import Path

import msgspec
import pytest

from fastserve.api.engine import EngineReport, RankReport
from fastserve.engine.report_socket import ReportSocket
from fastserve.errors import EngineError


def read(path: Path) -> EngineReport:
    with socket.socket(socket.AF_UNIX) as reader, reader.makefile("rb") as stream:
        reader.connect(str(path))
        return msgspec.json.decode(stream.read(), type=EngineReport)


def test_every_connection_reads_what_is_so_at_that_moment(tmp_path: Path) -> None:
    reports = [
        EngineReport("Loading", bytes_done=1, bytes_total=2),
        EngineReport("Loaded", ranks=(RankReport(0, 17, "cpu", 5),), labels=("a",), width=1),
    ]
    remaining = list(reports)
    door = ReportSocket(tmp_path / "s", lambda: remaining.pop(0))
    try:
        assert [read(tmp_path / "s"), read(tmp_path / "s")] == reports
    finally:
        door.close()


def test_a_reader_that_leaves_early_does_not_end_the_service(tmp_path: Path) -> None:
    door = ReportSocket(tmp_path / "s", lambda: EngineReport("Loaded", labels=("x" * 5_000_000,)))
    try:
        with socket.socket(socket.AF_UNIX) as reader:
            reader.connect(str(tmp_path / "s"))
        assert read(tmp_path / "s").phase == "Loaded"
    finally:
        door.close()


def test_a_socket_that_a_dead_process_left_is_taken_over_and_removed_at_the_end(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / "s"))
    door = ReportSocket(tmp_path / "s", lambda: EngineReport("Loaded"))
    assert read(tmp_path / "s").phase == "Loaded"
    door.close()
    assert not (tmp_path / "s").exists()


def test_a_path_that_no_socket_can_have_is_told(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="cannot listen on"):
        ReportSocket(tmp_path / ("x" * 120), lambda: EngineReport("Loaded"))
