"""The operator's own pages: they answer also while nothing else does."""

import urllib.error
import urllib.request

from fastserve.api.objects import ObjectKey
from fastserve.cluster.session import Request
from fastserve.controller.metrics import Metrics
from fastserve.controller.probes import probes
from fastserve.controller.settings import Address
from fastserve.controller.vitals import Vitals


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def ask(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_a_frozen_event_loop_is_told_and_a_thawed_one_too() -> None:
    clock = Clock()
    vitals = Vitals(clock)
    with probes(Address("127.0.0.1", 0), vitals, Metrics(vitals, lambda: 0).registry) as port:
        assert ask(port, "/livez") == (200, "ok\n")
        clock.now += 11
        assert ask(port, "/livez") == (503, "the event loop has not turned for 11 s\n")
        vitals.beat()
        assert ask(port, "/livez") == (200, "ok\n")


def test_a_watch_that_neither_hears_nor_tries_is_dead_and_one_that_tries_is_not() -> None:
    clock = Clock()
    vitals = Vitals(clock)
    vitals.expect(("pods", "services"))
    clock.now += 500
    vitals.beat()
    vitals.begun(Request("watch", "pods"))
    assert vitals.problem() == ""
    clock.now += 200
    vitals.beat()
    assert vitals.problem() == "the watch of services has done nothing for 700 s"
    vitals.expect(())
    assert vitals.problem() == ""


def test_ready_once_the_api_server_answered_and_unknown_pages_are_not_there() -> None:
    vitals = Vitals()
    with probes(Address("127.0.0.1", 0), vitals, Metrics(vitals, lambda: 0).registry) as port:
        assert ask(port, "/readyz")[0] == 503
        vitals.is_started = True
        assert ask(port, "/readyz") == (200, "ok\n")
        assert ask(port, "/secrets")[0] == 404


def test_metrics_tell_looks_queue_leader_requests_and_watches() -> None:
    clock = Clock()
    vitals = Vitals(clock)
    vitals.expect(("pods",))
    vitals.is_leader = True
    metrics = Metrics(vitals, lambda: 7)
    metrics.looked(ObjectKey("default", "news"), "done", 0.2)
    metrics.requested(Request("patch", "deployments"), 200, None)
    clock.now += 5
    with probes(Address("127.0.0.1", 0), vitals, metrics.registry) as port:
        text = ask(port, "/metrics")[1]
    for line in (
        'fastserve_operator_reconcile_total{result="done"} 1.0',
        'fastserve_operator_reconcile_total{result="failed"} 0.0',
        "fastserve_operator_reconcile_duration_seconds_count 1.0",
        "fastserve_operator_queue_depth 7.0",
        "fastserve_operator_leader 1.0",
        'fastserve_operator_watch_age_seconds{kind="pods"} 5.0',
        'fastserve_operator_api_requests_total{code="200",kind="deployments",verb="patch"} 1.0',
    ):
        assert line in text
