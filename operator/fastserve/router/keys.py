"""API keys: whose key is it, and what may they do. Pure.

Each entry of the pool's Secret is one key. The entry's name says the role and the caller, ``infer.NAME`` or
``metrics.NAME``; its value is the key.
"""

import hmac
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from hashlib import blake2b, sha256

SHORTEST_KEY = 16
LONGEST_KEY = 1024
"""Far below what a header may hold."""
_ENTRY = re.compile(r"^(?P<role>infer|metrics)\.(?P<name>[A-Za-z0-9._-]{1,64})$")
_KEY = re.compile(rb"^[\x21-\x7e]+$")
_HOP = b"fastserve: this call comes from a router that was shown the key"

_ROUTER = b"fastserve: this comes from a router of the pool; "


class Role(StrEnum):
    INFER = "infer"
    """Everything at the data port."""
    METRICS = "metrics"
    """What the admin port tells: metrics, state, prototypes."""


@dataclass(frozen=True, slots=True)
class Holder:
    """Whoever shows a key. `tenant` tells holders apart without their names."""

    name: str
    roles: frozenset[Role]
    tenant: str = ""
    proof: str = field(default="", repr=False)
    """What this pool's routers show each other in the place of the key: it says that the key was shown, and
    is of no use but for such a call."""
    passed_on: bool = False
    """Whether that was shown, and not the key: the call comes from a router, whose word on it counts."""


class KeyRing:
    """The keys of a pool; immutable. What is looked up are digests under a salt of this process: no caller
    can choose their bytes, so the time that it takes tells nothing of a key, however many there are."""

    def __init__(self, keys: Mapping[bytes, Holder]) -> None:
        self._salt = secrets.token_bytes(16)
        self._secret = sha256(b"\n".join(sorted(keys))).digest() if keys else b""
        self._by_key = {self._digest(key): holder for key, holder in keys.items()}
        self._by_proof = {
            self._digest(holder.proof.encode()): replace(holder, passed_on=True) for holder in keys.values()
        }

    def __len__(self) -> int:
        return len(self._by_key)

    def token(self, salt: str) -> str:
        """What a router of this pool shows another one for itself, made of all keys, which nobody else has;
        empty without keys."""
        return hmac.new(self._secret, _ROUTER + salt.encode(), sha256).hexdigest() if self._secret else ""

    def by_key(self, key: bytes) -> Holder | None:
        """The holder of a key."""
        return self._by_key.get(self._digest(key))

    def by_proof(self, proof: bytes) -> Holder | None:
        """The holder whose key was shown to another router of the pool, which passed the call on."""
        return self._by_proof.get(self._digest(proof))

    def _digest(self, key: bytes) -> bytes:
        return blake2b(key, digest_size=32, key=self._salt).digest()


def read_entries(entries: Mapping[str, bytes]) -> tuple[KeyRing, tuple[str, ...]]:
    """The keys of a Secret's entries, and a sentence for each that is none; no sentence repeats a value.

    A key that stands under several names has the roles of all, and the first name in alphabetical order.
    """
    keys: dict[bytes, Holder] = {}
    faults: list[str] = []
    for entry in sorted(entries):
        key = entries[entry].strip()
        named, fault = _ENTRY.match(entry), _fault(key)
        if named is None:
            faults.append(f"{entry}: the name is neither infer.NAME nor metrics.NAME")
        elif fault:
            faults.append(f"{entry}: {fault}")
        else:
            keys[key] = _holder(key, named["name"], Role(named["role"]), keys.get(key))
    return KeyRing(keys), tuple(faults)


def _fault(key: bytes) -> str:
    if not SHORTEST_KEY <= len(key) <= LONGEST_KEY:
        return f"the key has {len(key)} characters (allowed: {SHORTEST_KEY} to {LONGEST_KEY})"
    return "" if _KEY.match(key) else "the key holds characters other than printable ASCII without spaces"


def _holder(key: bytes, name: str, role: Role, before: Holder | None) -> Holder:
    roles = frozenset((role,)) | (before.roles if before else frozenset())
    shown = before.name if before else name
    tenant = blake2b(shown.encode(), digest_size=8).hexdigest()
    return Holder(shown, roles, tenant, hmac.new(key, _HOP, sha256).hexdigest())
