"""``s3://`` and ``gs://``: every object below a prefix, or the one object that the URI names."""

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from http import HTTPStatus
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import obstore
from obstore.exceptions import (
    BaseError,
    InvalidPathError,
    NotFoundError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
)
from obstore.store import GCSStore, S3Store

from fastserve.api.uris import Source
from fastserve.errors import (
    InvalidSpec,
    SizeLimitExceeded,
    SourceChanged,
    SourceNotFound,
    SourceUnavailable,
    Unauthorized,
)
from fastserve.fetching.archives import SUFFIXES
from fastserve.fetching.credentials import Credentials
from fastserve.fetching.remote import MAX_FILES, Body, BrokenOff, Listing, RemoteFile
from fastserve.fetching.request import FetchRequest

if TYPE_CHECKING:
    from obstore import ObjectMeta
    from obstore.store import ClientConfig, GCSConfig, RetryConfig, S3Config

CHUNK_BYTES = 1 << 20
DEFAULT_REGION = "us-east-1"
_STATUS = re.compile(r"status code: (\d{3})")
_NOT_FOUND = "the bucket or the prefix does not exist: check the URI"
_REFUSED = "the bucket refuses access: name a Secret in spec.model.credentials that may list and read it"
# The download tries again by itself, and resumes; here only what a connection loses now and then.
_RETRY: "RetryConfig" = {"max_retries": 1, "retry_timeout": timedelta(seconds=20)}


class ObjectFolder:
    """Reads the objects below `prefix`."""

    def __init__(self, store: S3Store | GCSStore, prefix: str) -> None:
        self._store = store
        self._prefix = prefix

    def listing(self) -> Listing:
        """What lies below the prefix; the object itself where the prefix is one."""
        try:
            with _mapped_faults():
                files = files_below(self._prefix, self._found())
        except SourceNotFound:  # some services have no answer for a prefix without objects
            files = ()
        if files:
            return Listing(files, _revision(files))
        if not self._prefix:
            raise SourceNotFound("the bucket is empty or does not exist: check the URI")
        with _mapped_faults():
            return _single(obstore.head(self._store, self._prefix))

    def _found(self) -> "list[ObjectMeta]":
        found: list[ObjectMeta] = []
        for batch in obstore.list(self._store, prefix=self._prefix or None):
            found += batch
            if len(found) > MAX_FILES:
                raise SizeLimitExceeded(f"more than {MAX_FILES} objects: name the model's own prefix")
        return found

    @contextmanager
    def read(self, file: RemoteFile, offset: int) -> Iterator[Body]:
        with _mapped_faults():
            result = obstore.get(
                self._store, file.key, options={"range": {"offset": offset}, "if_match": file.tag or None}
            )
            chunks = (bytes(chunk) for chunk in result.stream(min_chunk_size=CHUNK_BYTES))
            yield Body(result.range[0], chunks)

    def close(self) -> None:
        """obstore keeps its connections to itself, and ends them with the process."""


def files_below(prefix: str, found: "list[ObjectMeta]") -> tuple[RemoteFile, ...]:
    """The files of a folder; empty objects that only stand for a folder are none."""
    folders = {str(parent) for meta in found for parent in PurePosixPath(meta["path"]).parents}
    return tuple(
        RemoteFile(
            meta["path"].removeprefix(prefix).lstrip("/"), meta["size"], meta["e_tag"] or "", meta["path"]
        )
        for meta in found
        if meta["path"] != prefix and not (meta["size"] == 0 and meta["path"] in folders)
    )


