"""JSON that others wrote: whatever is wrong with it is one error."""

from typing import Generic, TypeVar

import msgspec

T = TypeVar("T")


class Unreadable(ValueError):
    """What came is no JSON, or none of the kind that was expected."""


class ForeignReader(Generic[T]):
    """Decodes one kind of document of another process's. It does not explain what is wrong for those who
    could mend it: what callers send is read elsewhere."""

    def __init__(self, kind: type[T]) -> None:
        self._decoder = msgspec.json.Decoder(kind)

    def read(self, text: bytes | str) -> T:
        """Raises Unreadable, also for what is not UTF-8 or nested too deep."""
        try:
            return self._decoder.decode(text)
        except (ValueError, RecursionError) as error:
            raise Unreadable(str(error)) from error
