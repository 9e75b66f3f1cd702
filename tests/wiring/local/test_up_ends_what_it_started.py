"""`fastserve up` with a real supervisor: whatever goes wrong while models load, nothing is left running."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import typer

from fastserve.cli import running
from fastserve.local.documents import Launch, PoolPlace, ProcessKind, ProcessSpec, RouterPlace, Session
from fastserve.local.folders import Folders
from fastserve.local.overview import Overview, look, read_session
from fastserve.local.starting import StartOptions, stop

SLEEPER = (sys.executable, "-c", "import time; time.sleep(600)")


@pytest.fixture(autouse=True)
def signals() -> Iterator[None]:
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    door = RouterPlace(instance="door", data="127.0.0.1:1", admin="127.0.0.1:2")
    one = RouterPlace(instance="one-0", member="one", data="127.0.0.1:1", admin="127.0.0.1:2")
    sleeper = ProcessSpec(
        name="one-0-router", kind=ProcessKind.ROUTER, arguments=SLEEPER, log=tmp_path / "one.log"
    )
    made = Launch(pools=(PoolPlace(name="p", routers=(door, one)),), processes=(sleeper,))
    folders = Folders(data=tmp_path, state=tmp_path)
    folders.launch_file.write_text(made.model_dump_json())
    return folders


@pytest.fixture
def supervisor(folders: Folders) -> Iterator["subprocess.Popen[bytes]"]:
    files = (str(folders.launch_file), str(folders.session_file))
    with subprocess.Popen([sys.executable, "-m", "fastserve.local", *files]) as process:
        try:
            yield process
        finally:
            process.kill()


def written(folders: Folders) -> Session:
    deadline = time.monotonic() + 20
    while (session := read_session(folders.session_file)) is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return session


def interrupt(session: Session) -> Overview:
    os.kill(os.getpid(), signal.SIGINT)
    return look(session)


def fail(session: Session) -> Overview:
    raise OSError("no more files can be opened")


@pytest.mark.parametrize(("happens", "error"), [(interrupt, typer.Exit), (fail, OSError)])
def test_nothing_is_left_when_loading_is_interrupted_or_cannot_be_watched(
    happens: Callable[[Session], Overview],
    error: type[Exception],
    folders: Folders,
    supervisor: "subprocess.Popen[bytes]",
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(running, "start", lambda *_: written(folders))
    monkeypatch.setattr(running, "look", happens)
    with pytest.raises(error):
        running.up_and_watch(StartOptions(files=(), folders=folders, detach=True))
    assert supervisor.wait(timeout=5) == 0
    assert not folders.session_file.exists()


def test_a_process_that_only_has_the_pid_of_a_supervisor_is_left_alone() -> None:
    with subprocess.Popen(SLEEPER) as stranger:
        stop(Session(pid=stranger.pid, created=0.0, pools=(), processes=()))
        assert stranger.poll() is None
        stranger.kill()
