"""What the answers of a load say about faults whose moments are known. Pure: records in, scores out."""

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from chaos.records import Generated, Sent

STALL_SECONDS = 1.0
"""Without an answer, while requests come all the time."""
SLOW_LOAD = 2.0
"""Times the load before it: a machine that is busy with the load explains less than that."""
DETECT_SECONDS, RECOVER_SECONDS = 2.0, 3.0
"""Until a router says that its model does not answer; beyond the load time until it does again."""
EJECT_SECONDS, AMPLIFICATION, FAILED = 10.0, 1.2, 5
P99_RATIO = 1.1
MOST_KINDS = 9
CONTENT = frozenset({"lost", "wrong version", "neither version", "not exchanged", "lost before"})
"""Shortcomings that no busy machine excuses."""


@dataclass(frozen=True)
class Trial:
    """One fault: in what it fell short, and its figures."""

    short: tuple[str, ...] = ()
    figures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """All trials of one fault. `worst` is the greatest of each figure, `short` counts by what fell short,
    `whole` holds the figures of all trials together, `told` counts what requests without a good answer were
    told, also those that no trial holds against anybody."""

    name: str
    trials: int
    passed: int
    worst: Mapping[str, float]
    short: Mapping[str, int]
    whole: Mapping[str, float]
    told: Mapping[str, int] = field(default_factory=dict)

    @property
    def kept(self) -> bool:
        """Whether all trials passed, and there were some."""
        return self.trials > 0 and not self.short


@dataclass(frozen=True)
class Planned:
    """A row that is still to be made."""

    name: str
    make: Callable[[], Row]


@dataclass(frozen=True)
class Swap:
    """One exchange of versions, asked for and settled at these moments. `before` answered until then, `after`
    does from then on (None: nobody), any of `meanwhile` may in between; `wanted` was asked for, None where it
    cannot be. In an `orderly` one no request
    that is sent once the new version was heard is answered by the old one. `told`: that it cannot be was said
    in time, where it cannot."""

    asked: float
    settled: float
    before: int
    after: int | None
    wanted: int | None
    meanwhile: frozenset[int]
    orderly: bool = True
    told: bool = True


@dataclass(frozen=True)
class Death:
    """One process that was hurt at `at`. Its router was `seen` not to be ready, and ready `again`; `own` is
    the version that answers there, `load_seconds` what its loads took: the one before, and that time's."""

    at: float
    seen: float | None
    again: float | None
    own: int
    load_seconds: tuple[float, float]


@dataclass(frozen=True)
class Illness:
    """One replica that was ill from `began` to `healed`. The door was `seen` to leave it out, and to ask it
    `again`; meanwhile so many requests came to the door, and went from there to replicas."""

    began: float
    healed: float
    seen: float | None
    again: float | None
    requests: float
    calls: float


@dataclass(frozen=True)
class Whole:
    """What is of all trials together: in what they fell short, and figures."""

    made: Generated
    short: tuple[str, ...] = ()
    figures: Mapping[str, float] = field(default_factory=dict)


def row(name: str, trials: Sequence[Trial], whole: Whole) -> Row:
    """Trials summed up. Generators tell how busy they were, and how far behind their schedule."""
    worst: dict[str, float] = {}
    for trial in trials:
        for key, value in trial.figures.items():
            worst[key] = round(max(value, worst.get(key, value)), 3)
    short = Counter([*whole.short, *(one for trial in trials for one in trial.short)])
    passed = sum(not trial.short for trial in trials)
    made, sent = whole.made, whole.made.sent
    told = {
        **whole.figures,
        "requests": len(sent),
        "requests per s": len(sent) / (sent[-1].due - sent[0].due) if len(sent) > 1 else 0.0,
        "p99 ms": 1000 * p99(sent),
        "generator cpu s": made.cpu_seconds,
        "generator late s": made.late,
    }
    figures = {key: round(value, 3) for key, value in told.items()}
    return Row(name, len(trials), passed, worst, dict(sorted(short.items())), figures, _told(sent))


def _told(sent: Sequence[Sent]) -> dict[str, int]:
    """What was said in place of answers, most often first; figures in it are left out."""
    words = (re.sub(r"\d+(\.\d+)*", "#", one.why) for one in sent if not one.good)
    return dict(Counter(words).most_common(MOST_KINDS))


def swap_trials(sent: Sequence[Sent], swaps: Sequence[Swap], others: frozenset[int]) -> Iterator[Trial]:
    """Judge each exchange by the requests until the next one. `others`, who are no part of it, may
    answer at all times."""
    for swap, own in zip(swaps, _parts(sent, [swap.asked for swap in swaps]), strict=True):
        lost, wrong = sum(not one.good for one in own), misversioned(own, swap, others)
        silence = longest_silence(own, swap.asked)
        short = {
            "lost": lost > 0,
            "wrong version": wrong > 0,
            "neither version": swap.after is None,
            "not exchanged": swap.wanted is not None and swap.after != swap.wanted,
            "stalled": silence >= STALL_SECONDS,
            "not refused": not swap.told,
        }
        figures = {"lost": lost, "wrong": wrong, "silence s": silence, "took s": swap.settled - swap.asked}
        yield Trial(_true(short), figures)


