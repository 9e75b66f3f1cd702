"""Who asks: the priority and the tenant of a request, read at the door, told to the member's router."""

from collections.abc import Mapping
from enum import IntEnum
from hashlib import blake2b

import msgspec

from fastserve.router.answers import Refusal
from fastserve.router.keys import Holder

HOP_HEADER = b"x-fastserve-hop"
PROOF_HEADER = b"x-fastserve-proof"
"""Between routers only, where the pool asks for keys: that the door was shown one (keys.Holder.proof)."""
ROUTER_HEADER = b"x-fastserve-router"
"""Between routers' admin ports only, where the pool asks for keys (keys.KeyRing.token)."""
PRIORITY_HEADER = b"x-fastserve-priority"
TENANT_HEADER = b"x-fastserve-tenant"
"""Between routers only; what a caller writes into it at the door is not read."""
MAX_TENANT_BYTES = 32
"""Of the header between routers; our own doors write 16."""


class Priority(IntEnum):
    """Who is served first where requests wait; the smaller goes first."""

    INTERACTIVE = 0
    BATCH = 1


class Caller(msgspec.Struct, frozen=True):
    """`tenant` tells callers apart and nothing else; empty where all are one. `proof` is for the member's
    router, where the pool asks for keys."""

    priority: Priority = Priority.INTERACTIVE
    tenant: str = ""
    proof: str = ""


ANYONE = Caller()
_PRIORITIES = {b"interactive": Priority.INTERACTIVE, b"batch": Priority.BATCH}


def caller_at_door(
    headers: Mapping[bytes, bytes], tenant_header: bytes, holder: Holder | None = None
) -> Caller:
    """By the caller's priority header and the header that the pool's spec names (lower case; empty where it
    names none), or else by the key's `holder`. Raises Refusal OutOfRange.

    The tenant is a digest: the header may hold a credential, and it travels on and stays in queues.
    """
    given = headers.get(tenant_header) if tenant_header else None
    if holder is not None:
        tenant = holder.tenant if given is None else _tenant_of(given)
        return Caller(priority_of(headers), tenant, holder.proof)
    return _plain(headers) if given is None else Caller(priority_of(headers), _tenant_of(given))


def caller_on_hop(
    headers: Mapping[bytes, bytes], tenant_header: bytes = b"", holder: Holder | None = None
) -> Caller:
    """As the door's router wrote it (`hop_lines`). Anybody can mark a call: where the pool asks for keys,
    who did not prove to be a router is a caller at the door. Its word on the tenant is needed only where a
    header tells tenants. Raises Refusal OutOfRange.
    """
    if holder is not None and not holder.passed_on:
        return caller_at_door(headers, tenant_header, holder)
    known = holder.tenant if holder is not None else ""
    told = headers.get(TENANT_HEADER) if tenant_header else None
    tenant = known if told is None else told[:MAX_TENANT_BYTES].decode("latin-1")
    return Caller(priority_of(headers), tenant) if tenant else _plain(headers)


def hop_lines(caller: Caller) -> bytes:
    """Header lines, each ended by CRLF, that tell the caller to the member's router."""
    if caller is ANYONE:
        return b""
    lines = b"" if caller.priority is Priority.INTERACTIVE else b"x-fastserve-priority: batch\r\n"
    if caller.tenant:
        lines += b"x-fastserve-tenant: %b\r\n" % caller.tenant.encode("latin-1")
    if caller.proof:
        lines += b"x-fastserve-proof: %b\r\n" % caller.proof.encode()
    return lines


def priority_of(headers: Mapping[bytes, bytes]) -> Priority:
    """Interactive where the caller does not say. Raises Refusal OutOfRange."""
    given = headers.get(PRIORITY_HEADER)
    if given is None:
        return Priority.INTERACTIVE
    found = _PRIORITIES.get(given)
    if found is None:
        text = given[:64].decode("latin-1")
        allowed = " or ".join(name.decode() for name in _PRIORITIES)
        raise Refusal("OutOfRange", f"{PRIORITY_HEADER.decode()} is {text!r} (allowed: {allowed})")
    return found


def _tenant_of(given: bytes) -> str:
    return blake2b(given, digest_size=8).hexdigest()


def _plain(headers: Mapping[bytes, bytes]) -> Caller:
    priority = priority_of(headers)
    return ANYONE if priority is Priority.INTERACTIVE else _BATCH


_BATCH = Caller(Priority.BATCH)
