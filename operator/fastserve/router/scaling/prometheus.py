"""Where a pool has a Prometheus, load is read there: the raw samples of the routers' own counters."""

import asyncio
import logging
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from math import ceil, inf
from typing import Any, Literal, Protocol

import msgspec

from fastserve.api.scaling import HISTORY_SECONDS, LoadReport
from fastserve.router.scaling.polling import LoadSource
from fastserve.scaling.ledger import Ledger
from fastserve.scaling.scraped import INTERVALS, METRICS, Key, Reading, Scraped, Told, read

INFO = "fastserve_router_info"
ASK_SECONDS = 5.0
TIMEOUT_SECONDS = 5
RECENT_SECONDS = 120
LEAST_SCRAPES = 4
"""The recent past holds so many."""
WHOLE_SECONDS = HISTORY_SECONDS + 60
UNKNOWN_LAG = 30.0
CLOCK_SECONDS = 5.0
"""Clocks that differ by more are worth a word."""
TARGETS_AT_ONCE = 16
"""One answer of all would be decoded in one go, and requests would wait for it."""
log = logging.getLogger(__name__)

Target = tuple[str, str]
"""What Prometheus scrapes, as it names it: job and instance."""


class Series(msgspec.Struct):
    """One of a range vector: times of Prometheus' clock, and values as text."""

    metric: dict[str, str]
    values: list[tuple[float, str]]

    @property
    def target(self) -> Target:
        return self.metric.get("job", ""), self.metric.get("instance", "")

    @property
    def router(self) -> str:
        return self.metric.get("router", "")


class Client(Protocol):
    """What is used of prometheus_api_client's PrometheusConnect."""

    def custom_query(self, query: str, params: dict[str, str] | None = None) -> Any: ...

    def close(self) -> None: ...


class PrometheusSource:
    """LoadSource over a Prometheus that scrapes the routers. `words` asks the routers themselves: for all
    that they tell except rows, so that a sleeper wakes though Prometheus is away."""

    name: Literal["Routers", "Prometheus"] = "Prometheus"

    def __init__(self, url: str, pool: str, words: LoadSource) -> None:
        self.problem = ""
        self.lag = UNKNOWN_LAG
        self._words = words
        self._history = ScrapedHistory(url, pool)
        self._readings: list[Reading] = []
        """That came since the last look."""
        self._problems: tuple[str, ...] = ()
        self._fresh: frozenset[str] | None = None
        self._task: asyncio.Task[None] | None = None

    async def look(self, ledger: Ledger, clock: Callable[[], float]) -> None:
        """Hear the routers, and take over what Prometheus told meanwhile; it is not waited for."""
        await self._words.look(ledger, clock)
        self._history.expected = ledger.expected
        if self._task is None:
            self._task = asyncio.create_task(self._read_on(clock))
        readings, self._readings = self._readings, []
        for reading in readings:
            for router, told in reading.routers.items():
                _enter(ledger, router, told)
        unscraped = sorted(ledger.expected - self._fresh) if self._fresh else []
        told_of = f"{len(unscraped)} of {len(ledger.expected)} routers are not scraped: {_some(unscraped)}"
        problems = (*self._problems, told_of if unscraped else "", self._words.problem)
        self.problem = "; ".join(one for one in problems if one)

    def close(self) -> None:
        self._history.end()
        if self._task is not None:
            self._task.cancel()
        self._words.close()

    async def _read_on(self, clock: Callable[[], float]) -> None:
        """Ask again and again; the client knows no asyncio, so in a thread."""
        while True:
            try:
                reading = await asyncio.to_thread(self._history.read, clock)
            except Exception as error:  # what is behind a URL may answer anything
                log.debug("Prometheus is not read", exc_info=True)
                self._problems, self._fresh = (self._history.why(error),), None
            else:
                self._readings.append(reading)
                if reading.interval:
                    self.lag = INTERVALS * reading.interval
                self._problems = self._history.problems(reading, self.lag, clock())
                self._fresh = reading.fresh
            await asyncio.sleep(ASK_SECONDS)