def s3_store(source: Source, credentials: Credentials, request: FetchRequest) -> S3Store:
    """The bucket, signed for by the Secret's keys, or by the pod's identity, or by nobody."""
    config: S3Config = {"region": credentials.get("AWS_REGION") or DEFAULT_REGION}
    endpoint = credentials.get("AWS_ENDPOINT_URL") or request.endpoints.s3
    if endpoint:
        config["endpoint"] = endpoint
    if key := credentials.get("AWS_ACCESS_KEY_ID"):
        config["access_key_id"] = key
        config["secret_access_key"] = credentials.get("AWS_SECRET_ACCESS_KEY")
        if token := credentials.get("AWS_SESSION_TOKEN"):
            config["session_token"] = token
    elif not request.ambient_identity:
        config["skip_signature"] = True
    with _configuring():
        return S3Store(
            source.place, config=config, client_options=_client(endpoint, credentials), retry_config=_RETRY
        )


def gs_store(source: Source, credentials: Credentials, request: FetchRequest) -> GCSStore:
    """The bucket, read as the Secret's service account, or as the pod's identity, or as nobody."""
    config: GCSConfig = {}
    endpoint = credentials.get("GCS_ENDPOINT") or request.endpoints.gs
    if endpoint:
        config["base_url"] = endpoint
    key = credentials.get("service-account.json") or credentials.get("GOOGLE_APPLICATION_CREDENTIALS")
    if key:
        config["service_account_key"] = key
    elif not request.ambient_identity:
        config["skip_signature"] = True
    with _configuring():
        return GCSStore(
            source.place, config=config, client_options=_client(endpoint, credentials), retry_config=_RETRY
        )


def _client(endpoint: str, credentials: Credentials) -> "ClientConfig":
    options: ClientConfig = {
        "allow_http": endpoint.startswith("http://"),
        "connect_timeout": "10s",
        "read_timeout": "60s",
        "timeout": "1day",  # of a whole body, and bodies are as large as models
    }
    if ca := credentials.get("ca.crt"):
        options["root_certificate"] = ca
    return options


@contextmanager
def _configuring() -> Iterator[None]:
    try:
        yield
    except (BaseError, ValueError) as error:
        raise InvalidSpec(
            "credentials",
            "these keys make no client of the bucket",
            "for s3 AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, for gs service-account.json",
        ) from error


@contextmanager
def _mapped_faults() -> Iterator[None]:
    """obstore's errors as ours. Their text holds addresses, so it is left out."""
    try:
        yield
    except (FileNotFoundError, NotFoundError) as error:
        raise SourceNotFound(_NOT_FOUND) from error
    except (PermissionDeniedError, UnauthenticatedError) as error:
        raise Unauthorized(_REFUSED) from error
    except PreconditionError as error:
        raise SourceChanged("an object changed while it was fetched: start again") from error
    except InvalidPathError as error:
        raise SourceUnavailable("an object's name is no path: rename it") from error
    except BaseError as error:
        raise _by_status(str(error)) from error


def _by_status(text: str) -> Exception:
    """Of some requests obstore tells the status in words only."""
    match = _STATUS.search(text)
    status = int(match.group(1)) if match else 0
    if status == HTTPStatus.NOT_FOUND:
        return SourceNotFound(_NOT_FOUND)
    if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        return Unauthorized(_REFUSED)
    if status == HTTPStatus.BAD_REQUEST:
        return SourceUnavailable(
            f"the bucket refuses the request (status {status}): check AWS_REGION and the endpoint"
        )
    return BrokenOff(f"status {status}" if status else "no connection, or it broke")


def _single(meta: "ObjectMeta") -> Listing:
    name = PurePosixPath(meta["path"]).name
    unpack = name.lower().endswith(SUFFIXES)
    tag = meta["e_tag"] or ""
    file = RemoteFile(name, meta["size"], tag, meta["path"], unpack="archive" if unpack else "")
    return Listing((file,), tag.strip('"'), single=True)


def _revision(files: tuple[RemoteFile, ...]) -> str:
    """A bucket has no revision: the tags of all its objects stand for one."""
    lines = "".join(f"{file.tag}  {file.path}\n" for file in sorted(files, key=lambda file: file.path))
    return hashlib.sha256(lines.encode()).hexdigest()[:12]
