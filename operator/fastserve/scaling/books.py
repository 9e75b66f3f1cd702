"""The two books of one sub-model's load: what its own routers say that came, and what doors say they sent.

Where they agree either is right. Where they do not, one is wrong, broken or lying: then there are to be more
replicas only for what both say, and fewer only for what neither says.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from fastserve.api.scaling import ROW_SECONDS, LoadRow
from fastserve.scaling.samples import BUCKETS, JUDGED_SHARE, Sample, quantile_of

CHECK_SLOTS = 10
"""The two books are compared over so many slots."""
DIFFERS, DIFFERS_BY = 1.25, 10.0
"""Factor, and requests, by which they must differ to be told apart."""
ODD_WAITS = 5.0
"""How many times longer than in all others requests wait in a replica whose word is not taken."""
ODD_SECONDS = 0.05
OPEN_SECONDS = 20.0
"""Slots so much older than the newest, or less, are added up anew each time: a row may come late."""


@dataclass(slots=True)
class _Slot:
    """The rows of one slot, by router."""

    own: dict[str, LoadRow] = field(default_factory=dict)
    doors: dict[str, LoadRow] = field(default_factory=dict)

    def sent_to(self, replica: str) -> int:
        return sum(row.sent.get(replica, 0) for row in self.doors.values())


_NOTHING = _Slot()


class Books:
    """Of one sub-model."""

    def __init__(self) -> None:
        self._slots: dict[int, _Slot] = {}
        self._closed: dict[int, Sample] = {}
        """What was added up of slots that are over."""
        self._odd: dict[int, frozenset[str]] = {}
        """Whose waits of a slot do not count, as long as nothing new is told of it or those before."""

    def enter(self, router: str, slot: int, row: LoadRow) -> None:
        """A row, in the place of what the router said before of the same slot."""
        rows = self._slots.setdefault(slot, _Slot())
        book = rows.own if row.own else rows.doors
        if book.get(router) == row:
            return
        book[router] = row
        self._closed.pop(slot, None)
        for later in range(slot, slot + CHECK_SLOTS * ROW_SECONDS, ROW_SECONDS):
            self._odd.pop(later, None)

    def forget(self, oldest: float) -> None:
        """Drop what is older."""
        for kept in (self._slots, self._closed, self._odd):
            for slot in [one for one in kept if one < oldest]:
                del kept[slot]

    def samples(self, slots: Sequence[int], replicas: Collection[str]) -> list[Sample]:
        """The samples of these slots, which ascend; `replicas` are the member's own routers, as known."""
        last = slots[-CHECK_SLOTS:]
        shares = {name: self._confirmed(name, last) for name in replicas}
        differ = {name: share for name, share in shares.items() if share is not None}
        since = slots[-1] - OPEN_SECONDS if slots else 0.0
        found: list[Sample] = []
        for end, slot in enumerate(slots, 1):
            sample = self._closed.get(slot)
            if sample is None:
                if slot not in self._odd:
                    self._odd[slot] = self._odd_waits(slots[max(0, end - CHECK_SLOTS) : end])
                sample = self._sample(slot, replicas, differ, self._odd[slot])
                # A slot of which no door told waits until replicas are known to be believed.
                if slot <= since and (self._slots.get(slot, _NOTHING).doors or not differ):
                    self._closed[slot] = sample
            found.append(sample)
        return found

    def _sample(
        self, slot: int, replicas: Collection[str], differ: Mapping[str, float], odd: Collection[str]
    ) -> Sample:
        """`differ` are the replicas whose word is doubted, with the share of it that doors confirm."""
        rows = self._slots.get(slot, _NOTHING)
        low = high = busy = 0.0
        for name in replicas:
            row, sent = rows.own.get(name), rows.sent_to(name)
            came = sent if row is None else row.arrivals
            if name in differ and not rows.doors:  # doors tell of half a minute, a new reader hears no more
                sent = round(came * differ[name])
            low += min(came, sent) if name in differ else came
            high += max(came, sent) if name in differ else came
            # Of one that tells less than was sent to it as much more runs.
            less = row is not None and name in differ and 0 < came < sent
            busy += row.busy_seconds * (sent / came if less else 1.0) if row is not None else 0.0
        told = [row for name, row in rows.own.items() if name not in odd]
        waits = [row.waits for row in told if len(row.waits) == BUCKETS]
        unsent = sum(self._unsent(slot, router, row) for router, row in rows.doors.items())
        return Sample(
            at=float(slot),
            arrivals_low=max(0.0, low + unsent),
            arrivals_high=high + max(0, unsent),
            busy_seconds=busy,
            waiting=float(sum(row.waiting for row in told)),
            waits=_added(waits),
            replicas=sum(name in rows.own for name in replicas),
        )

    def _unsent(self, slot: int, door: str, row: LoadRow) -> int:
        """Requests that came to a door and went nowhere, because it holds them; below 0 those that it had
        held and sent."""
        before = self._slots.get(slot - ROW_SECONDS, _NOTHING).doors.get(door)
        held_before = before.waiting if before is not None else 0
        return min(row.waiting, max(-held_before, row.arrivals - sum(row.sent.values())))

    def _confirmed(self, replica: str, slots: Sequence[int]) -> float | None:
        """The share of what a replica says that came, which doors say they sent; None where they agree."""
        came = sent = 0
        for slot in slots:
            rows = self._slots.get(slot, _NOTHING)
            row = rows.own.get(replica)
            came += row.arrivals if row is not None else 0
            sent += rows.sent_to(replica)
        if abs(came - sent) <= DIFFERS_BY or max(came, sent) <= DIFFERS * min(came, sent):
            return None
        return sent / came if came else 1.0

    def _odd_waits(self, slots: Sequence[int]) -> frozenset[str]:
        """Replicas in which requests wait many times longer than in every other one, in the last of these
        slots and those before: that is theirs alone, and more replicas would not help. Of two it cannot be
        told which is odd, and who has just come is no witness: beside the one whose queue called them, new
        ones have none."""
        newest = self._slots.get(slots[-1], _NOTHING).own.values()
        if not any(row.waiting or any(row.waits[1:]) for row in newest):
            return frozenset()  # nobody waits longer than the shortest target
        known = self._slots.get(slots[0], _NOTHING).own
        rows: dict[str, list[Sequence[int]]] = {}
        for slot in slots:
            for name, row in self._slots.get(slot, _NOTHING).own.items():
                if name in known and len(row.waits) == BUCKETS:
                    rows.setdefault(name, []).append(row.waits)
        if len(rows) < 3:
            return frozenset()
        added = {name: Sample(0.0, waits=_added(told)) for name, told in rows.items()}
        waits = {name: quantile_of([one], JUDGED_SHARE) for name, one in added.items()}
        *_, second, longest = sorted(waits.values())
        if longest <= max(ODD_SECONDS, ODD_WAITS * second):
            return frozenset()
        return frozenset(name for name, wait in waits.items() if wait == longest)


def _added(waits: Sequence[Sequence[int]]) -> tuple[float, ...]:
    return tuple(map(float, map(sum, zip(*waits, strict=True)))) or (0.0,) * BUCKETS
