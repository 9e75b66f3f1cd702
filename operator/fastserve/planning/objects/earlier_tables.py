"""Route tables that differ from the current one in nothing but versions and replicas: who has one of them has
all that a door needs. While these change, tables follow each other faster than they are read."""

from fastserve.api.identity import digest_of
from fastserve.api.objects import CONFIG_MAP, Manifest
from fastserve.api.routes import RouteTable
from fastserve.planning.moments import Moment, seconds_between
from fastserve.planning.objects.children import table_of
from fastserve.planning.objects.drift import applied_at
from fastserve.planning.objects.naming import routes_of_pool
from fastserve.planning.objects.observed import Observed
from fastserve.planning.objects.pool_objects import EARLIER_ANNOTATION
from fastserve.planning.versions.fitting import without_versions

MAX_EARLIER = 8
READ_SECONDS = 10.0
"""Who has not read a table so long after it was written does not read at all."""


def table_digest(table: RouteTable) -> str:
    """What routers say that have it."""
    return digest_of(table.model_dump(mode="json"))


def alike(observed: Observed, table: RouteTable) -> str:
    """Digest of the table that is written now, where it is such a one, or `table` itself; else empty."""
    live = table_of(observed)
    same = live is not None and without_versions(live) == without_versions(table)
    return table_digest(live) if live is not None and same else ""


def earlier_tables(observed: Observed, table: RouteTable) -> tuple[str, ...]:
    """Digests of such tables that were written before `table`, the newest last; to be noted beside it."""
    before = alike(observed, table)
    if not before:
        return ()
    known = noted(_carrier(observed))
    return known if before == table_digest(table) else (*known, before)[-MAX_EARLIER:]


def just_replaced(observed: Observed, table: RouteTable, now: Moment) -> tuple[str, ...]:
    """Digests of such tables that were replaced a moment ago, so that routers may still have them."""
    carrier = _carrier(observed)
    written = applied_at(carrier)
    is_new = bool(written) and seconds_between(written, now) < READ_SECONDS
    return noted(carrier) if is_new and alike(observed, table) else ()


def noted(carrier: Manifest) -> tuple[str, ...]:
    """The digests that stand beside the table."""
    annotations = carrier["metadata"].get("annotations") or {}
    return tuple(one for one in str(annotations.get(EARLIER_ANNOTATION, "")).split(",") if one)


def _carrier(observed: Observed) -> Manifest:
    return observed.child(CONFIG_MAP, routes_of_pool(observed.key.name)) or {"metadata": {}}
