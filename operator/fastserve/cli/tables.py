"""Values to tables."""

from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from fastserve.cli.scaled import Explained
from fastserve.local.overview import MemberRow, Overview, PoolOverview

GIB = 1 << 30
STYLES = {
    "Ready": "green",
    "Loading": "yellow",
    "Starting": "yellow",
    "Asleep": "cyan",
    "Unplaced": "red",
    "Crashing": "red",
    "Down": "red",
    "FailedToLoad": "red",
    "Rejected": "red",
}


def status(overview: Overview) -> RenderableType:
    """One table for each pool, and below it why what is not ready is not."""
    parts: list[RenderableType] = []
    for pool in overview.pools:
        parts += [_pool(pool), *_reasons(pool)]
    return Group(*parts)


def _pool(pool: PoolOverview) -> Table:
    state = "[green]ready[/]" if pool.ready else "[yellow]not ready[/]"
    title = f"{pool.name} · {pool.url} · {state}"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=0, show_edge=False)
    table.add_column("SUB-MODEL", overflow="fold")
    for column in ("READY", "PHASE", "VERSION", "RANKS"):
        table.add_column(column, no_wrap=True)
    for column in ("MEMORY", "WAIT", "REQUESTS", "FAILED", "RESTARTS"):
        table.add_column(column, justify="right", no_wrap=True)
    ready = {row.sub_model: f"{row.ready}/{row.wanted}" for row in pool.replicas}
    for member in pool.members:
        # Once for each sub-model, in the first of its rows.
        table.add_row(*_cells(member, ready.pop(member.sub_model, "")))
    return table


def _cells(member: MemberRow, ready: str) -> list[RenderableType]:
    name = member.instance if member.instance and not member.instance.endswith("-0") else member.sub_model
    return [
        name,
        ready,
        Text(_phase(member), style=STYLES.get(member.phase, "")),
        ", ".join(version[:7] for version in member.version.split(", ")),
        _ranks(member),
        f"{member.memory_bytes / GIB:.1f} GiB" if member.memory_bytes else "",
        f"{member.wait_p95_seconds * 1000:.1f} ms",
        str(member.requests),
        str(member.failures),
        str(member.restarts),
    ]


def _phase(member: MemberRow) -> str:
    load = member.load
    if member.phase == "Loading" and load is not None and load.bytes_total:
        return f"Loading {100 * load.bytes_done // load.bytes_total} %"
    return member.phase


def _ranks(member: MemberRow) -> str:
    """``2 x cpu`` where all are alike, else the devices in the order of the ranks."""
    devices = [rank.device for rank in member.ranks]
    if len(set(devices)) == 1:
        return devices[0] if len(devices) == 1 else f"{len(devices)} x {devices[0]}"
    return " ".join(devices)


def _reasons(pool: PoolOverview) -> list[Text]:
    of_pool = [] if pool.ready else [Text(f"{pool.name}: {pool.because}", style="yellow")]
    of_members = [
        Text(f"{member.sub_model}: {member.because}", style=STYLES.get(member.phase, ""))
        for member in pool.members
        if member.phase != "Ready" and member.because
    ]
    of_versions = {member.sub_model: member.exchange for member in pool.members if member.exchange}
    told = [Text(f"{name}: {exchange}", style="cyan") for name, exchange in of_versions.items()]
    return of_pool + of_members + told


def scaling(explained: Explained) -> RenderableType:
    """Why a sub-model has so many replicas."""
    table = Table.grid(padding=(0, 2))
    rows = {
        "SUB-MODEL": f"{explained.sub_model} (pool {explained.pool})",
        "REPLICAS": f"{explained.ready}/{explained.replicas} ready",
        "REASON": explained.reason,
        "WHY": explained.message,
        "SINCE": explained.time,
        "SOURCE": explained.source,
        "PROBLEM": explained.problem,
    }
    for name, value in rows.items():
        if value:
            table.add_row(Text(name, style="bold"), Text(value, style="red" if name == "PROBLEM" else ""))
    return table


def answer(document: dict[str, Any], most: int = 5) -> RenderableType:
    """An answer of POST /v1/predict."""
    members = Table("SUB-MODEL", "WEIGHT", "SIMILARITY", "ITS ANSWER", "STATUS", box=box.SIMPLE_HEAD)
    for member in document["members"]:
        members.add_row(
            member["name"],
            f"{member['weight']:.2f}",
            f"{member['similarity']:.3f}",
            Text(str(member.get("label") or "")),
            Text(str(member.get("error") or member["status"])),
        )
    lines: list[RenderableType] = []
    if "scores" in document and document["scores"] is not None:
        lines.append(Text(f"{document['label']}  {document['score']:.3f}", style="bold"))
        best = sorted(document["scores"].items(), key=lambda item: -item[1])[:most]
        lines.append(Text("  ".join(f"{label} {score:.3f}" for label, score in best), style="dim"))
    if document.get("embedding") is not None:
        lines.append(Text(f"a vector of {len(document['embedding'])} components", style="bold"))
    lines.append(members)
    if document.get("degraded"):
        lines.append(Text(f"degraded: {document['coverage']:.0%} of the weight answered", style="yellow"))
    return Group(*lines)


def decision(document: dict[str, Any]) -> RenderableType:
    """An answer of POST /v1/route."""
    table = Table("SUB-MODEL", "SIMILARITY", "BELIEF", "WEIGHT", "CHOSEN", "WHY", box=box.SIMPLE_HEAD)
    for member in document["members"]:
        table.add_row(
            member["name"],
            f"{member['similarity']:.3f}",
            f"{member['belief']:.3f}",
            f"{member['weight']:.2f}",
            "yes" if member["chosen"] else "",
            Text(member["because"]),
            style="bold" if member["chosen"] else "",
        )
    return Group(Text(f"{document['decision']} (threshold {document['threshold']})", style="bold"), table)
