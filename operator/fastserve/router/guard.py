"""Who may pass: the key that a request shows, against the pool's keys."""

from collections.abc import Mapping
from hmac import compare_digest

from fastserve.api.access import key_digest
from fastserve.router.answers import Refusal
from fastserve.router.caller import HOP_HEADER, PROOF_HEADER, ROUTER_HEADER
from fastserve.router.keys import Holder, KeyRing, Role

_BEARER = b"bearer "
OPERATOR = Holder("operator", frozenset((Role.METRICS,)))
"""Whoever wrote the route table."""


class Guard:
    """Asks every request for a key. `ring` and `operator_digest` are exchanged whole."""

    def __init__(self) -> None:
        self.ring = KeyRing({})
        self.operator_digest = ""
        """Of the operator's own key, by the route table; empty where it has none."""

    def admit(self, headers: Mapping[bytes, bytes], role: Role) -> Holder:
        """The holder of the key that is shown. Raises Refusal KeyMissing, KeyUnknown (both 401) or
        KeyForbidden (403); none of them repeats what was shown."""
        holder = self._holder(headers)
        if role not in holder.roles:
            allowed = " and ".join(sorted(holder.roles))
            raise Refusal("KeyForbidden", f"the key of {holder.name} is for {allowed}, and not for {role}")
        return holder

    @property
    def token(self) -> str:
        """What this router shows others of its pool."""
        return self.ring.token(self.operator_digest)

    def admit_router(self, headers: Mapping[bytes, bytes]) -> None:
        """As `admit`, for what routers tell each other: to them, and to who may read metrics."""
        shown = headers.get(ROUTER_HEADER)
        if shown is None or not self.token or not compare_digest(shown, self.token.encode()):
            self.admit(headers, Role.METRICS)

    def _holder(self, headers: Mapping[bytes, bytes]) -> Holder:
        proof = headers.get(PROOF_HEADER)
        if proof is not None and HOP_HEADER in headers:
            holder = self.ring.by_proof(proof)
        else:
            key = shown_key(headers)
            holder = self.ring.by_key(key) or self._operator(key)
        if holder is None:
            raise Refusal("KeyUnknown", "the key is none of the pool's", headers=_CHALLENGE_INVALID)
        return holder

    def _operator(self, key: bytes) -> Holder | None:
        known = self.operator_digest
        return OPERATOR if known and compare_digest(key_digest(key), known) else None


def shown_key(headers: Mapping[bytes, bytes]) -> bytes:
    """The key of ``authorization: Bearer KEY`` or ``x-api-key``. Raises Refusal KeyMissing."""
    given = headers.get(b"authorization")
    if given is not None and given[: len(_BEARER)].lower() == _BEARER:
        return given[len(_BEARER) :].strip()
    key = headers.get(b"x-api-key")
    if key is None:
        message = "a key is needed: authorization: Bearer KEY, or x-api-key: KEY"
        raise Refusal("KeyMissing", message, headers=_CHALLENGE)
    return key


_CHALLENGE = (("www-authenticate", 'Bearer realm="fastserve"'),)
_CHALLENGE_INVALID = (("www-authenticate", 'Bearer realm="fastserve", error="invalid_token"'),)
