"""Whether a backend may be asked. Pure: a state, an event and `now` in, the next state out.

    Unknown ──answered──▶ Healthy ──failed──▶ Suspect ──failed twice──▶ Ejected ──answered──▶ Healthy
                             └────────────── unreachable ───────────────────▲

Requests that were answered count as well as probes do, so that a busy backend is not probed. One that is
idle is probed every two seconds, a suspect or ejected one four times a second, until it answers.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

from fastserve.api.state import Health

EJECT_AFTER = 3
"""Failures in a row."""
IDLE_PROBE_SECONDS = 2.0
SUSPECT_PROBE_SECONDS = 0.25


class Event(StrEnum):
    ANSWERED = "Answered"
    FAILED = "Failed"
    """An answer that is an error of the backend, or a probe without an answer in time."""
    LATE = "Late"
    """A request ran into its own deadline: no proof of anything, but a reason to look."""
    UNREACHABLE = "Unreachable"
    """Nobody listens, the connection broke, or the engine lost a rank."""


@dataclass(frozen=True, slots=True)
class HealthState:
    """`probe_at` is when the next probe is due, in the seconds of `now`."""

    health: Health = "Unknown"
    failures: int = 0
    probe_at: float = 0.0

    @property
    def ready(self) -> bool:
        return self.health in ("Healthy", "Suspect")


def step(state: HealthState, event: Event, now: float) -> HealthState:
    """The state after an event at `now`, seconds of a clock that only goes forward."""
    if event is Event.ANSWERED:
        return HealthState("Healthy", 0, now + IDLE_PROBE_SECONDS)
    soon = now + SUSPECT_PROBE_SECONDS
    if event is Event.UNREACHABLE:
        return HealthState("Ejected", state.failures + 1, soon)
    if event is Event.LATE:
        return replace(state, probe_at=min(state.probe_at, now))
    failures = state.failures + 1
    if not state.ready:
        return HealthState("Unknown" if state.health == "Unknown" else "Ejected", failures, soon)
    return HealthState("Ejected" if failures >= EJECT_AFTER else "Suspect", failures, soon)


def probing(state: HealthState) -> HealthState:
    """An ejected backend while a probe is on its way; it is not ready before the probe answered."""
    return replace(state, health="Probing") if state.health == "Ejected" else state


def probe_due(state: HealthState, now: float) -> bool:
    return now >= state.probe_at
