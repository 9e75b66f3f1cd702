"""Talks to a pool's door, as any client would."""

import json
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from typing import Any

from fastserve.errors import LocalError

SECONDS = 600.0
STATE_SECONDS = 5.0
"""A router has what it knows at hand."""


@dataclass(frozen=True)
class Place:
    """A pool's door, and the key to show there; empty for none."""

    url: str
    api_key: str = field(default="", repr=False)


def post(place: Place, path: str, document: dict[str, Any]) -> dict[str, Any]:
    """POST a JSON document; raises LocalError with the door's own words."""
    return _asked(place, path, SECONDS, json.dumps(document).encode())


def get(place: Place, path: str) -> dict[str, Any]:
    """GET a JSON document; raises LocalError with the router's own words."""
    return _asked(place, path, STATE_SECONDS)


def _asked(place: Place, path: str, seconds: float, body: bytes | None = None) -> dict[str, Any]:
    headers = {"content-type": "application/json"} if body is not None else {}
    if place.api_key:
        headers["authorization"] = f"Bearer {place.api_key}"
    try:
        request = urllib.request.Request(f"{place.url}{path}", body, headers)  # noqa: S310
        with urllib.request.urlopen(request, timeout=seconds) as answer:  # noqa: S310
            return dict(json.load(answer))
    except urllib.error.HTTPError as error:
        raise LocalError(_words(error)) from error
    except (urllib.error.URLError, OSError, ValueError) as error:
        raise LocalError(
            f"{place.url} does not answer ({error}). `fastserve status` tells what runs."
        ) from error


def _words(error: urllib.error.HTTPError) -> str:
    body = error.read()
    try:
        document = json.loads(body)
        return f"{error.code} {document.get('reason', '')}: {document['error']}"
    except (ValueError, KeyError, TypeError):
        return f"{error.code}: {body[:500].decode(errors='replace')}"
