"""The watch over this router's own Triton: asks it a tiny thing where nothing else proves that it answers,
and says when it is dead, so that who waits for it is sent elsewhere at once."""

import asyncio
from dataclasses import dataclass
from typing import Protocol

from fastserve.errors import BackendError, BackendOverloaded, BackendTimeout, BackendUnavailable
from fastserve.router.health import Event, own_pace, probe_due, probing
from fastserve.router.metrics import Metrics
from fastserve.router.oip import Scores
from fastserve.router.pulse import BUSY_SECONDS, SHORTEST_SECONDS, Pulse, Signs, is_silent
from fastserve.router.serving import PROBE_TEXT, OwnReplica
from fastserve.router.triton import Question
from fastserve.router.versions.trial import Serving

TICK_SECONDS = 0.1
QUIET_SECONDS = 0.25
"""Without any sign for so long, the server is asked whether it is live; that costs the model nothing."""
DOUBT_SECONDS = 0.5
"""After so long the engine's own socket is looked at."""
LAG_SECONDS = 0.25
"""A tick that comes so late was this process's own doing, or its machine's: no silence counts for a while."""


class Watched(Protocol):
    """What the watch needs of a Triton."""

    @property
    def pulse(self) -> Pulse: ...

    async def aside(self, question: Question, seconds: float) -> Scores:
        """An inference that is none of the requests'. Raises BackendError."""
        ...

    async def live(self, seconds: float) -> bool:
        """Whether it says in time that it is live. Raises BackendUnavailable where nobody listens."""
        ...


@dataclass(slots=True)
class _Probe:
    """A tiny inference under way. `begun` are the requests' inferences before it."""

    task: asyncio.Task[None]
    start: float
    begun: int
    alone: bool
    bound: float
    late: bool = False


class Vigil:
    """Watches one Triton for one replica, which it tells what happened."""

    def __init__(self, replica: OwnReplica, triton: Watched, metrics: Metrics) -> None:
        self._replica = replica
        self._triton = triton
        self._metrics = metrics
        self._probe: _Probe | None = None
        self._asking: asyncio.Task[None] | None = None
        self._live: bool | None = None
        self._ask_at = 0.0
        self._doubted = False
        self._counts_from = 0.0

    async def run(self) -> None:
        """Watch for ever."""
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as group:
            wake = loop.time()
            while True:
                now = loop.time()
                if now - wake > LAG_SECONDS:
                    self._counts_from = now + SHORTEST_SECONDS
                self._look(now, group)
                wake = now + TICK_SECONDS
                await asyncio.sleep(TICK_SECONDS)

    def _look(self, now: float, group: asyncio.TaskGroup) -> None:
        silence = self._triton.pulse.silence(now)
        if silence < DOUBT_SECONDS:
            self._doubted = False
        elif not self._doubted:
            self._doubted = True
            self._replica.doubt()
        if silence < QUIET_SECONDS:
            self._live = None
        elif self._asking is None and now >= self._ask_at:
            self._ask_at = now + SHORTEST_SECONDS
            self._asking = group.create_task(self._ask_server())
        self._replica.pace = own_pace(self._triton.pulse.takes)
        serving = self._replica.current
        if serving is not None and self._probe is None and self._wants_probe(now):
            self._start(serving, now, group)
        self._judge(now, silence)

    def _wants_probe(self, now: float) -> bool:
        """Where it is time to, and never in the way of requests that are answered."""
        health, pulse = self._replica.health, self._triton.pulse
        if not probe_due(health, now):
            return False
        return not pulse.in_flight or not health.ready or pulse.silence(now) >= pulse.patience

    def _start(self, serving: Serving, now: float, group: asyncio.TaskGroup) -> None:
        pulse, replica = self._triton.pulse, self._replica
        bound = pulse.bound
        # One that is not ready has its bound; the silence of one that is ready is judged as it goes on.
        seconds = 2.0 * max(BUSY_SECONDS, bound) if replica.ready else bound
        replica.health = probing(replica.health)
        pulse.probed_at = now
        task = group.create_task(self._infer(serving, seconds))
        self._probe = _Probe(task, now, pulse.begun, pulse.in_flight == 0, bound)

    async def _infer(self, serving: Serving, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        start = loop.time()
        event, outcome, was_ready = Event.ANSWERED, "answered", self._replica.ready
        try:
            await self._triton.aside(Question(serving.name, (PROBE_TEXT,), serving.output), seconds)
        except BackendOverloaded:
            event, outcome = Event.LATE, "overloaded"
        except BackendTimeout:
            # Behind requests that are slow; whether it is silent is judged elsewhere.
            event, outcome = Event.LATE if was_ready else Event.FAILED, "late"
        except BackendUnavailable:
            event, outcome = Event.UNREACHABLE, "unreachable"
        except BackendError:
            event, outcome = Event.FAILED, "failed"
        else:
            self._answered(loop.time(), loop.time() - start)
        self._end_probe()
        self._metrics.probes(self._replica.member, outcome).inc()
        if self._replica.current is serving:
            self._replica.note(event)

    def _answered(self, now: float, seconds: float) -> None:
        pulse, probe = self._triton.pulse, self._probe
        pulse.sign(now)
        pulse.latencies.add(seconds)
        if probe is not None and probe.alone and probe.begun == pulse.begun:
            pulse.alone.append(seconds)

    def _end_probe(self) -> None:
        self._probe, self._triton.pulse.probed_at = None, None

    async def _ask_server(self) -> None:
        try:
            live = await self._triton.live(SHORTEST_SECONDS)
        except BackendUnavailable:
            live = False
            if self._replica.ready:
                self._replica.note(Event.UNREACHABLE)
        self._live = live
        self._asking = None

    def _judge(self, now: float, silence: float) -> None:
        probe, pulse = self._probe, self._triton.pulse
        if not silence or now < self._counts_from:
            return
        alone = probe is not None and probe.alone and pulse.begun == probe.begun
        bound = probe.bound if probe else pulse.bound
        if probe is not None and alone and silence >= bound and not probe.late and self._replica.ready:
            probe.late = True
            self._replica.note(Event.FAILED)
        if not (self._replica.ready or pulse.in_flight):
            return
        if is_silent(Signs(silence, self._live, alone, now < self._replica.vouched_until, bound)):
            self._declare_silent(silence)

    def _declare_silent(self, silence: float) -> None:
        if self._probe is not None:
            self._probe.task.cancel()
            self._end_probe()
        self._replica.give_up(f"it has answered nothing for {silence:.1f} s")
