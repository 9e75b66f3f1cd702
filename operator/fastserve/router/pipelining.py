"""How much is read from one connection, and what waits there: requests that were pipelined, and at the end of
them a refusal. Pure."""

from collections import deque

from fastserve.router.answers import Answer
from fastserve.router.holding import Request

MAX_PIPELINED = 32
"""Requests that wait on one connection before it is read no further."""
MAX_PIPELINED_BYTES = 64 * 1024
"""Of the heads and bodies of those requests."""
SLICE_BYTES = 16 * 1024
"""Parsed at once: the loop reads up to 256 KiB, and thousands of small requests may stand in them."""
MAX_DISCARDED_BYTES = 16 * 1024 * 1024
"""Read and thrown away after a refusal, so that a caller who sends on gets to read why."""


class Pipeline:
    """In their order; `size` is the bytes that they hold."""

    __slots__ = ("_items", "size")

    def __init__(self) -> None:
        self._items: deque[Request | Answer] = deque()
        self.size = 0

    def __bool__(self) -> bool:
        return bool(self._items)

    @property
    def full(self) -> bool:
        return len(self._items) > MAX_PIPELINED or self.size > MAX_PIPELINED_BYTES

    def add(self, item: Request | Answer) -> None:
        if isinstance(item, Request):
            self.size += item.held
        self._items.append(item)

    def take(self) -> Request | Answer:
        """The next one; there must be one."""
        item = self._items.popleft()
        if isinstance(item, Request):
            self.size -= item.held
        return item

    def clear(self) -> int:
        """Forget all; how many bytes they held."""
        size, self.size = self.size, 0
        self._items.clear()
        return size
