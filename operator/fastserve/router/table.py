"""The route table as this router reads it: one immutable snapshot, exchanged as one reference."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pydantic import ValidationError

from fastserve.api.identity import digest_of
from fastserve.api.modelpool import Task
from fastserve.api.routes import Member, Resilience, RouteTable
from fastserve.router.selection import Rules

OUTPUTS = {Task.TEXT_CLASSIFICATION: "scores", Task.EMBEDDING: "embedding"}
"""Name of the tensor that members answer with."""
_BATCH = re.compile(r"^\s*max_batch_size\s*:\s*(\d+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class TableSnapshot:
    """A route table with what every request asks of it worked out once."""

    table: RouteTable
    digest: str
    rules: Rules
    members: dict[str, Member]
    names: tuple[str, ...]
    tenant_header: bytes
    shares: "Shares"
    batches: dict[str, int]
    """Texts that a sub-model takes at once, where that is known here."""

    @staticmethod
    def of(table: RouteTable, digest: str) -> "TableSnapshot":
        selection = table.selection
        rules = Rules(
            selection.top_k,
            float(selection.min_score),
            selection.policy,
            selection.fallback.sub_model,
            float(table.scaling.awake_margin),
        )
        members = {member.name: member for member in table.members}
        header = table.tenants.header.lower().encode()
        shares = Shares.of(table.resilience)
        batches = {
            member.name: max_batch(config)
            for member in table.members
            if not member.target.custom and (config := member.target.files.get("config.pbtxt"))
        }
        return TableSnapshot(table, digest, rules, members, tuple(members), header, shares, batches)

    @property
    def output(self) -> str:
        """Name of the tensor that members answer with."""
        return OUTPUTS[self.table.task]

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the tensors at the door."""
        return ("embedding",) if self.table.task is Task.EMBEDDING else ("scores", "labels")


@dataclass(frozen=True, slots=True)
class Shares:
    """What the pool allows: extra calls per call, and replicas left out of all. 0 for none."""

    retried: float = 0.2
    hedged: float = 0.0
    ejected: float = 0.5

    @staticmethod
    def of(resilience: Resilience) -> "Shares":
        hedging = resilience.hedging
        return Shares(
            float(resilience.retries.max_share),
            float(hedging.max_share) if hedging.enabled else 0.0,
            float(resilience.ejection.max_share),
        )


def parse_table(text: str) -> TableSnapshot:
    """The snapshot; its digest is that of the document as it was written, whatever of it is known here: who
    wrote it may be older or newer. Raises ValueError with a sentence where the text is no route table."""
    try:
        table = RouteTable.model_validate_json(text)
        return TableSnapshot.of(table, digest_of(json.loads(text)))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the document"
        raise ValueError(f"{place}: {first['msg']}") from error


def max_batch(config: str) -> int:
    """Texts that a Triton model takes at once, by its config.pbtxt; 1 where it does not say."""
    found = _BATCH.search(config)
    return max(1, int(found[1])) if found else 1


class TextSource(Protocol):
    """Where a document is learnt from: a file locally, a ConfigMap on a cluster."""

    def changed(self) -> str | None:
        """The text where it is new since the last call, else None. Raises OSError or ClusterError where there
        is none."""
        ...


class WatchedFile:
    """A file that is read again when it changed, by its identity, size and time of change."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen: tuple[int, int, int] | None = None

    def changed(self) -> str | None:
        """The text where it is new, else None. Raises OSError where it cannot be read."""
        stat = self.path.stat()
        mark = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
        if mark == self._seen:
            return None
        text = self.path.read_text(encoding="utf-8")
        self._seen = mark
        return text
