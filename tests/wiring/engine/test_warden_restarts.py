"""The warden over a server that can be frozen, that makes children in sessions of their own, and that leaves
shared memory behind."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

SERVER = """
import os, signal, subprocess, sys, time
folder, prefix, end = sys.argv[1:]
quiet = dict(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
child = "import subprocess as s, time; s.Popen(['sleep', '600'], start_new_session=True); time.sleep(600)"
subprocess.Popen([sys.executable, "-c", child], start_new_session=True, **quiet)
# An orphan: its parent has ended.
subprocess.Popen(["sh", "-c", "sleep 600 & exit 0"], start_new_session=True, **quiet).wait()
open(f"/dev/shm/{prefix}{os.getpid()}", "w").write("left")
if end == "orderly":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))
if end == "never":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
open(f"{folder}/started", "a").write(f"{os.getpid()}\\n")
while True:
    time.sleep(600)
"""
FAMILY = 4
"""The server, its child, that one's, and the orphan."""


@dataclass(frozen=True)
class World:
    process: subprocess.Popen[bytes]
    folder: Path
    prefix: str

    @property
    def started(self) -> list[int]:
        file = self.folder / "started"
        return [int(pid) for pid in file.read_text().split()] if file.exists() else []

    @property
    def regions(self) -> list[str]:
        return sorted(path.name for path in Path("/dev/shm").glob(f"{self.prefix}*"))

    @property
    def family(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    @property
    def log(self) -> list[dict[str, object]]:
        lines = (self.folder / "log").read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def ask(self, line: str) -> dict[str, object]:
        with socket.socket(socket.AF_UNIX) as door:
            door.settimeout(30)
            door.connect(str(self.folder / "w.sock"))
            door.sendall(f"{line}\n".encode())
            answer: dict[str, object] = json.loads(door.makefile().read())
        return answer


Start = Callable[[str], World]


def until(true: Callable[[], object], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it never became so"
        time.sleep(0.01)


def gone(process: psutil.Process) -> bool:
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def warden(folder: Path, prefix: str, *command: str) -> subprocess.Popen[bytes]:
    arguments = ["--socket", str(folder / "w.sock"), "--regions", prefix, "--", *command]
    with (folder / "log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "fastserve.engine.warden", *arguments], stdout=log, stderr=log
        )


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    prefix = f"fastserve-warden-test-{os.getpid()}-"
    worlds: list[World] = []

    def begin(end: str) -> World:
        server = [sys.executable, "-c", SERVER, str(tmp_path), prefix, end]
        world = World(warden(tmp_path, prefix, *server), tmp_path, prefix)
        worlds.append(world)
        until(lambda: len(world.started) == 1 and len(world.family) == FAMILY)
        return world

    yield begin
    for world in worlds:
        family = world.family if world.process.poll() is None else []
        world.process.kill()
        world.process.wait()
        for one in family:
            if not gone(one):
                one.kill()
        for name in world.regions:
            (Path("/dev/shm") / name).unlink()


def test_a_restart_ends_the_frozen_family_and_its_memory_and_answers_when_the_new_one_runs(
    start: Start,
) -> None:
    world = start("orderly")
    before, regions = world.family, world.regions
    for one in before:
        one.suspend()
    answer = world.ask("restart it is frozen")
    assert answer["restarts"] == 1
    assert all(gone(one) for one in before)
    until(lambda: len(world.started) == 2 and len(world.family) == FAMILY)
    assert world.started[1] == answer["pid"]
    assert len(regions) == len(world.regions) == 1
    assert regions != world.regions
    (line,) = world.log
    assert (line["why"], line["ended"], line["pid"]) == ("it is frozen", FAMILY, answer["pid"])


def test_the_second_quick_restart_waits_and_who_asks_meanwhile_gets_the_same_answer(start: Start) -> None:
    world = start("orderly")
    world.ask("restart once")
    until(lambda: len(world.started) == 2)
    with socket.socket(socket.AF_UNIX) as first:
        first.connect(str(world.folder / "w.sock"))
        first.sendall(b"restart twice\n")
        until(lambda: not world.family)
        second = world.ask("restart thrice")
        assert json.loads(first.makefile().read()) == second
    assert second["restarts"] == 2
    assert float(str(second["seconds"])) >= 1.0
    assert [line["why"] for line in world.log] == ["once", "twice"]


def test_sigterm_goes_on_to_the_server_and_its_exit_code_comes_back(start: Start) -> None:
    world = start("orderly")
    family = world.family
    world.process.send_signal(signal.SIGTERM)
    assert world.process.wait(20) == 3
    assert all(gone(one) for one in family)
    assert world.regions == []
    assert not (world.folder / "w.sock").exists()


def test_a_server_that_was_stopped_still_ends_in_good_order(start: Start) -> None:
    world = start("orderly")
    os.kill(world.started[0], signal.SIGSTOP)
    world.process.send_signal(signal.SIGINT)
    assert world.process.wait(20) == 3


def test_a_server_that_ends_by_itself_is_told_as_it_ended_and_leaves_nothing(start: Start) -> None:
    world = start("orderly")
    family = world.family
    for one in family:
        if one.pid != world.started[0]:
            one.suspend()
    os.kill(world.started[0], signal.SIGKILL)
    assert world.process.wait(20) == -signal.SIGKILL
    assert all(gone(one) for one in family)
    assert world.regions == []


def test_sigterm_while_the_next_start_waits_ends_at_once(start: Start) -> None:
    world = start("orderly")
    world.ask("restart once")
    until(lambda: len(world.started) == 2)
    with socket.socket(socket.AF_UNIX) as door:
        door.connect(str(world.folder / "w.sock"))
        door.sendall(b"restart twice\n")
        until(lambda: not world.family)
        world.process.send_signal(signal.SIGTERM)
        assert world.process.wait(20) == 0
        assert door.recv(100) == b""


def test_a_server_that_will_not_end_is_not_restarted_and_dies_with_its_warden(start: Start) -> None:
    world = start("never")
    server = psutil.Process(world.started[0])
    world.process.send_signal(signal.SIGTERM)
    until(lambda: world.ask("restart now") == {"error": "Triton is ending"})
    assert server.is_running()
    world.process.kill()
    until(lambda: gone(server))


def test_only_its_own_user_reaches_the_socket_and_only_one_word_is_taken(start: Start) -> None:
    world = start("orderly")
    assert (world.folder / "w.sock").stat().st_mode & 0o777 == 0o600
    assert "restart WHY" in str(world.ask("reboot now")["error"])
    assert "restart WHY" in str(world.ask("restart")["error"])
    with socket.socket(socket.AF_UNIX) as silent:
        silent.connect(str(world.folder / "w.sock"))
        assert world.ask("restart while another one says nothing")["restarts"] == 1


def test_children_that_ended_are_reaped_also_those_that_lost_their_parents(start: Start) -> None:
    world = start("orderly")
    for one in world.family:
        if one.pid != world.started[0]:
            one.kill()
    until(lambda: len(world.family) <= 2)  # the server's own child is the server's to reap
    assert world.process.poll() is None


def test_a_program_that_is_not_there_is_told(tmp_path: Path) -> None:
    process = warden(tmp_path, "fastserve-warden-test-none-", str(tmp_path / "none"))
    assert process.wait(20) == 127
    assert "cannot be started: No such file" in (tmp_path / "log").read_text()
