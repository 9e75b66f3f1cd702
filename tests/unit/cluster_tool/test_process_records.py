import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from cluster.processes import Processes, Program, Record, boot_id, parse_start_time, start_time

STAT = "4242 (a (strange) name) {state} 1 4242 4242 0 -1 4194560 100 0 0 0 1 2 0 0 20 0 1 0 987654 1000 50"


def test_the_start_time_is_found_behind_a_name_with_brackets_and_spaces() -> None:
    assert parse_start_time(STAT.format(state="S")) == 987654


def test_a_zombie_has_no_start_time() -> None:
    assert parse_start_time(STAT.format(state="Z")) is None


def test_a_pid_that_nobody_has_has_no_start_time() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    assert start_time(child.pid) is None


def own_record() -> Record:
    return Record(os.getpid(), start_time(os.getpid()) or 0, boot_id(), "x")


def test_a_record_knows_its_process_again_after_it_was_written_and_read(tmp_path: Path) -> None:
    own_record().write(tmp_path / "me.json")
    read = Record.read(tmp_path / "me.json")
    assert read == own_record()
    assert read.alive()


def test_the_same_pid_with_another_start_time_is_another_process() -> None:
    assert not replace(own_record(), started=own_record().started + 1).alive()


def test_the_same_pid_and_time_in_another_boot_is_another_process() -> None:
    assert not replace(own_record(), boot="another").alive()


def test_a_torn_record_names_nobody(tmp_path: Path) -> None:
    (tmp_path / "torn.json").write_text('{"pid": 12')
    assert Record.read(tmp_path / "torn.json") is None
    assert Record.read(tmp_path / "missing.json") is None


def test_a_process_whose_pid_another_one_has_is_not_killed(tmp_path: Path) -> None:
    processes = Processes(tmp_path / "records", tmp_path / "logs")
    stranger = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    try:
        Record(stranger.pid, (start_time(stranger.pid) or 0) - 5, boot_id(), "x").write(
            tmp_path / "records" / "etcd.json"
        )
        processes.stop("etcd", grace_seconds=0)
        assert stranger.poll() is None
        assert processes.names() == []
    finally:
        stranger.communicate()


def test_a_program_is_another_one_when_its_command_environment_or_files_change(tmp_path: Path) -> None:
    read = tmp_path / "configuration"
    read.write_text("a")
    program = Program("kubelet", ("kubelet", "--v=1"), (read,))
    prints = {
        program.fingerprint(),
        replace(program, command=("kubelet", "--v=2")).fingerprint(),
        replace(program, environment={"A": "b"}).fingerprint(),
    }
    read.write_text("b")
    prints.add(program.fingerprint())
    assert len(prints) == 4
