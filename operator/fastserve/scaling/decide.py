"""How many replicas one sub-model is to have: one pure function of what was seen.

    how much comes      the mean over a minute; at once what shorter windows surely show (their rate less
                        two standard deviations; as they are where requests wait too long, which is proof
                        enough); over the load time a trend, where it beats none
    how much one does   the pace that it keeps while requests wait, as learnt; else what is under way
    how many            staffing.py: 95 of 100 wait no longer than the target
    up                  at once; also where requests wait too long, whatever was reckoned
    down                what was enough for the most that came during the delay, and some more; where more
                        than 5 of 100 waited too long, for the most that came in the whole history
    batches             who waits only for the batch before to end waits as long with more replicas: they are
                        kept half busy, no less
    to zero             when nothing came for idle_seconds, with every router heard
    holds               where data is missing; with a part of it there is no way down

It knows nothing of the past but the history and what `standing` says.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate
from math import ceil, sqrt

from fastserve.api.scaling import MAX_DELAY_SECONDS, ROW_SECONDS, TOLD_SECONDS, ScalingReason
from fastserve.scaling.forecasting import BIN_SECONDS, ahead, burst_of
from fastserve.scaling.samples import JUDGED_SHARE, Bounds, Sample, Standing, quantile_of
from fastserve.scaling.staffing import Server, replicas_for

MINUTE_SLOTS = 60 // ROW_SECONDS
SHORT_SLOTS = (2, 3, 5, 10)
"""Windows in which a step up is looked for. Of each the greatest slot is left out: one word alone, which may
be wrong, is no step."""
SURE = 2.0
"""Standard deviations of arrivals, which vary as `burst` tells, that count as noise in them."""
CHANCE = 3.0
"""As many of them may come by chance within PEAK_SLOTS; fewer replicas must serve that too."""
TOLERANCE = 0.15
"""And so much more at the least: small swings of load are not followed, nor is the reckoning that exact."""
LEAST_MEMORY_SECONDS = 60.0
"""Fewer are never thought of for what came in less: chance would be taken for the load."""
WAIT_SLOTS, LONG_WAIT_SLOTS = 3, 5
STALE_SECONDS = 10.0
"""Without a slot for so long nothing is known."""
UNPRESSED_SHARE = 0.25
"""Of its places that may be taken on average in a replica of which it is not known what it can do."""
PEAK_SLOTS = 10
"""The most that came is the greatest mean over so many slots."""
DRAIN_SECONDS = 10.0
"""In which what waits is to be worked off."""
PACE_SLOTS = 3
"""Slots over which a pace that nobody knows yet is reckoned."""
MOST_PLACES = 1024
BATCHES_BEFORE = 1.5
"""Whoever waits longer than so many batches take waits for more than the one before."""
EASY_SHARE = 0.5
"""Of what its replicas can do."""
LEAST_PACE = 1e-6
"""Requests per second; less is no pace."""
LOADS_KEPT = 2.0
"""A replica is kept for as long as so many loads take: to come back is dearer than to stay (ski rental)."""


@dataclass(frozen=True, slots=True)
class Wish:
    """How many replicas there are to be; `wanted` is before bounds."""

    replicas: int
    wanted: int
    reason: ScalingReason
    message: str


def decide(samples: Sequence[Sample], standing: Standing, bounds: Bounds, now: float) -> Wish:
    """The wish, given the slots of the history, the newest last."""
    seen = _Seen(samples, standing, bounds, now)
    wish = _bounded(_wanted(seen), standing, bounds)
    if wish.replicas > standing.replicas and standing.unplaced and standing.replicas >= bounds.least:
        kept = f"{standing.unplaced} of {standing.replicas} replicas find no node; {wish.message}"
        wish = replace(wish, replicas=standing.replicas, reason="Unplaced", message=kept)
    return wish


class _Seen:
    """The history with what is asked of it more than once."""

    def __init__(self, samples: Sequence[Sample], standing: Standing, bounds: Bounds, now: float) -> None:
        self.samples, self.standing, self.bounds, self.now = samples, standing, bounds, now
        self._low = [0.0, *accumulate(one.arrivals_low for one in samples)]
        self._high = [0.0, *accumulate(one.arrivals_high for one in samples)]
        self.burst = burst_of([one.arrivals_low for one in samples])
        self.burst_high = burst_of([one.arrivals_high for one in samples])
        self.burst_before = min(self.burst, self._burst_before(max(SHORT_SLOTS)))
        self.rate, self.rate_shown = self._rates_to_serve() if samples else (0.0, 0.0)
        self.wait = quantile_of(samples[-WAIT_SLOTS:], JUDGED_SHARE)
        self.waiting = min((one.waiting for one in samples[-2:]), default=0.0) + standing.held
        loads = LOADS_KEPT * standing.load_seconds
        self.delay = min(max(bounds.down_delay_seconds, loads), MAX_DELAY_SECONDS)
        self.too_late = self._late(samples, bounds.target_seconds)
        """Whether too many waited too long over the history: to follow the load so closely was wrong, and the
        most that came in all of it counts before there are fewer."""

    def _late(self, samples: Sequence[Sample], seconds: float) -> bool:
        """Whether 95 of 100 waited longer than that, and longer than for the batch before theirs to end: that
        they would do with more replicas too."""
        came = sum(one.arrivals_low for one in samples)
        takes = sum(one.busy_seconds for one in samples) / came if came else 0.0
        return quantile_of(samples, JUDGED_SHARE) > max(seconds, BATCHES_BEFORE * takes)

    def _trimmed(self, slots: int) -> float:
        """Requests per second over the newest slots but the greatest of them."""
        counts = [one.arrivals_low for one in self.samples[-slots:]]
        if len(counts) < 2:
            return sum(counts) / ROW_SECONDS
        return (sum(counts) - max(counts)) / ((len(counts) - 1) * ROW_SECONDS)

    def _rates_to_serve(self) -> tuple[float, float]:
        """Requests per second: what surely comes, and what comes if short windows are taken at their word."""
        trend = ahead(self._bins(), max(self.standing.load_seconds, BIN_SECONDS))
        sure = [self._trimmed(MINUTE_SLOTS), trend or 0.0]
        shown = list(sure)
        for slots in SHORT_SLOTS:
            if slots <= len(self.samples):
                seconds = (slots - 1) * ROW_SECONDS
                count = self._trimmed(slots) * seconds
                sure.append((count - SURE * sqrt(count * self._burst_before(slots))) / seconds)
                shown.append(count / seconds)
        return max(sure), max(shown)

    def _burst_before(self, slots: int) -> float:
        """How bursty arrivals were before the newest slots, where any came: a step is no burst."""
        before = [one.arrivals_low for one in self.samples[:-slots]]
        return burst_of(before) if any(before) else self.burst

    def _bins(self) -> list[float]:
        per = round(BIN_SECONDS / ROW_SECONDS)
        first = len(self.samples) % per
        ends = range(first, len(self.samples) + 1, per)
        return [(self._low[end] - self._low[end - per]) / BIN_SECONDS for end in ends if end >= first + per]

    def within(self, seconds: float) -> Sequence[Sample]:
        slots = ceil(seconds / ROW_SECONDS)
        return self.samples[-slots:]

    def peak(self) -> float:
        """The greatest mean over PEAK_SLOTS in `remembered`, by the greater book."""
        return self._peak_of(self._high)

    def peak_with_chance(self) -> float:
        """As `peak`, and as much more as chance may bring."""
        peak = self.peak()
        chance = CHANCE * sqrt(peak * self.burst_high / (PEAK_SLOTS * ROW_SECONDS))
        return peak + max(chance, TOLERANCE * peak)

    @property
    def remembered(self) -> float:
        """Seconds in which the most that came counts before there are fewer."""
        whole = len(self.samples) * float(ROW_SECONDS)
        return whole if self.too_late else min(whole, max(self.delay, LEAST_MEMORY_SECONDS))

    def peak_inside(self) -> float:
        """As `peak`, of requests under way."""
        return self._peak_of([0.0, *accumulate(one.busy_seconds for one in self.samples)])

    def _peak_of(self, sums: Sequence[float]) -> float:
        slots = min(PEAK_SLOTS, len(self.samples))
        first = max(slots, len(self.samples) - ceil(self.remembered / ROW_SECONDS))
        most = max(sums[end] - sums[end - slots] for end in range(first, len(sums)))
        return most / (slots * ROW_SECONDS)

    @cached_property
    def server(self) -> Server | None:
        """What one replica can do, as learnt, or as it does just now while requests wait."""
        pace = self.standing.pace if self.standing.pace > LEAST_PACE else self._pace_under_way()
        return Server(pace, self._places(pace)) if pace > LEAST_PACE else None

    @cached_property
    def nearly_late(self) -> bool:
        """Whether waits of late are too near to the target for fewer replicas."""
        return self._late(self.within(PEAK_SLOTS * ROW_SECONDS), self.bounds.target_seconds / 2.0)

    def waits_for_batches(self, ready: int) -> bool:
        """Whether so many replicas are less than half busy, and who waits does so for the batch before to
        end."""
        server = self.server
        easy = server is not None and self.rate < EASY_SHARE * server.pace * ready
        windows = (self.samples[-WAIT_SLOTS:], self.samples[-MINUTE_SLOTS:])
        return easy and not all(self._late(one, self.bounds.target_seconds) for one in windows)

    def _places(self, pace: float) -> int:
        """How many one replica computes at once, by Little's law: its pace times what one takes. More that it
        lets in only wait in Triton."""
        came = self._low[-1]
        if not came:
            return max(1, self.standing.limit)
        takes = sum(one.busy_seconds for one in self.samples) / came
        return max(1, min(round(pace * takes), self.standing.limit or MOST_PLACES))

    def _pace_under_way(self) -> float:
        """Requests per second and replica that were worked off in the newest slots, where so many waited that
        each waits for a second or longer: what came, less what more of it waits. Some always wait for the
        batch before theirs; that tells nothing of what a replica can do."""
        run = self.samples[-PACE_SLOTS:]
        if len(run) < PACE_SLOTS or not self.standing.ready:
            return 0.0
        came = sum(one.arrivals_low for one in run[1:])
        seconds = (len(run) - 1) * ROW_SECONDS
        worked_off = (came + run[0].waiting - run[-1].waiting) / seconds
        if min(one.waiting for one in run) < max(worked_off, 1.0):
            return 0.0
        return worked_off / self.standing.ready

    @property
    def has_settled(self) -> bool:
        """Whether there were as many replicas all the time that is remembered, where that is known."""
        return all(one.replicas in (0, self.standing.replicas) for one in self.within(self.remembered))

    def covers(self, seconds: float) -> bool:
        """Whether the history reaches so far back, without holes and with every router heard."""
        slots = ceil(seconds / ROW_SECONDS)
        some = self.samples[-slots:]
        whole = len(some) == slots and some[-1].at - some[0].at <= (slots - 0.5) * ROW_SECONDS
        return whole and all(one.heard >= 1.0 for one in some)


def _wanted(seen: _Seen) -> Wish:
    """The wish before bounds."""
    standing, samples = seen.standing, seen.samples
    now = standing.replicas
    if now == 0 and standing.held:
        return _asleep(seen)
    if not samples or seen.now - (samples[-1].at + ROW_SECONDS) > STALE_SECONDS + standing.lag:
        return Wish(now, now, "MetricsMissing", "no router told its load of late; nothing is changed")
    if now == 0:
        return _asleep(seen)
    up = _up(seen)
    if up is not None:
        return up
    heard = min(one.heard for one in samples[-WAIT_SLOTS:])
    if heard < 1.0:
        return Wish(
            now, now, "MetricsPartial", f"{heard:.0%} of the routers were heard; none go on that word"
        )
    return _down(seen)


def _asleep(seen: _Seen) -> Wish:
    held, server, replicas = seen.standing.held, seen.server, 1
    if not held:
        return Wish(0, 0, "Asleep", "nobody asks for it")
    if server is not None:
        replicas = max(1, ceil(held / (server.pace * DRAIN_SECONDS)))
    return Wish(replicas, replicas, "Woken", f"{_requests(held)} held for it")


def _up(seen: _Seen) -> Wish | None:
    """More replicas, and why; None where there is no reason."""
    late = _waits_too_long(seen, seen.standing.ready)
    most = max(_reasons_for_more(seen, late=late), key=lambda wish: wish.replicas, default=None)
    return most if most is not None and most.replicas > seen.standing.replicas else None


def _reasons_for_more(seen: _Seen, *, late: bool) -> Iterator[Wish]:
    """What speaks for so many; `late` says that requests wait too long."""
    standing, server, target = seen.standing, seen.server, seen.bounds.target_seconds
    if server is not None:
        rate = seen.rate_shown if late else seen.rate
        need = replicas_for(rate, server, target, seen.burst_before)
        yield Wish(need, need, "Demand", f"{_load(rate, server)} takes {need}")
        pressed = ceil((rate + seen.waiting / DRAIN_SECONDS) / server.pace)
        text = f"{_requests(seen.waiting)} waiting and {_load(rate, server)} take {pressed}"
        yield Wish(pressed, pressed, "Backlog", text)
    if late and standing.ready >= standing.replicas:
        more = standing.replicas + max(1, ceil(standing.replicas / 4))
        text = f"95 of 100 waited up to {seen.wait:.3f} s, more than {target:g} s"
        yield Wish(more, more, "QueueWait", text)


def _waits_too_long(seen: _Seen, ready: int) -> bool:
    """Of late and for a while, with so many replicas; of one whose pace is not known at once."""
    target = seen.bounds.target_seconds
    if (
        seen.wait <= target
        or seen.waits_for_batches(ready)
        or not any(sum(one.waits) for one in seen.samples[-2:])
    ):
        return False
    return seen.server is None or quantile_of(seen.samples[-LONG_WAIT_SLOTS:], JUDGED_SHARE) > target


def _down(seen: _Seen) -> Wish:
    """Fewer replicas, or as many as there are, and why."""
    bounds, now = seen.bounds, seen.standing.replicas
    if bounds.least == 0 and _idle(seen):
        return Wish(0, 0, "Idle", f"nobody asked for it in {bounds.idle_seconds:g} s")
    need = _enough(seen) if now > max(1, bounds.least) else now
    if need >= now:
        return Wish(now, now, "Steady", _told(seen))
    doubt = _doubt(seen, need)
    if doubt is not None:
        return doubt
    came = f"what came in {seen.remembered:g} s, at most {seen.peak():.1f} requests/s"
    text = f"{need} would have served {came}"
    return Wish(need, need, "Eased", text)


def _doubt(seen: _Seen, need: int) -> Wish | None:
    """Why there are to be no fewer although `need` would do."""
    now = seen.standing.replicas
    if not seen.covers(seen.delay + PEAK_SLOTS * ROW_SECONDS):
        return Wish(now, now, "Starting", f"fewer are thought of when all were heard for {seen.delay:g} s")
    if seen.standing.ready != now:
        return Wish(now, now, "Stabilising", f"{seen.standing.ready} of {now} replicas take requests")
    if seen.nearly_late or _waits_too_long(seen, need):
        return Wish(now, now, "Stabilising", f"requests wait; {_told(seen)}")
    return None


def _enough(seen: _Seen) -> int:
    """Replicas that would have served the most that came during what is remembered."""
    server, target = seen.server, seen.bounds.target_seconds
    if server is not None:
        burst = max(seen.burst, seen.burst_high)
        # What has just begun to come is more than the mean of PEAK_SLOTS tells yet.
        most = max(seen.peak_with_chance(), seen.rate_shown)
        need = replicas_for(most, server, target, burst)
        if quantile_of(seen.within(PEAK_SLOTS * ROW_SECONDS), JUDGED_SHARE) > target / 2.0:
            # What waits, waits for the batch before; with half busy ones it would do no more than that.
            need = max(need, ceil(most / (EASY_SHARE * server.pace)))
        return max(need, ceil((seen.rate_shown + seen.waiting / DRAIN_SECONDS) / server.pace))
    # What one can do is not known: as long as few of its places are taken it does it easily. One at a time,
    # and that it did it easily is known of as many as there are.
    if not seen.has_settled:
        return seen.standing.replicas
    places = max(1.0, UNPRESSED_SHARE * seen.standing.limit)
    return max(seen.standing.replicas - 1, ceil(seen.peak_inside() / places))


def _idle(seen: _Seen) -> bool:
    some = seen.within(seen.bounds.idle_seconds)
    standing = seen.standing
    # Replicas say themselves whether anything came of late; before that, only slots do.
    if standing.held or standing.stirred or standing.lag > TOLD_SECONDS:
        return False
    if not standing.ready or not standing.proved:
        return False
    if not seen.covers(seen.bounds.idle_seconds):
        return False
    return not any(one.arrivals_high or one.waiting or one.busy_seconds for one in some)


def _bounded(wish: Wish, standing: Standing, bounds: Bounds) -> Wish:
    if wish.replicas < bounds.least and standing.replicas <= bounds.least:
        text = f"at least {bounds.least} are to run; {wish.message}"
        return replace(wish, replicas=bounds.least, reason="AtLeast", message=text)
    if wish.replicas < bounds.least:
        return replace(wish, replicas=bounds.least)
    if wish.replicas > bounds.most:
        text = f"at most {bounds.most} may run; {wish.message}"
        return replace(wish, replicas=bounds.most, reason="AtMost", message=text)
    return wish


def _load(rate: float, server: Server) -> str:
    return f"{rate:.1f} requests/s at {server.pace:.1f} per replica"


def _requests(count: float) -> str:
    return "1 request" if count == 1 else f"{count:.0f} requests"


def _told(seen: _Seen) -> str:
    server = seen.server
    load = _load(seen.rate, server) if server else f"{seen.rate:.1f} requests/s, pace of a replica not known"
    text = f"{load}; 95 of 100 waited up to {seen.wait:.3f} s"
    if seen.too_late:
        text += f"; over the last {seen.remembered:g} s more than 5 of 100 waited too long"
    if seen.bounds.least == 0 and seen.standing.lag > TOLD_SECONDS:
        late = f"load is told {seen.standing.lag:g} s late"
        text += f"; {late}, and nothing goes to sleep where that is more than {TOLD_SECONDS} s"
    return text
