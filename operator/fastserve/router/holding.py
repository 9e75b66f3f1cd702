"""A request that is held, and the room that all of one port's take together. Pure."""

from dataclasses import dataclass

from fastserve.router.keys import Holder

MAX_HELD_BYTES = 64 * 1024 * 1024
"""Of all requests that one port holds, whole heads and bodies: arriving, waiting and being answered."""
HEADER_COST = 112
"""What Python takes for one header beside its text: a hundred short ones are larger than they look."""


@dataclass(slots=True)
class Request:
    """One request. `path` is normalised and has no query. Header names are in lower case; of repeated ones
    the last counts, but for those that are lists."""

    method: str
    path: str
    headers: dict[bytes, bytes]
    body: bytes
    keep_alive: bool = True
    holder: Holder | None = None
    """Whose key it shows, where the pool asks for keys and the request was let in."""
    head_size: int = 0
    """Bytes that its head takes."""

    @property
    def held(self) -> int:
        """Bytes that it takes in the room."""
        return self.head_size + len(self.body)


@dataclass(slots=True)
class Room:
    """What one port's requests take together, bytes; heads count from when they are whole."""

    taken: int = 0
