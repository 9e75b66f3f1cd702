"""`fastserve explain scaling`: what the router that scales the pool decided last, or what to do."""

import io
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from fastserve.api.scaling import ScalingDecision, ScalingState
from fastserve.api.state import PeerState, RouterState
from fastserve.cli import tables
from fastserve.cli.app import application
from fastserve.cli.scaled import explain_scaling
from fastserve.cli.surroundings import Surroundings
from fastserve.errors import LocalError

DECISION = ScalingDecision(
    member="sport",
    replicas=2,
    wanted=3,
    reason="Budget",
    message="the pool's sub-models share 2 GPUs; 9.1 requests/s keep 2.7 replicas busy",
    time="2026-11-21T10:00:00Z",
)
PEERS = (
    PeerState(member="sport", address="h:1", health="Healthy"),
    PeerState(member="sport", address="h:2", health="Unknown"),
    PeerState(member="world", address="h:3", health="Healthy"),
)


def state(scaling: ScalingState | None, member: str | None = None) -> RouterState:
    return RouterState(
        pool="news",
        instance="news-door",
        member=member,
        ready=True,
        because="",
        prototypes={"world": 2, "sport": 2, "science": 1},
        peers=PEERS,
        scaling=scaling,
    )


HOLDER = state(ScalingState(holder=True, source="Prometheus", problem="3 s old", decisions=(DECISION,)))


def test_the_decision_is_told_with_its_numbers() -> None:
    explained = explain_scaling(HOLDER, "sport")
    assert (explained.ready, explained.replicas, explained.wanted) == (1, 2, 3)
    assert (explained.reason, explained.message, explained.time) == (
        DECISION.reason,
        DECISION.message,
        DECISION.time,
    )
    assert (explained.source, explained.problem) == ("Prometheus", "3 s old")


def test_the_router_s_own_replica_counts_too() -> None:
    beside = state(HOLDER.scaling, member="sport")
    assert explain_scaling(beside, "sport").ready == 2


@pytest.mark.parametrize(
    ("told", "name", "words"),
    [
        (HOLDER, "sprot", "has no sub-model sprot. It has: science, sport, world."),
        (HOLDER, "world", "world is not scaled; decided on: sport. .*spec.autoscaling would scale it"),
        (state(None), "sport", "Nothing of pool news is scaled.*spec.autoscaling would scale it"),
        (state(ScalingState()), "sport", "kubectl get lease news-p-scaling .*--url"),
    ],
)
def test_where_nothing_was_decided_what_to_do_is_told(told: RouterState, name: str, words: str) -> None:
    with pytest.raises(LocalError, match=words):
        explain_scaling(told, name)


def test_the_table_has_everything_and_takes_nothing_for_markup() -> None:
    printed = Console(file=io.StringIO(), width=120)
    explained = explain_scaling(HOLDER, "sport").model_copy(update={"problem": "closed [/b]"})
    printed.print(tables.scaling(explained))
    assert isinstance(printed.file, io.StringIO)
    text = printed.file.getvalue()
    words = ("sport (pool news)", "1/2 ready", "Budget", DECISION.message, DECISION.time, "Prometheus")
    assert [one for one in (*words, "closed [/b]") if one not in text] == []


class _Admin(BaseHTTPRequestHandler):
    """A router's admin port that asks for a key."""

    def do_GET(self) -> None:
        allowed = self.headers["authorization"] == "Bearer key"
        body = HOLDER.model_dump_json() if allowed else json.dumps({"error": "no key", "reason": "NoKey"})
        self.send_response(200 if allowed else 401)
        self.end_headers()
        self.wfile.write((body if self.path == "/v1/state" else "{}").encode())

    def log_message(self, *_: object) -> None:
        """Tests print nothing."""


@pytest.fixture
def url() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), _Admin) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def run(*arguments: str, key: str = "key", state: Path | None = None) -> Result:
    surroundings = Surroundings(state=str(state) if state else None, api_key=key)
    return CliRunner().invoke(application, ("explain", "scaling", *arguments), obj=surroundings)


def test_any_router_can_be_asked_by_its_admin_port(url: str) -> None:
    told = run("sport", "--url", f"{url}/", "--json")
    assert (told.exit_code, json.loads(told.stdout)["replicas"]) == (0, 2)
    assert "1/2 ready" in run("sport", "--url", url).stdout


@pytest.mark.parametrize(
    ("path", "key", "words"),
    [("", "other", "401 NoKey: no key"), ("/elsewhere", "key", "is no router's state")],
)
def test_what_is_no_router_or_lets_nobody_in_is_told(url: str, path: str, key: str, words: str) -> None:
    told = run("sport", "--url", f"{url}{path}", key=key)
    assert (told.exit_code, words in told.stderr) == (1, True)


def test_a_port_where_nobody_listens_and_words_that_are_no_url_are_told() -> None:
    for wrong in ("http://127.0.0.1:9", "router"):
        told = run("sport", "--url", wrong)
        assert (told.exit_code, f"{wrong} does not answer" in told.stderr) == (1, True)


def test_where_nothing_runs_that_is_said(tmp_path: Path) -> None:
    told = run("sport", state=tmp_path)
    assert (told.exit_code, "Nothing runs here" in told.stderr) == (1, True)
