"""What one Prometheus tells of a pool's routers, whoever else it scrapes, and however often."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from fastserve.router.scaling.prometheus import WHOLE_SECONDS, ScrapedHistory
from fastserve.scaling.scraped import Reading
from scaling_world import START

NOW = START + 100.0
Labels = Mapping[str, str]


class PretendPrometheus:
    """Answers as PrometheusConnect does; `series` are labels and values by time."""

    def __init__(self, *series: tuple[Labels, Mapping[float, object]], ahead: float = 0.0) -> None:
        self.series, self.now = series, NOW + ahead
        self.asked: list[tuple[str, object]] = []

    def custom_query(self, query: str, params: dict[str, str] | None = None) -> Any:
        self.asked.append((query, (params or {}).get("time")))
        if query == "time()":
            return [self.now, str(self.now)]
        name = re.match(r'\w+|{__name__=~"(.*?)"', query)
        names = (name[1] or name[0]).split("|")
        instances = re.search(r'instance=~"(.*?)"', query)
        since = self.now - int(re.search(r"\[(\d+)s\]$", query)[1])
        return [
            {
                "metric": dict(labels),
                "values": [[at, str(value)] for at, value in values.items() if at >= since],
            }
            for labels, values in self.series
            if labels["__name__"] in names
            and (instances is None or re.fullmatch(instances[1].replace("\\\\", "\\"), labels["instance"]))
        ]

    def close(self) -> None:
        """Nothing is open."""


def told_by(router: str, values: Sequence[float], **more: str) -> list[tuple[Labels, dict[float, float]]]:
    """The series of a router of sport, scraped each ten seconds up to now."""
    target = {"job": "routers", "instance": f"{router}:9", **more}
    times = [NOW - 10.0 * i for i in reversed(range(len(values)))]
    info = {"__name__": "fastserve_router_info", "pool": "assistant", "router": router, "submodel": "sport"}
    came = {"__name__": "fastserve_member_arrivals_total", "submodel": "sport"}
    return [
        ({**info, **target}, dict.fromkeys(times, 1.0)),
        ({**came, **target}, dict(zip(times, values, strict=True))),
    ]


def history(prometheus: PretendPrometheus, *expected: str) -> ScrapedHistory:
    made = ScrapedHistory("http://prometheus:9090/", "assistant")
    made._client, made.expected = prometheus, frozenset(expected)
    return made


def arrivals(reading: Reading, router: str) -> int:
    return sum(row.arrivals for row in reading.routers[router].rows if row.own)


def test_all_that_is_new_is_told_once() -> None:
    prometheus = PretendPrometheus(*told_by("sport-0", [0, 10, 20, 30]))
    read = history(prometheus, "sport-0")

    reading = read.read(lambda: NOW)
    assert arrivals(reading, "sport-0") == 30
    assert read.problems(reading, 20.0, NOW) == ()
    assert read.read(lambda: NOW).routers == {}


def test_all_windows_end_at_one_moment_and_the_first_is_the_whole_history() -> None:
    prometheus = PretendPrometheus(*told_by("sport-0", [0, 10]))
    read = history(prometheus, "sport-0")

    read.read(lambda: NOW)
    assert {time for query, time in prometheus.asked if query != "time()"} == {str(NOW)}
    assert all(query.endswith(f"[{WHOLE_SECONDS}s]") for query, _ in prometheus.asked[1:])
    prometheus.asked.clear()
    read.read(lambda: NOW + 5)
    assert all(query.endswith("[120s]") for query, _ in prometheus.asked[1:])
    prometheus.asked.clear()
    read.read(lambda: NOW + 300)
    assert all(query.endswith(f"[{WHOLE_SECONDS}s]") for query, _ in prometheus.asked[1:])


def test_a_router_that_two_jobs_scrape_counts_once() -> None:
    twice = [*told_by("sport-0", [0, 10, 20]), *told_by("sport-0", [0, 10, 20], job="annotated")]

    assert arrivals(history(PretendPrometheus(*twice), "sport-0").read(lambda: NOW), "sport-0") == 20


def test_a_pool_of_the_same_name_elsewhere_is_left_aside() -> None:
    both = [*told_by("sport-0", [0, 10]), *told_by("sport-1", [0, 19])]
    read = history(PretendPrometheus(*both), "sport-0")
    assert set(read.read(lambda: NOW).routers) == {"sport-0"}

    read = history(PretendPrometheus(*both), "other")
    reading = read.read(lambda: NOW)
    (problem,) = read.problems(reading, 30.0, NOW)
    assert problem.startswith("Prometheus at http://prometheus:9090 has no fastserve_router_info of routers")


def test_who_was_expected_is_read_on_when_it_is_gone() -> None:
    prometheus = PretendPrometheus(*told_by("sport-0", [0, 10, 20]))
    read = history(prometheus, "sport-0")
    read.read(lambda: NOW)
    read.expected = frozenset()
    prometheus.series, prometheus.now = tuple(told_by("sport-0", [0, 10, 20, 30])), NOW

    assert read.read(lambda: NOW).newest == NOW


def test_samples_are_of_whom_the_target_was_at_that_time() -> None:
    old, new = told_by("old", [5, 15, 25]), told_by("new", [0, 1, 3])
    address = {"instance": "10.0.0.1:9"}
    before = [({**labels, **address}, {at - 40: v for at, v in values.items()}) for labels, values in old]
    after = [({**labels, **address}, values) for labels, values in new]
    (info, one), (came, two) = before[0], before[1]
    together = [(info, one), after[0], (came, {**two, **after[1][1]})]

    reading = history(PretendPrometheus(*together), "old", "new").read(lambda: NOW)
    assert (arrivals(reading, "old"), arrivals(reading, "new")) == (20, 3)


def test_values_that_are_no_counts_are_told() -> None:
    prometheus = PretendPrometheus(*told_by("sport-0", [0, float("nan"), 20, float("inf"), 30]))
    read = history(prometheus, "sport-0")

    reading = read.read(lambda: NOW)
    assert arrivals(reading, "sport-0") == 30
    assert read.problems(reading, 30.0, NOW) == ("some values in Prometheus are NaN, infinite or negative",)


def test_a_scrape_that_is_old_is_told() -> None:
    read = history(PretendPrometheus(*told_by("sport-0", [0, 10])), "sport-0")
    reading = read.read(lambda: NOW)

    assert read.problems(reading, 20.0, NOW + 20) == ()
    told = read.problems(reading, 20.0, NOW + 21)
    assert told[0].startswith("Prometheus has scraped no router since ")
    assert read.problems(reading, 20.0, NOW + 60) == told


def test_a_clock_that_is_off_is_reckoned_with() -> None:
    early, late = (
        PretendPrometheus(*told_by("sport-0", [0, 10])),
        PretendPrometheus(*told_by("sport-0", [0, 10])),
    )
    late.now = NOW + 0.4
    for prometheus in (early, late):
        read = history(prometheus, "sport-0")
        reading = read.read(lambda: NOW + 60)
        assert reading.newest == NOW + 60
        assert read.problems(reading, 30.0, NOW + 60) == (
            "Prometheus' clock is more than 5 s behind, and reckoned with",
        )


def test_nothing_is_asked_after_the_end() -> None:
    prometheus = PretendPrometheus()
    read = history(prometheus)
    read.end()

    try:
        read.read(lambda: NOW)
    except InterruptedError:
        assert prometheus.asked == []
    else:
        raise AssertionError("it asked")