class ScrapedHistory:
    """What one Prometheus knows of a pool's routers, read bit by bit. Not for two threads at a time."""

    def __init__(self, url: str, pool: str) -> None:
        self.expected: frozenset[str] = frozenset()
        """The pool's routers. A pool of another namespace may have this one's name."""
        self._known: frozenset[str] = frozenset()
        """Also those that were expected before, as long as there is anything of them."""
        self._url, self._pool = url.rstrip("/"), pool
        self._client: Client | None = None
        self._has_ended = False
        self._read_at = -inf
        self._recent = RECENT_SECONDS
        self._since: dict[str, int] = {}
        """The first slot that was not told yet, by router."""
        self._off = 0.0
        """By which its clock is before ours; what it tells is moved by it."""

    def read(self, clock: Callable[[], float]) -> Reading:
        """All that is new. Raises whatever the client does, and ValueError."""
        asked = clock()
        time = _number(self._ask("time()"))
        now = (asked + clock()) / 2
        # A hundredth of a second more or less each time would blur what was told already.
        if abs(float(time) - now - self._off) > 1.0:
            self._off = float(round(float(time) - now))
        missed = now - self._read_at > self._recent / 2
        seconds = WHOLE_SECONDS if missed else self._recent
        reading = read(self._scraped(time, seconds), self._since)
        self._read_at = now
        self._recent = max(RECENT_SECONDS, ceil(LEAST_SCRAPES * reading.interval))
        for router, told in reading.routers.items():
            self._since[router] = told.covered.stop
        self._since = {router: slot for router, slot in self._since.items() if slot > now - WHOLE_SECONDS}
        return reading

    def problems(self, reading: Reading, lag: float, now: float) -> tuple[str, ...]:
        """What is wrong with what it tells, in words that stay while it stays."""
        if not reading.newest:
            no_series = f"Prometheus at {self._url} has no {INFO} of routers of the pool {self._pool}"
            return (f"{no_series}: let it scrape /metrics at the admin port of each",)
        problems = []
        if now - reading.newest > lag:
            when = datetime.fromtimestamp(reading.newest, UTC).strftime("%H:%M:%S UTC")
            problems.append(f"Prometheus has scraped no router since {when}")
        if reading.dropped:
            problems.append("some values in Prometheus are NaN, infinite or negative")
        if abs(self._off) > CLOCK_SECONDS:
            side = "ahead" if self._off > 0 else "behind"
            problems.append(f"Prometheus' clock is more than {CLOCK_SECONDS:g} s {side}, and reckoned with")
        return tuple(problems)

    def why(self, error: Exception) -> str:
        """Why it cannot be read."""
        name = f"Prometheus at {self._url}"
        if isinstance(error, ValueError | KeyError | TypeError):
            return f"{name} does not answer as a Prometheus does"
        if isinstance(error, OSError):  # every error of requests is one
            return f"{name} is not reached within {TIMEOUT_SECONDS} s ({type(error).__name__})"
        # Not what it said: who names a URL here need not be one who may read what that answers.
        return f"{name} refuses the questions ({type(error).__name__})"

    def end(self) -> None:
        """No question after the one under way."""
        self._has_ended = True
        if self._client is not None:
            self._client.close()

    def _ask(self, query: str, time: str = "") -> Any:
        if self._has_ended:
            raise InterruptedError("ended")
        if self._client is None:
            from prometheus_api_client import PrometheusConnect  # noqa: PLC0415  80 ms and 18 MB of requests

            self._client = PrometheusConnect(self._url, retry=0, timeout=TIMEOUT_SECONDS)
        return self._client.custom_query(query, {"time": time} if time else None)

    def _scraped(self, time: str, seconds: int) -> list[Scraped]:
        """All questions are of one moment, so that their windows are the same."""
        infos = _series(self._ask(f'{INFO}{{pool="{self._pool}"}}[{seconds}s]', time))
        self._known = self.expected | (self._known & {one.router for one in infos})
        routers = _Routers([one for one in infos if one.router in self._known], self._off)
        instances = sorted({instance for _, instance in routers.targets})
        for first in range(0, len(instances), TARGETS_AT_ONCE):
            targets = instances[first : first + TARGETS_AT_ONCE]
            query = f'{{__name__=~"{"|".join(METRICS)}",instance=~"{_any_of(targets)}"}}[{seconds}s]'
            for one in _series(self._ask(query, time)):
                routers.take(one)
        return routers.scraped()


class _Routers:
    """Raw samples by router. At each scrape a target says itself which router it is: another one may have
    had its address before."""

    def __init__(self, infos: Sequence[Series], off: float) -> None:
        self._off = off
        self._members: dict[str, str] = {}
        self._series: dict[str, dict[Key, dict[float, float]]] = {}
        found: dict[str, dict[Target, set[float]]] = {}
        for info in infos:
            self._members[info.router] = info.metric.get("submodel", "")
            times = found.setdefault(info.router, {}).setdefault(info.target, set())
            times.update(at for at, _ in info.values)
        # Two jobs may scrape one router: one of them is enough, and both are twice as much.
        self._scrapes = {
            router: max(by_target.items(), key=lambda one: (len(one[1]), one[0]))
            for router, by_target in found.items()
        }
        self._told_by = {
            (target, at): router for router, (target, times) in self._scrapes.items() for at in times
        }

    @property
    def targets(self) -> frozenset[Target]:
        return frozenset(target for target, _ in self._scrapes.values())

    def take(self, series: Series) -> None:
        labels, target = series.metric, series.target
        key = labels.get("__name__", ""), labels.get("le") or labels.get("submodel", "")
        for at, value in series.values:
            router = self._told_by.get((target, at))
            if router is not None:
                self._series.setdefault(router, {}).setdefault(key, {})[at - self._off] = float(value)

    def scraped(self) -> list[Scraped]:
        return [
            Scraped(
                router,
                self._members[router],
                tuple(sorted(at - self._off for at in times)),
                self._series.get(router, {}),
            )
            for router, (_, times) in self._scrapes.items()
        ]


def _enter(ledger: Ledger, router: str, told: Told) -> None:
    try:
        ledger.enter(router, told.rows, told.covered)
    except KeyError:
        # It is to be heard and is not: what it did counts all the same.
        ledger.hear(LoadReport(instance=router, member=told.member or None, now=0.0), -inf)
        ledger.enter(router, told.rows, told.covered)


def _series(result: Any) -> list[Series]:
    """Raises ValueError (msgspec.ValidationError is one)."""
    return msgspec.convert(result, list[Series])


def _number(result: Any) -> str:
    """The value of a scalar, as Prometheus wrote it. Raises ValueError."""
    value = msgspec.convert(result, tuple[float, str])[1]
    float(value)
    return value


def _any_of(names: Sequence[str]) -> str:
    """A regular expression, as a text in PromQL."""
    return "|".join(re.escape(one) for one in names).replace("\\", "\\\\").replace('"', '\\"')


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (" and others" if len(names) > 3 else "")
