"""What the fetching process is asked for: one JSON document on its standard input."""

from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import msgspec

from fastserve.errors import InvalidSpec
from fastserve.foreign_json import ForeignReader, Unreadable

DIGEST_PREFIX = "sha256:"


class Endpoints(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Services to ask instead of the public ones; the credentials folder's own setting goes before."""

    s3: str = ""
    gs: str = ""
    hf: str = ""


class FetchRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel", kw_only=True):
    """Fetch `uri` into the folder `destination`.

    `max_bytes` bounds what is transferred, and what an archive unpacks to. `digest` is empty or
    ``sha256:<hex>``: of a file or archive its own, of an ``oci://`` source that of its manifest, of any other
    folder that of its listing (marker.listing_digest). `credentials` is a folder with one file per key.
    `ambient_identity` signs s3 and gs requests by what the platform gives the pod (a web identity token, a
    metadata service); without it, and without keys, these sources are read anonymously.
    """

    uri: str
    destination: str
    max_bytes: Annotated[int, msgspec.Meta(gt=0)]
    credentials: str | None = None
    digest: Annotated[str, msgspec.Meta(pattern="^(sha256:[0-9a-f]{64})?$")] = ""
    endpoints: Endpoints = Endpoints()
    ambient_identity: bool = False

    @property
    def secret(self) -> str:
        """What of the URI lets others in: the signature of a presigned URL."""
        return urlsplit(self.uri).query

    @property
    def folder(self) -> Path:
        return Path(self.destination)

    @property
    def sha256(self) -> str:
        """The wanted digest in hex; empty where none is asked for."""
        return self.digest.removeprefix(DIGEST_PREFIX)


_REQUEST = ForeignReader(FetchRequest)


def read_request(document: bytes) -> FetchRequest:
    """Decode a request. Raises InvalidSpec where it is none."""
    try:
        return _REQUEST.read(document)
    except Unreadable as error:
        raise InvalidSpec("request", str(error), "a JSON document of FetchRequest") from error
