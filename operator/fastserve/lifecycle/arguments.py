"""Command lines whose faults are InvalidSpec, so that they are reported as every other error."""

import argparse
from collections.abc import Callable, Sequence
from typing import NoReturn

from fastserve.errors import InvalidSpec


class Arguments(argparse.ArgumentParser):
    """An argument parser that raises InvalidSpec with the option as its field."""

    def __init__(self, program: str, description: str | None) -> None:
        super().__init__(program, description=description, allow_abbrev=False, exit_on_error=False)

    def error(self, message: str) -> NoReturn:
        raise InvalidSpec("options", message)

    def read(self, words: Sequence[str]) -> argparse.Namespace:
        """Parse `words`; raises InvalidSpec."""
        try:
            return self.parse_args(words)
        except argparse.ArgumentError as error:
            raise InvalidSpec((error.argument_name or "options").lstrip("-"), error.message) from error


def number_between(low: float, high: float) -> Callable[[str], float]:
    """An argument type: a number from `low` to `high`, both allowed."""

    def read(word: str) -> float:
        try:
            value = float(word)
        except ValueError:
            value = float("nan")
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{word!r} is not a number from {low:g} to {high:g}")
        return value

    return read


def count_between(low: int, high: int) -> Callable[[str], int]:
    """An argument type: a whole number from `low` to `high`, both allowed."""

    def read(word: str) -> int:
        if not word.isdecimal() or not low <= int(word) <= high:
            raise argparse.ArgumentTypeError(f"{word!r} is not a whole number from {low} to {high}")
        return int(word)

    return read
