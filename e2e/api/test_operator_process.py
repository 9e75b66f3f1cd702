"""The operator's process against a real API server that can be stopped: what it survives, what it writes."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from api.operator_process import OperatorProcess, until
from api.private_server import PrivateServer, private_server

CRDS = Path(__file__).parents[2] / "crds"
OUTAGE_SECONDS = float(os.environ.get("E2E_OUTAGE_SECONDS", "40"))
POOL = """
apiVersion: fastserve.io/v1alpha1
kind: ModelPool
metadata: {name: news}
---
apiVersion: fastserve.io/v1alpha1
kind: SubModel
metadata: {name: sport}
spec:
  poolRef: {name: news}
  examples: [a text about football]
  model: {storageUri: "https://models.example/sport.tar.gz"}
"""

Start = Callable[[str], OperatorProcess]
pytestmark = pytest.mark.timeout(900)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[PrivateServer]:
    with private_server(tmp_path) as server:
        define(server)
        yield server


@pytest.fixture
def start(server: PrivateServer, tmp_path: Path) -> Iterator[Start]:
    begun: list[OperatorProcess] = []

    def start(name: str) -> OperatorProcess:
        begun.append(OperatorProcess(name, server.kubeconfig, tmp_path))
        return begun[-1]

    yield start
    for operator in begun:
        if operator.process.poll() is None:
            operator.kill()


def define(server: PrivateServer) -> None:
    server.kubectl("apply", "--server-side", "-f", str(CRDS))
    server.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")


def children(server: PrivateServer) -> dict[str, str]:
    """resourceVersion by kind and name of everything that the operator made, and of what it reports on."""
    kinds = "fsp,fss,deployments,services,configmaps,roles,rolebindings,serviceaccounts,controllerrevisions"
    names = '{range .items[*]}{.kind}/{.metadata.name} {.metadata.resourceVersion}{"\\n"}{end}'
    text = server.kubectl("get", kinds, "-o", f"jsonpath={names}")
    return dict(line.split() for line in text.splitlines())


def at_rest(operator: OperatorProcess, server: PrivateServer) -> dict[str, str]:
    """Wait until nothing was written for three seconds; what there is then."""
    count, since = -1, time.monotonic()

    def is_quiet() -> bool:
        nonlocal count, since
        if len(server.writes()) != count:
            count, since = len(server.writes()), time.monotonic()
        return count > 0 and time.monotonic() - since > 3

    until(is_quiet, 60, "the operator comes to rest")
    assert operator.metric("^fastserve_operator_queue_depth") == 0
    return children(server)


def settled(start: Start, server: PrivateServer) -> tuple[OperatorProcess, dict[str, str]]:
    operator = start("one")
    until(lambda: operator.leads, 30, "the operator leads")
    server.kubectl.apply(POOL)
    made = at_rest(operator, server)
    assert any(name.startswith("Deployment/sport-m-") for name in made)
    return operator, made


def test_a_restart_writes_nothing(server: PrivateServer, start: Start) -> None:
    operator, made = settled(start, server)
    operator.end()
    before = server.writes()
    again = start("two")
    until(lambda: again.looks() >= 1, 30, "the pool is looked at")
    time.sleep(3)
    assert server.writes()[len(before) :] == []
    assert children(server) == made


def test_a_hundred_forced_looks_write_nothing(server: PrivateServer, start: Start) -> None:
    operator, made = settled(start, server)
    before, looks = server.writes(), operator.looks()
    deployment = next(name for name in made if name.startswith("Deployment/sport-m-"))
    number = 0

    def looked() -> bool:
        nonlocal number
        number += 1
        server.kubectl("annotate", deployment.lower(), f"example.com/look={number}", "--overwrite")
        return operator.looks() - looks >= 100

    until(looked, 300, "a hundred looks")
    assert server.writes()[len(before) :] == []
    unchanged = {name: version for name, version in made.items() if name != deployment}
    assert {name: version for name, version in children(server).items() if name != deployment} == unchanged


def test_what_others_change_and_delete_comes_back(server: PrivateServer, start: Start) -> None:
    _, made = settled(start, server)
    deployment = next(name for name in made if name.startswith("Deployment/sport-m-")).lower()
    server.kubectl("scale", deployment, "--replicas=5")
    replicas = ("get", deployment, "-o", "jsonpath={.spec.replicas}")
    took = until(lambda: server.kubectl(*replicas) == "1", 10, "the replicas are back")
    server.kubectl("delete", "service/news")
    took = max(took, until(lambda: server.kubectl.find("service", "news"), 10, "the Service is back"))
    print(f"drift and deletion repaired within {took:.1f} s")
    assert took < 5


def test_a_second_replica_waits_and_follows_a_killed_one(server: PrivateServer, start: Start) -> None:
    operator, made = settled(start, server)
    other = start("two")
    until(lambda: other.ask("/readyz")[0] == 200, 30, "the second replica is ready")
    assert not other.leads
    assert other.ask("/livez") == (200, "ok\n")
    before = server.writes()
    operator.kill()
    took = until(lambda: other.leads and other.looks() >= 1, 30, "the second replica acts")
    print(f"kill -9 of the leader: the other acts after {took:.1f} s")
    assert took <= 20
    assert server.writes()[len(before) :] == []
    assert children(server) == made


def test_a_replica_that_ends_well_is_followed_at_once(server: PrivateServer, start: Start) -> None:
    operator, _ = settled(start, server)
    other = start("two")
    until(lambda: other.ask("/readyz")[0] == 200, 30, "the second replica is ready")
    began = time.monotonic()
    ended = operator.end()
    until(lambda: other.leads and other.looks() >= 1, 30, "the second replica acts")
    took = time.monotonic() - began
    print(f"SIGTERM: ended after {ended:.2f} s, the other acts after {took:.1f} s")
    assert ended <= 5
    assert took <= 8


def test_a_stopped_leader_writes_nothing_when_it_wakes(server: PrivateServer, start: Start) -> None:
    operator, _ = settled(start, server)
    operator.process.send_signal(signal.SIGSTOP)
    other = start("two")
    until(lambda: other.leads and other.looks() >= 1, 40, "the second replica acts")
    server.kubectl("delete", "service/news")
    until(lambda: server.kubectl.find("service", "news"), 10, "the Service is back")
    at_rest(other, server)
    before = server.writes()
    operator.process.send_signal(signal.SIGCONT)
    time.sleep(5)
    assert not operator.leads
    assert other.leads
    assert server.writes()[len(before) :] == []
    assert operator.process.poll() is None


def test_an_outage_of_the_api_server_is_waited_for(server: PrivateServer, start: Start) -> None:
    operator, made = settled(start, server)
    before = server.writes()
    server.stop()
    time.sleep(OUTAGE_SECONDS)
    assert operator.process.poll() is None, "it lives"
    assert operator.ask("/livez") == (200, "ok\n")
    assert not operator.leads, "who cannot renew the lease does not act"
    server.start()
    took = until(lambda: operator.leads, 60, "it leads again")
    server.kubectl("delete", "service/news")
    took += until(lambda: server.kubectl.find("service", "news"), 60, "it repairs again")
    print(f"{OUTAGE_SECONDS:.0f} s without an API server: repairs again {took:.1f} s after its return")
    at_rest(operator, server)
    assert {one for one in server.writes()[len(before) :] if "service" not in one} == set()
    assert children(server).keys() == made.keys()


def test_definitions_that_come_late_go_and_come_back_are_noticed(tmp_path: Path) -> None:
    with private_server(tmp_path) as server:
        operator = OperatorProcess("one", server.kubeconfig, tmp_path)
        try:
            until(lambda: operator.leads, 30, "the operator leads")
            time.sleep(5)
            assert operator.process.poll() is None
            assert operator.ask("/livez") == (200, "ok\n")
            for _ in range(2):
                define(server)
                server.kubectl.apply(POOL)
                took = until(lambda: server.kubectl.find("service", "news"), 60, "the pool has its Service")
                print(f"definitions there: the pool's Service after {took:.1f} s")
                server.kubectl("delete", "-f", str(CRDS))
                server.kubectl("delete", "service/news")
                time.sleep(5)
                assert operator.process.poll() is None
                assert operator.ask("/livez") == (200, "ok\n")
        finally:
            operator.kill()
