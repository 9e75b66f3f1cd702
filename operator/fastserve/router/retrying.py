"""Whether a call may be made once more. Pure.

Answers are handed on whole, so nothing of one that broke off has reached the caller; and an inference may be
asked twice. What must be bounded is how much is asked twice: when everything fails, retries would only add to
it (Envoy's retry budget: a fifth of the requests, and three at any rate).
"""

from fastserve.errors import BackendError, BackendOverloaded, BackendTimeout, BackendUnavailable

SLOTS, SLOT_SECONDS = 10, 1.0
"""A window of ten seconds."""
AT_LEAST = 3
"""Within the window, however few the requests were."""


class Fate:
    """What a request met on its way. After an engine died with it inside, it is asked once more in all,
    whatever else would allow it: it may be what kills."""

    __slots__ = ("_spent", "begun", "died")

    def __init__(self) -> None:
        self.begun = False
        """Whether any call for it may have been worked on. What was never begun may be asked elsewhere
        without a budget: it adds no work."""
        self.died = False
        self._spent = False

    def lost(self, *, again: bool) -> None:
        """An engine died with it inside; `again` where that was after it was asked once more."""
        self.died = True
        self._spent = self._spent or again

    def hedged(self) -> None:
        """It was asked once more before anything was known of the first one."""
        self._spent = True

    def may_be_asked(self) -> bool:
        """Whether it may be asked once more; if so, that is counted."""
        if not self.died:
            return True
        free, self._spent = not self._spent, True
        return free


class Budget:
    """How many extra calls `share` of the window's calls allow, and `at_least` so many; a share of 0 allows
    none. Methods take `now`, seconds of a clock that only goes forward."""

    def __init__(self, at_least: int = AT_LEAST) -> None:
        self._at_least = at_least
        self._slot = 0
        self._calls = [0] * SLOTS
        self._extra = [0] * SLOTS

    def called(self, now: float) -> None:
        """One call was made that is no extra one."""
        slot = int(now / SLOT_SECONDS)
        if slot != self._slot:
            self._turn(slot)
        self._calls[slot % SLOTS] += 1

    def take(self, now: float, share: float) -> bool:
        """Whether there may be one more extra call; if so, it is counted."""
        self._turn(int(now / SLOT_SECONDS))
        allowed = max(float(self._at_least), share * sum(self._calls)) if share > 0.0 else 0.0
        if sum(self._extra) + 1 > allowed:
            return False
        self._extra[self._slot % SLOTS] += 1
        return True

    def _turn(self, slot: int) -> None:
        """Forget the slots that are over."""
        for i in range(max(self._slot, slot - SLOTS) + 1, slot + 1):
            self._calls[i % SLOTS] = self._extra[i % SLOTS] = 0
        self._slot = max(self._slot, slot)


def worth_elsewhere(error: BackendError, *, trial: bool) -> bool:
    """Whether another replica may answer what one did not: where it is gone or has no room; any error of one
    that is only on trial, since it was us who doubted it. Time that is up is up everywhere."""
    if isinstance(error, (BackendUnavailable, BackendOverloaded)):
        return True
    return trial and not isinstance(error, BackendTimeout)
