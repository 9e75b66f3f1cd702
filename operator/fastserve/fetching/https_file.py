"""``https://``: one file, or one archive."""

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import PurePosixPath
from urllib.parse import unquote

from fastserve.api.uris import Source
from fastserve.fetching.archives import SUFFIXES
from fastserve.fetching.credentials import Credentials
from fastserve.fetching.remote import Body, Listing, RemoteFile
from fastserve.fetching.web import (
    Ranged,
    WebSettings,
    check_status,
    content_range,
    mapped_faults,
    ranged_read,
    validator_of,
    web_client,
)


class HttpsFile:
    """Reads one URL."""

    def __init__(self, source: Source, credentials: Credentials) -> None:
        self._uri = source.uri
        self._name = PurePosixPath(unquote(source.path)).name or "download"
        self._client = web_client(WebSettings(_authorization(credentials), credentials.get("ca.crt")))

    def listing(self) -> Listing:
        """Ask for the first byte: signed URLs are often signed for GET alone, so HEAD would fail."""
        headers = {"Range": "bytes=0-0"}
        with mapped_faults(), self._client.stream("GET", self._uri, headers=headers) as response:
            _, size = content_range(response)
            if response.status_code != HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                check_status(response)
            if response.status_code == HTTPStatus.OK:
                size = int(response.headers.get("Content-Length", -1))
            tag = validator_of(response)
        unpack = self._name.lower().endswith(SUFFIXES)
        file = RemoteFile(self._name, size, tag, unpack="archive" if unpack else "")
        return Listing((file,), revision=tag.strip('"'), single=True)

    @contextmanager
    def read(self, file: RemoteFile, offset: int) -> Iterator[Body]:
        with ranged_read(self._client, Ranged(self._uri, offset, file.tag)) as body:
            yield body

    def close(self) -> None:
        self._client.close()


def _authorization(credentials: Credentials) -> dict[str, str]:
    if token := credentials.get("bearerToken"):
        return {"Authorization": f"Bearer {token}"}
    if user := credentials.get("username"):
        pair = base64.b64encode(f"{user}:{credentials.get('password')}".encode()).decode()
        return {"Authorization": f"Basic {pair}"}
    return {}
