"""What the machine has for replicas that come and go: memory, GPUs, ports.

needed  = the most that a replica of this version was seen to take, or else the planner's estimate
growing = what replicas that did not answer yet are still to take
one more fits where   available - growing - needed  >=  max(1 GiB, a tenth of the machine)
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fastserve.local.documents import RouterPlace
from fastserve.local.machine import Memory, memory_now
from fastserve.local.ports import free_ports

GIB = 1 << 30
RESERVED_PART = 10
"""One part of so many of the machine's memory stays free."""


@dataclass(eq=False)
class Replica:
    """A router and its Triton. `version` is the digest of what it loaded first, `estimate` the planner's of
    its memory; `patience` is how long its router may take to end, in seconds."""

    place: RouterPlace
    ports: tuple[int, ...]
    gpus: tuple[str, ...]
    version: str
    estimate: int
    patience: float
    answered: bool = False
    """Whether it was ready once: then what it takes tells what others will."""
    left_at: float | None = None
    """When it was told to end; by the loop's time."""
    ending: bool = False

    @property
    def router(self) -> str:
        """Name of its router's process."""
        return f"{self.place.instance}-router"

    @property
    def triton(self) -> str:
        return f"{self.place.instance}-triton"


class Room:
    """Shared by all pools. `gpus` may be taken, `ports` may not; `resident` is the memory that a replica
    takes now, in bytes."""

    def __init__(
        self,
        gpus: Sequence[str],
        ports: Sequence[int],
        resident: Callable[[Replica], int],
        memory: Callable[[], Memory] = memory_now,
    ) -> None:
        self.replicas: list[Replica] = []
        self._gpus, self._ports = tuple(gpus), tuple(ports)
        self._resident, self._memory = resident, memory
        self._seen: dict[str, int] = {}

    def free_gpus(self) -> tuple[str, ...]:
        taken = {gpu for replica in self.replicas for gpu in replica.gpus}
        return tuple(gpu for gpu in self._gpus if gpu not in taken)

    def free_ports(self, count: int) -> tuple[int, ...]:
        """Also those of processes that do not listen just now are none."""
        taken = {port for replica in self.replicas for port in replica.ports}
        return tuple(free_ports(count, but={*self._ports, *taken}))

    def note(self, replica: Replica) -> None:
        """Remember what it takes, where it has all that it needs."""
        if replica.answered:
            self._seen[replica.version] = max(self._seen.get(replica.version, 0), self._resident(replica))

    def lacks(self, version: str, estimate: int) -> str:
        """Why one more replica of that version does not fit; empty where it does."""
        for replica in self.replicas:
            self.note(replica)
        memory, needed = self._memory(), self._seen.get(version) or estimate
        free, reserve = memory.available - self._growing(), max(GIB, memory.total // RESERVED_PART)
        if free - needed >= reserve:
            return ""
        return (
            f"a replica takes about {_gib(needed)} of memory; {_gib(max(0, free))} are free, and"
            f" {_gib(reserve)} of them stay so"
        )

    def _growing(self) -> int:
        growing = [one for one in self.replicas if not one.answered and one.left_at is None]
        needed = ((one, self._seen.get(one.version) or one.estimate) for one in growing)
        return sum(max(0, most - self._resident(one)) for one, most in needed)


def _gib(size: int) -> str:
    return f"{size / GIB:.1f} GiB"
