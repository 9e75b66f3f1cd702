"""Which of a sub-model's replicas to ask: the power of two choices (Mitzenmacher, 2001)."""

from collections.abc import Sequence

import numpy as np

from fastserve.router.replicas import Replica

_draw = np.random.default_rng()


def pick(replicas: Sequence[Replica], now: float) -> Replica | None:
    """Of two ready ones drawn at random the less busy one; those that were left out for how they answered
    only where there are no others, so that a pool never ejects itself. `now` is the loop's time."""
    ready = [one for one in replicas if one.ready]
    usable = [one for one in ready if one.conduct.ejected is None] or ready
    if len(usable) <= 1:
        return usable[0] if usable else None
    first, second = usable if len(usable) == 2 else _two(usable)
    lead = lead_of(first, second, now)
    if lead == 0.0:
        return first if _draw.random() < 0.5 else second
    return first if lead > 0.0 else second


def _two(replicas: list[Replica]) -> list[Replica]:
    """Two different ones. By hand, because the generator's own choice costs as much as all the rest."""
    one = int(_draw.random() * len(replicas))
    other = int(_draw.random() * (len(replicas) - 1))
    return [replicas[one], replicas[other + 1 if other >= one else other]]


def lead_of(first: Replica, second: Replica, now: float) -> float:
    """By how many calls the second one is busier: by those under way from here, and by the queues that both
    told, measured in the time that a call takes. Less than half a call is as good as none."""
    lead = float(second.in_flight - first.in_flight)
    waits = second.conduct.queue(now) - first.conduct.queue(now)
    call = (first.conduct.service + second.conduct.service) / 2.0
    if waits and call:
        lead += waits / call
    return lead if abs(lead) >= 0.5 else 0.0
