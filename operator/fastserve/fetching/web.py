"""HTTP as the sources need it: ranged reads, and every refusal turned into one of our errors."""

import ipaddress
import re
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import httpx2

from fastserve.errors import InvalidSpec, SourceChanged, SourceNotFound, SourceUnavailable, Unauthorized
from fastserve.fetching.remote import Body, BrokenOff

TIMEOUT = httpx2.Timeout(30.0, connect=10.0, read=60.0)
MAX_DOCUMENT_BYTES = 4 << 20
"""Of a manifest or a token."""
DOCUMENT_CHUNK_BYTES = 1 << 16
_RANGE = re.compile(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)")
_TRY_AGAIN = {408, 425, 429, 500, 502, 503, 504}


@dataclass(frozen=True)
class WebSettings:
    """`headers` go to the first host only; `ca` is a PEM that is trusted beside the system's; `schemes` are
    those that a redirect may lead to as well."""

    headers: Mapping[str, str] = field(default_factory=dict)
    ca: str = ""
    schemes: frozenset[str] = frozenset({"https"})


def is_loopback(host: str) -> bool:
    """Whether a host, with or without a port, is this machine."""
    name = host.rpartition(":")[0] if re.search(r":\d+$", host) else host
    try:
        return name == "localhost" or ipaddress.ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return False


def web_client(settings: WebSettings) -> httpx2.Client:
    """A client of these settings. Raises InvalidSpec where the CA is no PEM."""

    def stay_on_allowed_schemes(request: httpx2.Request) -> None:
        if request.url.scheme not in settings.schemes:
            raise SourceUnavailable(
                "the source redirects to an address without TLS: let it redirect to https"
            )

    return httpx2.Client(
        headers={"Accept-Encoding": "identity", "User-Agent": "fastserve", **settings.headers},
        verify=_trust(settings.ca),
        timeout=TIMEOUT,
        follow_redirects=True,
        event_hooks={"request": [stay_on_allowed_schemes]},
    )


def _trust(ca: str) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if ca:
        try:
            context.load_verify_locations(cadata=ca)
        except ssl.SSLError as error:
            raise InvalidSpec("ca.crt", "is no certificate", "certificates in PEM") from error
    return context


@dataclass(frozen=True)
class Ranged:
    """A read of `url` from `offset`. `validator` is the ETag or date that the bytes must still have; an
    address that names its content needs none."""

    url: str
    offset: int = 0
    validator: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


@contextmanager
def ranged_read(client: httpx2.Client, wanted: Ranged) -> Iterator[Body]:
    """The bytes of a URL from an offset, or from 0 where the server cannot do that."""
    headers = dict(wanted.headers)
    if wanted.offset:
        headers["Range"] = f"bytes={wanted.offset}-"
        if wanted.validator:
            headers["If-Range"] = wanted.validator
    with mapped_faults(), client.stream("GET", wanted.url, headers=headers) as response:
        if response.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            yield _beyond_the_end(response, wanted.offset)
            return
        check_status(response)
        if wanted.validator and (found := validator_of(response)) and found != wanted.validator:
            raise SourceChanged("the file changed while it was fetched: start again")
        start = 0
        if response.status_code == HTTPStatus.PARTIAL_CONTENT:
            start, _ = content_range(response)
            if start != wanted.offset:
                raise BrokenOff("the server answered with another range")
        yield Body(start, response.iter_raw())


def document(client: httpx2.Client, url: str, **asked: Any) -> tuple[httpx2.Response, bytes]:
    """The answer to a GET, and its body: a document of a few pages. Raises SourceUnavailable where it has no
    end in sight, since memory has one."""
    body = bytearray()
    with mapped_faults(), client.stream("GET", url, **asked) as response:
        for chunk in response.iter_bytes(DOCUMENT_CHUNK_BYTES):
            body += chunk
            if len(body) > MAX_DOCUMENT_BYTES:
                raise SourceUnavailable(f"the source answers with more than {MAX_DOCUMENT_BYTES} bytes")
    return response, bytes(body)


def _beyond_the_end(response: httpx2.Response, offset: int) -> Body:
    _, total = content_range(response)
    if total != offset:
        raise SourceChanged("the file became shorter while it was fetched: start again")
    return Body(offset, iter(()))


@contextmanager
def mapped_faults() -> Iterator[None]:
    """httpx's errors as ours. Their text names hosts, so only their kind is told."""
    try:
        yield
    except httpx2.TransportError as error:
        if _is_about_certificates(error):
            raise SourceUnavailable(
                "the source's certificate is not trusted: put its authority into the Secret as ca.crt"
            ) from error
        raise BrokenOff(type(error).__name__) from error
    except (httpx2.TooManyRedirects, httpx2.InvalidURL) as error:
        raise SourceUnavailable("the source redirects in circles: check the URI") from error


def _is_about_certificates(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        error = error.__cause__ or error.__context__
    return False


def check_status(response: httpx2.Response) -> None:
    """Raises what a refusal means."""
    status = response.status_code
    if status in {401, 403}:
        raise Unauthorized(
            f"the source refuses access (status {status}): name a Secret in spec.model.credentials"
            " that may read it"
        )
    if status in {404, 410}:
        raise SourceNotFound(f"the source has nothing there (status {status}): check the URI")
    if status in _TRY_AGAIN:
        raise BrokenOff(f"status {status}")
    if status >= 400:
        raise SourceUnavailable(f"the source refuses the request (status {status}): check the URI")


def content_range(response: httpx2.Response) -> tuple[int, int]:
    """Start and total of a Content-Range; -1 for what it does not tell."""
    match = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
    start, total = match.groups() if match else (None, None)
    return int(start) if start else -1, int(total) if total and total != "*" else -1


def validator_of(response: httpx2.Response) -> str:
    """What If-Range may be asked with: a strong ETag, or else a date, or else nothing."""
    etag = str(response.headers.get("ETag", ""))
    if etag.startswith('"'):
        return etag
    return str(response.headers.get("Last-Modified", ""))
