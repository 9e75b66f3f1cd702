"""Fetches one request: list, transfer, unpack, check, publish."""

import errno
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace

from fastserve.api.uris import ALLOWED_FORMS, Source, plan_source
from fastserve.errors import DigestMismatch, DiskFull, InvalidSpec
from fastserve.fetching.archives import Unpacker
from fastserve.fetching.credentials import Credentials
from fastserve.fetching.download import Download, Patience
from fastserve.fetching.marker import Marker, StoredFile, listing_digest
from fastserve.fetching.progress import Fetched, Meter, Tell
from fastserve.fetching.remote import Listing, Remote, RemoteFile, checked, safe_path
from fastserve.fetching.request import DIGEST_PREFIX, FetchRequest
from fastserve.fetching.staging import Staging

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT}


@dataclass(frozen=True)
class Asked:
    """A request, its URI taken apart, and the credentials it names."""

    request: FetchRequest
    source: Source
    credentials: Credentials


def fetch(request: FetchRequest, credentials: Credentials, tell: Tell, patience: Patience) -> Marker:
    """Bring `request.uri` to `request.destination`, whole or not at all, and tell how far it is.

    What an earlier call left in ``<destination>.partial`` is gone on with; a finished destination is only
    looked at. Raises InvalidSpec, or the FetchError that says what is wrong.
    """
    source = plan_source(request.uri, "uri")
    if not source.fetched:
        allowed = ", ".join(form for scheme, form in ALLOWED_FORMS.items() if scheme not in {"file", "pvc"})
        raise InvalidSpec("uri", f"{source.shown} is read where it lies, not fetched", allowed)
    staging = Staging(request.folder)
    with _disk_full(), staging.locked():
        marker = staging.finished(request)
        if marker is None:
            marker = _bring(Asked(request, source, credentials), staging, tell, patience)
        staging.drop()
    tell(Fetched(marker.size, marker.size, marker.revision, marker.digest))
    return marker


def _bring(asked: Asked, staging: Staging, tell: Tell, patience: Patience) -> Marker:
    request, meter = asked.request, Meter(tell)
    staging.prepare(request)
    try:
        with closing(_remote(asked)) as remote:
            download = Download(remote, staging.parts, meter, request.max_bytes, patience)
            listing = checked(_promised(download.listing(), request), request.max_bytes)
            _check(request, listing.digest)
            staging.check_room(listing.size - staging.size_of_parts())
            meter.start("Fetching", listing.size)
            stored = download.all(listing.files)
        files = _arranged(stored, staging, Unpacker(staging.files, request.max_bytes, meter))
        digest = _digest(listing, stored, files)
        _check(request, digest)
    except DigestMismatch:
        staging.drop()
        raise
    marker = Marker(request.uri, listing.revision, digest, files)
    staging.publish(marker)
    return marker


def _promised(listing: Listing, request: FetchRequest) -> Listing:
    """A single file is judged by its digest before anything reads it."""
    if not listing.single or not request.digest:
        return listing
    return replace(listing, files=tuple(replace(file, sha256=request.sha256) for file in listing.files))


def _arranged(
    stored: Mapping[RemoteFile, StoredFile], staging: Staging, unpacker: Unpacker
) -> dict[str, StoredFile]:
    """Unpack what is packed, in the order of the listing, and put every other file in its place."""
    for file in stored:
        if file.unpack:
            unpacker.meter.start("Unpacking", 0, unpacker.written)
            unpacker.unpack(staging.part_of(file), file.unpack)
    unpacker.finish()
    files = dict(unpacker.files)
    for file, content in stored.items():
        if not file.unpack:
            path = safe_path(file.path)
            place = staging.files / path
            place.parent.mkdir(parents=True, exist_ok=True)
            staging.part_of(file).replace(place)
            files[path] = content
    return files


def _digest(
    listing: Listing, stored: Mapping[RemoteFile, StoredFile], files: Mapping[str, StoredFile]
) -> str:
    """The source's own digest; of a single file or archive its own; of a folder that of its listing."""
    if listing.digest:
        return listing.digest
    if listing.single:
        return DIGEST_PREFIX + stored[listing.files[0]].sha256
    return listing_digest(files)


def _check(request: FetchRequest, digest: str) -> None:
    if request.digest and digest and digest != request.digest:
        raise DigestMismatch(
            f"the source has {digest}, asked for was {request.digest}: correct spec.model.digest, or put the"
            " right files at the source"
        )


def _remote(asked: Asked) -> Remote:
    return _REMOTES[asked.source.scheme](asked)


# Each scheme's library is imported only where it is needed: together they cost a second.
def _https(asked: Asked) -> Remote:
    from fastserve.fetching.https_file import HttpsFile  # noqa: PLC0415

    return HttpsFile(asked.source, asked.credentials)


def _s3(asked: Asked) -> Remote:
    from fastserve.fetching.object_store import ObjectFolder, s3_store  # noqa: PLC0415

    return ObjectFolder(s3_store(asked.source, asked.credentials, asked.request), asked.source.path)


def _gs(asked: Asked) -> Remote:
    from fastserve.fetching.object_store import ObjectFolder, gs_store  # noqa: PLC0415

    return ObjectFolder(gs_store(asked.source, asked.credentials, asked.request), asked.source.path)


def _hf(asked: Asked) -> Remote:
    from fastserve.fetching.hub import HubModel  # noqa: PLC0415

    return HubModel(asked.source, asked.credentials, asked.request.endpoints.hf)


def _oci(asked: Asked) -> Remote:
    from fastserve.fetching.oci import OciArtifact  # noqa: PLC0415

    return OciArtifact(asked.source, asked.credentials)


_REMOTES: dict[str, Callable[[Asked], Remote]] = {
    "https": _https,
    "s3": _s3,
    "gs": _gs,
    "hf": _hf,
    "oci": _oci,
}


@contextmanager
def _disk_full() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise DiskFull("the volume is full: give it more room, or fetch something smaller") from error
        raise
