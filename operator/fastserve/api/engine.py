"""What a router tells the engine, and what the engine tells back. Standard library only: half of the
readers run inside Triton's Python stub, which has no packages but numpy."""

import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class EngineConfig:
    """``engine.json`` in a Triton model's folder.

    `devices` has one entry per rank: ``cpu``, or ``cuda:I`` where I counts the visible devices.
    """

    task: str
    devices: tuple[str, ...]
    python: str
    checkpoint: str = ""
    socket: str = ""
    allow_cpu: bool = False
    max_tokens: int | None = None
    threads_per_rank: int = 1
    load_timeout_seconds: int = 600
    execute_timeout_seconds: int = 60

    @staticmethod
    def from_json(text: str) -> "EngineConfig":
        fields = json.loads(text)
        return EngineConfig(**{**fields, "devices": tuple(fields["devices"])})

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2, sort_keys=True)


@dataclass(frozen=True)
class RankReport:
    """One rank process. Sizes in bytes; `peak_load_bytes` is the greatest resident set while loading
    (host) or the greatest allocation (GPU)."""

    rank: int
    pid: int
    device: str
    memory_bytes: int = 0
    parameter_bytes: int = 0
    peak_load_bytes: int = 0


@dataclass(frozen=True)
class EngineReport:
    """What the engine's Unix socket answers, one JSON document per connection.

    `phase` is Loading, Loaded or FailedToLoad. `restarts` counts how often the ranks were started
    again after one died. `labels` are the classes in the order of the scores, empty for embeddings.
    `width` is how many scores (or vector components) one text gets. `host_free_bytes` of `host_total_bytes`
    are free in the container; 0 of 0 where that is not known.
    """

    phase: str
    bytes_done: int = 0
    bytes_total: int = 0
    ranks: tuple[RankReport, ...] = ()
    labels: tuple[str, ...] = ()
    width: int = 0
    restarts: int = 0
    load_seconds: float = 0.0
    last_error_reason: str = ""
    last_error_message: str = ""
    last_error_time: float = 0.0
    host_free_bytes: int = 0
    host_total_bytes: int = 0

    def to_json(self) -> str:
        """Half characters, which an error's message may hold, would make it no JSON for strict readers."""
        return json.dumps(asdict(self), ensure_ascii=False).encode(errors="replace").decode()
