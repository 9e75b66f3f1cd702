"""Talks to a pool's door, as any client would."""

import json
import urllib.error
import urllib.request
from typing import Any

from fastserve.errors import LocalError

SECONDS = 600.0


def post(url: str, path: str, document: dict[str, Any]) -> dict[str, Any]:
    """POST a JSON document; raises LocalError with the door's own words."""
    body = json.dumps(document).encode()
    request = urllib.request.Request(f"{url}{path}", body, {"content-type": "application/json"})  # noqa: S310
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
