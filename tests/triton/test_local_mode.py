"""`fastserve up` with the example pool: real Tritons, real models, real routers, and what can go wrong."""

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from news import COMMAND, SPECIALISTS, Cli, post, trained

pytestmark = [pytest.mark.triton, pytest.mark.timeout(600)]
RESERVE = 5.0


@pytest.fixture(scope="module")
def cli(tmp_path_factory: pytest.TempPathFactory) -> Cli:
    return Cli(tmp_path_factory.mktemp("s"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, cli: Cli) -> Path:
    return trained(tmp_path_factory.mktemp("news") / "01-news", cli)


@pytest.fixture(scope="module")
def url(cli: Cli, folder: Path) -> Iterator[str]:
    done = cli("up", "-f", str(folder / "pool.yaml"), "--detach", "--port", "0")
    assert done.code == 0, done.err
    session = json.loads((cli.state / "session.json").read_text())
    supervisor = psutil.Process(session["pid"])
    family = {supervisor, *supervisor.children(recursive=True)}
    regions = [region for process in family for region in shared_memory(process)]
    assert len(regions) >= len(SPECIALISTS)
    yield str(cli.pool()["url"])
    family |= {supervisor, *supervisor.children(recursive=True)}
    ended = cli("down")
    assert ended.code == 0, ended.err
    assert [p for p in family if p.is_running() and p.status() != psutil.STATUS_ZOMBIE] == []
    assert [left for region in regions for left in Path("/dev/shm").glob(f"{region}*")] == []


def shared_memory(process: psutil.Process) -> list[str]:
    """What the names of its regions begin with, where it is a Triton. Others may run on this machine."""
    said = (argument.partition("shm-region-prefix-name=") for argument in process.cmdline())
    return [prefix for _, found, prefix in said if found]


def until(true: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.05)


def questions(folder: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in (folder / "questions.jsonl").read_text().splitlines()]


def test_every_member_is_ready_and_science_has_two_ranks(cli: Cli, url: str) -> None:
    members = {member["subModel"]: member for member in cli.pool()["members"]}
    assert {name: member["phase"] for name, member in members.items()} == dict.fromkeys(SPECIALISTS, "Ready")
    assert [len(members[name]["ranks"]) for name in SPECIALISTS] == [1, 1, 1, 2]


def test_questions_reach_the_right_specialist(folder: Path, url: str) -> None:
    asked = [question for question in questions(folder) if question.get("subModel")]
    right = 0
    for question in asked:
        status, document, headers = post(f"{url}/v1/predict", {"text": question["text"]})
        assert status == 200, document
        assert abs(sum(document["scores"].values()) - 1) < 1e-4
        right += headers["x-fastserve-submodels"].split(",")[0] == question["subModel"]
    assert right / len(asked) >= 0.8


def test_the_open_inference_protocol_answers_for_the_pool_and_for_a_member(url: str) -> None:
    body = {
        "inputs": [{"name": "text", "shape": [2], "datatype": "BYTES", "data": ["A cup final", "A comet"]}]
    }
    for model in ("news", "science"):
        status, document, _ = post(f"{url}/v2/models/{model}/infer", body)
        assert status == 200, document
        outputs = {output["name"]: output for output in document["outputs"]}
        assert outputs["scores"]["shape"] == outputs["labels"]["shape"]
        assert outputs["scores"]["shape"][0] == 2


def test_a_second_up_says_what_runs_already(cli: Cli, folder: Path, url: str) -> None:
    done = cli("up", "-f", str(folder / "pool.yaml"), "--detach")
    assert done.code == 1
    assert "Already running" in done.err
    assert url in done.err


def test_a_killed_rank_triton_and_router_come_back_by_themselves(cli: Cli, url: str) -> None:
    def session_pid(name: str) -> int:
        session = json.loads((cli.state / "session.json").read_text())
        return int(next(process["pid"] for process in session["processes"] if process["name"] == name))

    def ranks() -> set[int]:
        return {int(rank["pid"]) for rank in cli.member("science")["ranks"]}

    def answers() -> bool:
        question = {"text": "A telescope saw a new comet", "subModel": "science"}
        return post(f"{url}/v1/predict", question)[0] == 200

    limit = cli.member("science")["loadSeconds"] + RESERVE
    before = ranks()
    for victim in (min(before), session_pid("science-0-triton"), session_pid("science-0-router")):
        os.kill(victim, signal.SIGKILL)
        until(lambda gone=victim: not psutil.pid_exists(gone) or not answers(), limit)
        until(answers, limit)
    until(lambda: cli.member("science")["phase"] == "Ready", limit)
    assert not before & ranks()


def test_a_corrupt_and_a_missing_checkpoint_do_not_take_their_neighbours_down(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    broken = tmp_path / "news"
    subprocess.run(["cp", "-r", str(folder), str(broken)], check=True)
    weights = broken / "models" / "world" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    subprocess.run(["rm", "-r", str(broken / "models" / "sport")], check=True)
    other = Cli(tmp_path_factory.mktemp("s"))
    try:
        done = other("up", "-f", str(broken), "--detach", "--port", "0")
        assert done.code == 0, done.err
        members = {member["subModel"]: member for member in other.pool()["members"]}
        phases = {name: member["phase"] for name, member in members.items()}
        assert phases == {
            "world": "FailedToLoad",
            "sport": "Rejected",
            "business": "Ready",
            "science": "Ready",
        }
        assert "CheckpointInvalid" in members["world"]["because"]
        assert "no checkpoint folder at" in members["sport"]["because"]
        status, document, _ = post(
            f"{other.pool()['url']}/v1/predict", {"text": "The company cut its forecast"}
        )
        assert status == 200, document
    finally:
        other("down")


@pytest.fixture
def single(folder: Path, tmp_path: Path) -> Path:
    """The example's pool with one sub-model."""
    file = tmp_path / "pool.yaml"
    documents = (folder / "pool.yaml").read_text().split("\n---\n")
    kept = [d for d in documents if "kind: ModelPool" in d or "name: sport\n" in d]
    file.write_text("\n---\n".join(kept).replace("file://./", f"file://{folder}/"))
    return file


def test_a_killed_supervisor_leaves_no_orphan_and_up_works_again(
    single: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = Cli(tmp_path_factory.mktemp("s"))
    for _ in range(2):
        done = other("up", "-f", str(single), "--detach", "--port", "0")
        assert done.code == 0, done.err
        supervisor = psutil.Process(json.loads((other.state / "session.json").read_text())["pid"])
        family = [supervisor, *supervisor.children(recursive=True)]
        assert len(family) >= 6  # a door, a router, a Triton, its stub, a rank
        supervisor.kill()
        until(lambda: not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in family), 30)  # noqa: B023
        assert "Nothing runs here" in other("status").err


def test_ctrl_c_drains_and_ends_everything(single: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = Cli(tmp_path_factory.mktemp("s"))
    command = [COMMAND, "up", "-f", str(single), "--port", "0", "--state", str(other.state)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        until((other.state / "session.json").exists, 60)
        until(lambda: other.member("sport")["phase"] == "Ready", 60)
        supervisor = psutil.Process(json.loads((other.state / "session.json").read_text())["pid"])
        family = [supervisor, *supervisor.children(recursive=True)]
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    assert "Ended." in said
    assert [p for p in family if p.is_running() and p.status() != psutil.STATUS_ZOMBIE] == []


def test_a_taken_port_is_told_before_anything_starts(folder: Path, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = Cli(tmp_path)("up", "-f", str(folder / "pool.yaml"), "--detach", "--port", str(port))
    assert (done.code, f"Port {port} of 127.0.0.1 is taken" in done.err) == (1, True)
    assert not (tmp_path / "session.json").exists()


def test_a_missing_triton_is_told(folder: Path, tmp_path: Path) -> None:
    done = Cli(tmp_path)("up", "-f", str(folder / "pool.yaml"), "--port", "0", "--triton", str(tmp_path))
    assert (done.code, "No Triton with a Python backend at" in done.err) == (1, True)
