"""JSON that others wrote: whatever is wrong with it is one error. Pure."""

from typing import Generic, TypeVar

import msgspec

T = TypeVar("T")


class Unreadable(ValueError):
    """What came is no JSON, or none of the kind that was expected."""


class ForeignReader(Generic[T]):
    """Decodes one kind of document of another process's. What a caller sends is for wire.Reader, which
    explains what is wrong with it."""

    def __init__(self, kind: type[T]) -> None:
        self._decoder = msgspec.json.Decoder(kind)

    def read(self, text: bytes | str) -> T:
        """Raises Unreadable, also for what is not UTF-8 or nested too deep."""
        try:
            return self._decoder.decode(text)
        except (ValueError, RecursionError) as error:
            raise Unreadable(str(error)) from error
