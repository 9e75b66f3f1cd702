"""`fastserve up` with one sub-model and a real Triton: what is frozen comes back, and nothing is left."""

import json
import os
import shutil
import signal
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from news import EXAMPLE, Cli, post

pytestmark = [pytest.mark.triton, pytest.mark.timeout(400)]
NAME = "sport"
PATIENCE_SECONDS = 120.0
"""A test on a busy machine can only tell that it happens; it prints how long it took."""
QUESTION = {"text": "The keeper saved a penalty", "subModel": NAME}


@dataclass(frozen=True)
class Pool:
    cli: Cli
    url: str

    @property
    def session(self) -> dict:
        return json.loads((self.cli.state / "session.json").read_text())

    @property
    def warden(self) -> psutil.Process:
        pids = {one["name"]: one["pid"] for one in self.session["processes"]}
        return psutil.Process(pids[f"{NAME}-0-triton"])

    @property
    def triton(self) -> psutil.Process:
        (server,) = self.warden.children()
        return server

    @property
    def stub(self) -> psutil.Process:
        (stub,) = (one for one in self.triton.children() if "python_backend_stub" in one.name())
        return stub

    @property
    def admin(self) -> str:
        (place,) = (one for one in self.session["pools"][0]["routers"] if one.get("member") == NAME)
        return f"http://{place['admin']}"

    @property
    def restarts(self) -> int:
        with urllib.request.urlopen(f"{self.admin}/v1/state", timeout=30) as answer:
            return int(json.load(answer)["tritonRestarts"])

    def ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.admin}/readyz", timeout=30):
                return True
        except OSError:
            return False

    def answers(self) -> bool:
        return post(f"{self.url}/v1/predict", QUESTION)[0] == 200

    def hurt(self, victim: psutil.Process, number: signal.Signals) -> tuple[float, float]:
        """Seconds until the router says that it is not ready, and until a question is answered again."""
        began = time.monotonic()
        victim.send_signal(number)
        until(lambda: not self.ready())
        detected = time.monotonic() - began
        until(lambda: self.ready() and self.answers())
        return detected, time.monotonic() - began


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not true():
        assert time.monotonic() < deadline, "it never became so"
        time.sleep(0.02)


def gone(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def regions(pool: Pool) -> list[str]:
    prefix = next(one for one in pool.warden.cmdline() if one.startswith("--regions=")).partition("=")[2]
    return sorted(path.name for path in Path("/dev/shm").glob(f"{prefix}*"))


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pool]:
    folder, cli = tmp_path_factory.mktemp("one") / "news", Cli(tmp_path_factory.mktemp("s"))
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("models"))
    data, model = folder / "data" / f"{NAME}.jsonl", folder / "models" / NAME
    done = cli("train", "--data", str(data), "--output", str(model), "--head-only")
    assert done.code == 0, done.err
    file = folder / "pool.yaml"
    documents = file.read_text().split("\n---\n")
    kept = [one for one in documents if "kind: ModelPool" in one or f"name: {NAME}\n" in one]
    file.write_text("\n---\n".join(kept))
    done = cli("up", "-f", str(file), "--detach", "--port", "0")
    assert done.code == 0, done.err
    one = Pool(cli, str(cli.pool()["url"]))
    until(lambda: one.ready() and one.answers())
    yield one
    supervisor = psutil.Process(one.session["pid"])
    family = [supervisor, *supervisor.children(recursive=True)]
    left = regions(one)
    assert cli("down").code == 0
    assert [process for process in family if not gone(process)] == []
    assert [name for name in left if (Path("/dev/shm") / name).exists()] == []


@pytest.mark.parametrize("victim", ["triton", "stub"])
def test_what_is_frozen_is_started_anew_once_and_answers_again(pool: Pool, victim: str) -> None:
    before, restarts = [pool.triton, *pool.triton.children(recursive=True)], pool.restarts
    old = set(regions(pool))
    detected, recovered = pool.hurt(getattr(pool, victim), signal.SIGSTOP)
    load = float(pool.cli.member(NAME)["loadSeconds"])
    print(f"SIGSTOP {victim}: detected {detected:.2f} s, answers {recovered:.2f} s, load {load:.2f} s")
    assert [process for process in before if not gone(process)] == []
    assert not old & set(regions(pool))
    until(lambda: pool.restarts == restarts + 1)  # the state is a second old at most


def test_a_killed_warden_leaves_nothing_and_comes_back(pool: Pool) -> None:
    family = [pool.warden, *pool.warden.children(recursive=True)]
    assert len(family) >= 4  # itself, Triton, its stub, a rank
    os.kill(pool.stub.pid, signal.SIGSTOP)
    _, recovered = pool.hurt(family[0], signal.SIGKILL)
    print(f"SIGKILL warden: recover {recovered:.2f} s")
    assert [process for process in family if not gone(process)] == []
