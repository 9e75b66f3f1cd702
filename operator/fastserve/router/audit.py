"""The audit log: one line for each answered request. Who, what, how it ended; never a text, never a key."""

import logging

from fastserve.router.answers import STATUS, Answer
from fastserve.router.caller import HOP_HEADER
from fastserve.router.holding import Request
from fastserve.router.tracing import current

log = logging.getLogger("fastserve.audit")
SUBMODELS = "x-fastserve-submodels"


def answered(request: Request, answer: Answer, route: str, seconds: float) -> None:
    """A request that was whole. `route` is a pattern of ours, or empty where there is none."""
    headers = dict(answer.headers)
    is_hop = HOP_HEADER in request.headers
    extra: dict[str, object] = {
        "requestId": answer.request_id,
        "caller": request.holder.name if request.holder else "",
        "method": request.method,
        "route": route,
        "status": answer.status,
        "reason": answer.reason,
        "bytesIn": len(request.body),
        "bytesOut": len(answer.body),
        "seconds": round(seconds, 6),
        "subModels": [name for name in headers.get(SUBMODELS, "").split(",") if name],
    }
    if is_hop:
        extra["hop"] = True
    if trace_id := current().trace_id:
        extra["traceId"] = trace_id
    log.info("answered", extra=extra)


def refused(reason: str) -> None:
    """A request that was answered before it was whole; what it was is not known, or not to be believed."""
    log.info("refused", extra={"status": STATUS[reason], "reason": reason})
