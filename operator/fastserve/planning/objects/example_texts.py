"""Example texts in a ConfigMap: one per line, or JSON Lines with a field "text"."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from fastserve.api.objects import Manifest
from fastserve.api.submodel import ConfigMapKey
from fastserve.errors import InvalidSpec

MAX_EXAMPLES = 20_000
"""Read from one ConfigMap; prototypes do not get better with more."""
FIELD = "spec.examplesFrom.configMap"


def texts_of(
    config_maps: Mapping[str, Manifest], wanted: ConfigMapKey
) -> tuple[str, ...] | InvalidSpec | None:
    """The texts under the wanted key; None where ConfigMap or key is missing, InvalidSpec where a line
    cannot be read."""
    data: Mapping[str, Any] = (config_maps.get(wanted.name) or {}).get("data") or {}
    text = data.get(wanted.key)
    if text is None:
        return None
    try:
        texts = tuple(_texts(text, f"{wanted.name}/{wanted.key}"))[:MAX_EXAMPLES]
    except InvalidSpec as error:
        return error
    return texts or InvalidSpec(FIELD, f"{wanted.name}/{wanted.key} holds no text")


def _texts(text: str, place: str) -> Iterator[str]:
    # Not splitlines: a text in JSON may hold the other characters that it takes for ends of lines.
    for number, line in enumerate(text.split("\n"), 1):
        stripped = line.strip()
        if stripped:
            yield _text_of(stripped, f"{place}, line {number}")


def _text_of(line: str, place: str) -> str:
    if not line.startswith("{"):
        return line
    try:
        text = json.loads(line).get("text")
    except (ValueError, RecursionError) as error:  # the latter: brackets in brackets, a hundred thousand deep
        raise InvalidSpec(FIELD, f"{place}: {error}") from error
    if not isinstance(text, str):
        raise InvalidSpec(FIELD, f'{place}: the field "text" is missing')
    if any("\ud800" <= character <= "\udfff" for character in text):
        # JSON can write half a character; no digest and no router could.
        raise InvalidSpec(FIELD, f'{place}: the field "text" holds half of a surrogate pair')
    return text
