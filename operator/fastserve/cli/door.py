"""Talks to a pool's door, as any client would."""

import json
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from typing import Any

from fastserve.errors import LocalError

SECONDS = 600.0


@dataclass(frozen=True)
class Place:
    """A pool's door, and the key to show there; empty for none."""

    url: str
    api_key: str = field(default="", repr=False)


def post(place: Place, path: str, document: dict[str, Any]) -> dict[str, Any]:
    """POST a JSON document; raises LocalError with the door's own words."""
    body, url = json.dumps(document).encode(), place.url
    headers = {"content-type": "application/json"}
    if place.api_key:
        headers["authorization"] = f"Bearer {place.api_key}"
    request = urllib.request.Request(f"{url}{path}", body, headers)  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:  # noqa: S310
            return dict(json.load(answer))
    except urllib.error.HTTPError as error:
        raise LocalError(_words(error)) from error
    except (urllib.error.URLError, OSError) as error:
        raise LocalError(f"{url} does not answer ({error}). `fastserve status` tells what runs.") from error


def _words(error: urllib.error.HTTPError) -> str:
    body = error.read()
    try:
        document = json.loads(body)
        return f"{error.code} {document.get('reason', '')}: {document['error']}"
    except (ValueError, KeyError, TypeError):
        return f"{error.code}: {body[:500].decode(errors='replace')}"
