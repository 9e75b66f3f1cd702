"""The key with which the planner of a pool (the operator, or local mode) reads what the pool's routers tell,
where they ask for keys. It travels to routers as a digest, in the route table."""

import hmac
from hashlib import sha256


def state_key(seed: bytes, pool: str) -> str:
    """The key for one pool (``namespace/name``): who learns one of them reads no other pool's state."""
    return hmac.new(seed, f"fastserve state of {pool}".encode(), sha256).hexdigest()


def key_digest(key: bytes) -> str:
    """What the route table says of it. A digest of 256 random bits can be shown to anybody."""
    return sha256(key).hexdigest()
