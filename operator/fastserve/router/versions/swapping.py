"""Where an exchange of versions stands, as it is told to others."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Literal

from fastserve.api.state import SwapState
from fastserve.router.bookkeeping import rfc3339
from fastserve.router.loading import GOING, READY, Action, Kind, Seen
from fastserve.router.metrics import Metrics

Step = Literal["Fetching", "Leaving", "Loading", "Warming", "Canary", "Draining", "Unloading", "Returning"]
_STEPS: dict[Kind, Step] = {
    Kind.FETCH: "Fetching",
    Kind.CHECK: "Fetching",
    Kind.LEAVE: "Leaving",
    Kind.LOAD: "Loading",
    Kind.PROVE: "Warming",
    Kind.SHARE: "Canary",
    Kind.SWITCH: "Draining",
    Kind.UNLOAD: "Unloading",
}


class SwapClock:
    """Follows the steps of one router; `because` may be set to say more than the step does."""

    def __init__(self, metrics: Metrics, clock: Callable[[], float] = time.monotonic) -> None:
        self._metrics = metrics
        self._clock = clock
        self._entered = 0.0
        self.state: SwapState | None = None
        self.because = ""

    def take(self, action: Action, seen: Seen) -> None:
        """What the next action tells of the exchange; none where one version serves alone."""
        step = step_of(action, seen)
        before = self.state
        if before is not None and (step is None or step != before.phase):
            self._metrics.swap_phase(before.phase).observe(self._clock() - self._entered)
        if step is None:
            self.state, self.because = None, ""
            return
        because = self.because if step in ("Leaving", "Loading") and self.because else action.because
        if before is None or before.phase != step:
            self._entered = self._clock()
            since = rfc3339(datetime.now(UTC))
        else:
            since = before.since
        self.state = SwapState(phase=step, since=since, because=because)


def step_of(action: Action, seen: Seen) -> Step | None:
    """The step that an action belongs to; None where one version serves alone and nothing else is there."""
    held = any(
        state in (READY, *GOING) and name not in (seen.target, seen.stable)
        for name, state in seen.index.items()
    )
    elsewhere = seen.serving is not None and seen.serving != seen.target
    if seen.stable is None:
        return _without_candidate(action, held=held, elsewhere=elsewhere)
    if action.kind is Kind.REST:
        return "Canary" if seen.trial is not None else None
    return _waiting(seen) if action.kind is Kind.WAIT else _STEPS.get(action.kind, "Unloading")


def _without_candidate(action: Action, *, held: bool, elsewhere: bool) -> Step | None:
    if elsewhere:
        return "Returning"
    if not held or action.kind is Kind.REST:
        return None
    return "Draining" if action.kind is Kind.WAIT else "Unloading"


def _waiting(seen: Seen) -> Step:
    if seen.fetching:
        return "Fetching"
    if seen.away and not seen.drained:
        return "Leaving"
    if seen.target in seen.proving:
        return "Warming"
    return "Loading" if seen.serving != seen.target else "Draining"
