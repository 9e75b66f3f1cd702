"""Whether a backend may be asked. Pure: a state, an event and `now` in, the next state out.

    Unknown ──answered──▶ Healthy ──failed──▶ Suspect ──failed twice──▶ Ejected ──answered──▶ Healthy
                             └──────── unreachable, silent ──────────────▲

Requests that were answered count as well as probes do, so that a busy backend is not probed. An ejected one
is probed at once and then less and less often, until it answers.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

from fastserve.api.state import Health

EJECT_AFTER = 3
"""Failures in a row."""
IDLE_PROBE_SECONDS = 0.6
"""Of an own Triton: with a second of silence before the verdict, a dead one is known within two."""
PROBE_SHARE = 0.05
"""Of a model's time that probes may take; one that takes long is asked more seldom."""
MOST_IDLE_SECONDS = 10.0
SUSPECT_PROBE_SECONDS = 0.25
BACKOFF = 1.5


class Event(StrEnum):
    ANSWERED = "Answered"
    FAILED = "Failed"
    """An answer that is an error of the backend, or a probe without an answer in time."""
    LATE = "Late"
    """A request ran into its own deadline: no proof of anything, but a reason to look."""
    UNREACHABLE = "Unreachable"
    """Nobody listens, the connection broke, or the engine lost a rank."""
    SILENT = "Silent"
    """Who listens answers nothing at all any more: frozen, or dead behind a server that is not."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How often to look, in seconds: at one that is idle, and at the most seldom at one that is ejected."""

    idle: float = IDLE_PROBE_SECONDS
    most: float = 2.0
    """An ejected one that came back is to be seen soon."""


OWN_PACE = Pace()


def own_pace(takes: float) -> Pace:
    """At an own Triton whose model takes so many seconds for something tiny."""
    return Pace(idle=max(IDLE_PROBE_SECONDS, min(takes / PROBE_SHARE, MOST_IDLE_SECONDS)))


PEER_PACE = Pace(idle=0.75, most=1.0)
"""With the second that a peer has for its answer, one that is frozen is known within two. Peers tell of
themselves without asking a model, so that looking costs nearly nothing."""


@dataclass(frozen=True, slots=True)
class HealthState:
    """`probe_at` is when the next probe is due, in the seconds of `now`."""

    health: Health = "Unknown"
    failures: int = 0
    probe_at: float = 0.0

    @property
    def ready(self) -> bool:
        return self.health in ("Healthy", "Suspect")


def step(state: HealthState, event: Event, now: float, pace: Pace = OWN_PACE) -> HealthState:
    """The state after an event at `now`, seconds of a clock that only goes forward."""
    if event is Event.ANSWERED:
        return HealthState("Healthy", 0, now + pace.idle)
    if state.health == "Ejected":
        # News of requests that were on their way when it went; only a probe's tells something new.
        return state
    if event is Event.LATE:
        return replace(state, probe_at=min(state.probe_at, now))
    failures = state.failures + 1
    if event in (Event.UNREACHABLE, Event.SILENT):
        # What failed while it was there says nothing of how long it will be gone.
        failures = 1 if state.ready else failures
        return HealthState("Ejected", failures, now + pause(failures, pace))
    if state.ready and failures < EJECT_AFTER:
        return HealthState("Suspect", failures, now + SUSPECT_PROBE_SECONDS)
    failures = 1 if state.ready else failures
    health: Health = "Unknown" if state.health == "Unknown" else "Ejected"
    return HealthState(health, failures, now + pause(failures, pace))


def pause(failures: int, pace: Pace) -> float:
    """Seconds until the next probe after so many in vain: a quarter, and half as much again each time."""
    return min(pace.most, SUSPECT_PROBE_SECONDS * BACKOFF ** min(failures - 1, 32))


def spread(state: HealthState, now: float, draw: float) -> HealthState:
    """The probe of one that is not ready, up to a quarter earlier by `draw` (from [0, 1)), so that those who
    lost the same backend do not all look at it together."""
    if state.ready:
        return state
    return replace(state, probe_at=now + (state.probe_at - now) * (1.0 - draw / 4.0))


def probing(state: HealthState) -> HealthState:
    """An ejected backend while a probe is on its way; it is not ready before the probe answered."""
    return replace(state, health="Probing") if state.health == "Ejected" else state


def probe_due(state: HealthState, now: float) -> bool:
    return now >= state.probe_at
