"""What the load generator writes and the scoring reads."""

import msgspec

NO_VERSION = -1
"""Of an answer that is none, or has wrong numbers."""
LEARNT = 8
"""Of an answer that was learnt by asking while all was well; the numbers after it are of further versions."""


class Sent(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One request: when it was due, when it was sent, when it ended, the status (0: none), whose answer, and
    what was said where there is none."""

    due: float
    sent: float
    ended: float
    status: int
    version: int
    why: str = ""

    @property
    def good(self) -> bool:
        return self.status == 200 and self.version != NO_VERSION


class Generated(msgspec.Struct, frozen=True):
    """What the generator did. `late` is how far behind its own schedule it was at worst, seconds."""

    sent: list[Sent]
    cpu_seconds: float
    late: float
