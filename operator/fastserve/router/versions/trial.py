"""A version that gets a part of the requests, and how it bears them."""

from dataclasses import dataclass

from fastserve.router.health import EJECT_AFTER

PARTS = 1_000_000
"""A share is counted in millionths, so that no rounding adds up."""


@dataclass(frozen=True, slots=True)
class Serving:
    """One version that answered. `name` is its name in Triton; `width` is how many scores a text gets."""

    name: str
    digest: str
    version: str
    output: str
    labels: tuple[str, ...]
    width: int
    max_batch: int


@dataclass(slots=True)
class Trial:
    """Every 1/`share`-th request is the trial's, counted and not drawn. `failures` are those in a row."""

    serving: Serving
    share: float
    failures: int = 0
    lost: bool = False
    _turn: int = 0

    def takes(self) -> bool:
        """Whether the next request is the trial's."""
        self._turn += round(self.share * PARTS)
        if self._turn < PARTS:
            return False
        self._turn -= PARTS
        return True

    def failed(self, *, gone: bool) -> None:
        """A request that it did not answer; it is lost after three in a row, or where it is `gone`."""
        self.failures += 1
        self.lost = self.lost or gone or self.failures >= EJECT_AFTER