def misversioned(sent: Sequence[Sent], swap: Swap, others: frozenset[int]) -> int:
    """Answers of a version that did not serve between their request and them."""
    heard = min((one.ended for one in sent if one.version == swap.after), default=float("inf"))
    return sum(
        one.version not in _may_answer(one, swap) | others
        or (swap.orderly and one.version == swap.before != swap.after and one.sent > heard)
        for one in sent
        if one.good
    )


def longest_silence(sent: Sequence[Sent], since: float) -> float:
    """Seconds without any good answer."""
    ends = sorted(one.ended for one in sent if one.good and one.ended >= since)
    return max((after - before for before, after in pairwise([since, *ends])), default=float("inf"))


def p99_ratio(sent: Sequence[Sent], swaps: Sequence[Swap]) -> float:
    """p99 of latencies, of requests due while versions were exchanged by those due while not, of all trials
    together: one alone has too few to tell."""
    during: list[Sent] = []
    rest: list[Sent] = []
    for begin, end in pairwise([0.0, *(at for swap in swaps for at in (swap.asked, swap.settled))]):
        early, late = bisect_left(sent, begin, key=_due), bisect_left(sent, end, key=_due)
        (during if any(begin == swap.asked for swap in swaps) else rest).extend(sent[early:late])
    return p99(during) / p99(rest) if during and rest else float("inf")


def p99(sent: Iterable[Sent]) -> float:
    """Seconds from when requests were due; the slowest of a hundred is left out."""
    ordered = sorted(one.ended - one.due for one in sent)
    return ordered[max(0, -(-len(ordered) * 99 // 100) - 1)] if ordered else 0.0


def lost_before(sent: Sequence[Sent], begin: float) -> tuple[str, ...]:
    """Whether anything was lost before the first fault, which is in none of the trials."""
    return ("lost before",) if any(not one.good for one in sent if one.ended <= begin) else ()


def death_trials(sent: Sequence[Sent], deaths: Sequence[Death], others: frozenset[int]) -> Iterator[Trial]:
    """Judge each death by the requests until the next one. `others` may answer at all times."""
    for death, own in zip(deaths, _parts(sent, [death.at for death in deaths]), strict=True):
        in_flight = sum(one.sent <= death.at < one.ended for one in sent)
        failed = [one for one in own if not one.good]
        beyond = sum(not one.sent <= death.at < one.ended for one in failed)
        detect, (before, load) = _until(death.seen, death.at), death.load_seconds
        recover = max(_until(death.again, death.at), _first_answer(own, death) - death.at)
        short = {
            "lost": beyond > 0,
            "wrong version": any(one.version not in {death.own} | others for one in own if one.good),
            "detected late": detect > DETECT_SECONDS,
            "recovered late": recover > load + RECOVER_SECONDS,
            "loaded slowly": before > 0.0 and load > SLOW_LOAD * before,
        }
        figures = {
            "failed": len(failed),
            "in flight": in_flight,
            "failed beyond": beyond,
            "detect s": detect,
            "recover s": recover,
            "load s": load,
            "recover beyond load s": recover - load,
        }
        yield Trial(_true(short), figures)


def illness_trials(sent: Sequence[Sent], illnesses: Sequence[Illness]) -> Iterator[Trial]:
    """Judge each illness by the requests until the next one."""
    for illness, own in zip(illnesses, _parts(sent, [one.began for one in illnesses]), strict=True):
        failed, eject = sum(not one.good for one in own), _until(illness.seen, illness.began)
        back, amplified = _until(illness.again, illness.healed), illness.calls / max(1.0, illness.requests)
        short = {
            "lost": failed > FAILED,
            "ejected late": eject > EJECT_SECONDS,
            "did not return": illness.again is None,
            "amplified": amplified > AMPLIFICATION,
        }
        figures = {
            "failed": failed,
            "failed share": failed / max(1, len(own)),
            "eject s": eject,
            "return s": back,
            "amplification": amplified,
        }
        yield Trial(_true(short), figures)


def _parts(sent: Sequence[Sent], begins: Sequence[float]) -> Iterator[Sequence[Sent]]:
    """The requests of each trial: all that had not ended when it began, up to those due when the next one
    begins. `sent` is in the order of `due`."""
    for begin, end in pairwise([*begins, float("inf")]):
        early = bisect_left(sent, begin - 60.0, key=_due)
        late = bisect_left(sent, end, key=_due)
        yield [one for one in sent[early:late] if one.ended > begin]


_due: Callable[[Sent], float] = lambda one: one.due  # noqa: E731


def _may_answer(one: Sent, swap: Swap) -> frozenset[int | None]:
    found: set[int | None] = set()
    if one.sent < swap.asked:
        found.add(swap.before)
    if one.ended > swap.asked and one.sent < swap.settled:
        found |= swap.meanwhile
    if one.ended > swap.settled:
        found.add(swap.after)
    return frozenset(found)


def _first_answer(sent: Sequence[Sent], death: Death) -> float:
    """Of the own version, to a request that was sent after the death was seen."""
    since = death.at if death.seen is None else death.seen
    own = (one.ended for one in sent if one.good and one.version == death.own and one.sent > since)
    return min(own, default=float("inf"))


def _until(moment: float | None, since: float) -> float:
    return float("inf") if moment is None else moment - since


def _true(short: Mapping[str, bool]) -> tuple[str, ...]:
    return tuple(word for word, so in short.items() if so)
