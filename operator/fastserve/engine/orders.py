"""What a rank process is told when it is started, and the environment it gets. Standard library only:
one end of it runs in Triton's Python stub."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from fastserve.engine.devices import VISIBLE, RankDevice

TRITON_ONLY = ("LD_LIBRARY_PATH", "PYTHONPATH", "PYTHONHOME")
"""Variables that make Triton's own libraries and Python win over those of the engine's environment."""


@dataclass(frozen=True)
class RankOrder:
    """One rank's orders. `device` is torch's name inside the rank; `rendezvous` the file through which the
    ranks find each other; `channel` and `lifeline` are inherited file descriptors."""

    number: int
    size: int
    task: str
    checkpoint: str
    device: str
    backend: str
    max_tokens: int | None
    threads: int
    timeout_seconds: int
    rendezvous: str
    channel: int
    lifeline: int

    @staticmethod
    def from_json(text: str) -> "RankOrder":
        return RankOrder(**json.loads(text))

    def to_json(self) -> str:
        return json.dumps(asdict(self))


def rank_environment(environ: Mapping[str, str], device: RankDevice, threads: int) -> dict[str, str]:
    """The environment of a rank: the parent's without Triton's own paths, one visible device, and no more
    threads than the rank was given."""
    kept = {name: value for name, value in environ.items() if name not in TRITON_ONLY}
    bounds = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS"), str(threads))
    # Ranks of one group share a machine; any other interface may be down or filtered.
    loopback = {} if device.entry else {"GLOO_SOCKET_IFNAME": "lo"}
    return {**kept, **bounds, **loopback, VISIBLE: device.entry, "HF_HUB_OFFLINE": "1"}
