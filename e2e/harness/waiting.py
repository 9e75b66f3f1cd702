"""Waiting for something to become so, with a deadline and the last reason why it was not."""

import time
from collections.abc import Callable
from typing import TypeVar

Found = TypeVar("Found")
TICK_SECONDS = 0.25


def eventually(look: Callable[[], Found | None], seconds: float, what: str) -> Found:
    """The first answer of `look` that is neither None nor False. An AssertionError that it raises, or a key
    or an entry that is not there (a status not written yet), counts as "not yet", and the last one is told
    when the time is over."""
    end, last = time.monotonic() + seconds, ""
    while True:
        try:
            found, last = look(), ""
        except (AssertionError, LookupError) as error:
            found, last = None, f"{type(error).__name__}: {error}"
        if found is not None and found is not False:
            return found
        if time.monotonic() >= end:
            raise AssertionError(f"after {seconds:.0f} s not yet: {what}" + (f" ({last})" if last else ""))
        time.sleep(TICK_SECONDS)


def throughout(look: Callable[[], None], seconds: float) -> int:
    """Call `look` again and again for so long; it raises where something is not so. Returns how often."""
    end, times = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        look()
        times += 1
        time.sleep(TICK_SECONDS)
    return times


def at_rest(look: Callable[[], Found], quiet_seconds: float = 2.0, seconds: float = 60.0) -> Found:
    """What `look` says once it has said the same for so long. An AssertionError after `seconds`."""
    last, since = look(), time.monotonic()

    def quiet() -> bool:
        nonlocal last, since
        now = look()
        if now != last:
            last, since = now, time.monotonic()
        return time.monotonic() - since >= quiet_seconds

    eventually(quiet, seconds, f"nothing changes for {quiet_seconds:g} s")
    return last
