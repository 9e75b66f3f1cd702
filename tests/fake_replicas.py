"""Replicas that say what a test wants."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import repeat

import numpy as np

from fastserve.errors import BackendError
from fastserve.router.outliers import Conduct
from fastserve.router.replicas import MemberCall, MemberOutput

OUTPUT = MemberOutput((), np.zeros((1, 2), np.float32), "1")


@dataclass
class Place:
    """A replica that says what is next in `says`: an output, or an error, after `seconds`."""

    says: Iterator[MemberOutput | BackendError] = field(default_factory=lambda: repeat(OUTPUT))
    seconds: float = 0.01
    in_flight: int = 0
    ready: bool = True
    labels: tuple[str, ...] = ()
    version: str = ""
    asked: int = 0
    conduct: Conduct = field(default_factory=Conduct)
    instance: str = "place"

    async def infer(self, call: MemberCall) -> MemberOutput:
        self.asked += 1
        said = next(self.says)
        await asyncio.sleep(self.seconds)
        if isinstance(said, BackendError):
            raise said
        return said
