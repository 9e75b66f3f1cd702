"""Where models lie, as users write it: one URI, of one of seven schemes.

One pattern says what a URI may be. It stands in the CRD's schema too, so it keeps to what RE2, Rust's regex
and Python's `re` read alike: no look-around, no classes that mean more in one of them.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit

from fastserve.errors import CheckpointError, InvalidSpec

Scheme = Literal["file", "https", "s3", "gs", "hf", "oci", "pvc"]

FILE_SCHEME = "file://"

_HOST = r"([A-Za-z0-9]([A-Za-z0-9.-]{0,252}[A-Za-z0-9])?|\[[0-9A-Fa-f:.]{2,45}\])(:[0-9]{1,5})?"
# A segment is neither empty nor "." nor "..", so that no path leads out of its folder.
_SEGMENTS = r"(/([^/.\x00-\x1f]|\.[^/.\x00-\x1f])[^/\x00-\x1f]*)*/?"
_HUB_WORD = r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}"
_REPOSITORY = r"[a-z0-9]+([._-]+[a-z0-9]+)*(/[a-z0-9]+([._-]+[a-z0-9]+)*)*"
_FORMS: dict[Scheme, str] = {
    "file": r"[^\x00-\x1f]+",
    "https": _HOST + r"/[!-\x22$-~]+",
    "s3": r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]" + _SEGMENTS,
    "gs": r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]" + _SEGMENTS,
    "hf": _HUB_WORD + "/" + _HUB_WORD + r"([@:][A-Za-z0-9][A-Za-z0-9._/-]{0,199})?",
    "oci": _HOST + "/" + _REPOSITORY + r"(:[A-Za-z0-9_][A-Za-z0-9._-]{0,127}|@sha256:[0-9a-f]{64})",
    "pvc": r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?" + _SEGMENTS,
}
ALLOWED_FORMS: dict[Scheme, str] = {
    "file": "file://PATH",
    "https": "https://HOST/PATH, a file or a .tar, .tar.gz, .tgz, .tar.zst or .zip, without user@ and #",
    "s3": "s3://BUCKET/PREFIX",
    "gs": "gs://BUCKET/PREFIX",
    "hf": "hf://OWNER/MODEL, hf://OWNER/MODEL:REVISION",
    "oci": "oci://REGISTRY/REPOSITORY:TAG, oci://REGISTRY/REPOSITORY@sha256:DIGEST",
    "pvc": "pvc://CLAIM/PATH",
}
"""For people: how a URI of each scheme looks."""

STORAGE_URI_PATTERN = "^(" + "|".join(f"{scheme}://{form}" for scheme, form in _FORMS.items()) + ")$"
"""What every storageUri matches; RE2, so that the API server judges as we do."""


@dataclass(frozen=True)
class Source:
    """A storage URI taken apart.

    `place` is the host, bucket, claim or hub repository (``owner/model``); `path` is the key prefix, the
    path below the claim, the repository in the registry, or the path on this machine; `revision` is the
    hub's revision, or the registry's tag or ``sha256:`` digest; what a scheme does not have is empty.
    """

    scheme: Scheme
    place: str
    path: str
    revision: str
    uri: str

    @property
    def shown(self) -> str:
        """The URI for messages: without a query, which can hold a signature that lets others in."""
        return self.uri.partition("?")[0] if self.scheme == "https" else self.uri

    @property
    def image(self) -> str:
        """Of an ``oci://`` URI what container runtimes call an image: REGISTRY/REPOSITORY:TAG or @DIGEST."""
        return self.uri.removeprefix("oci://") if self.scheme == "oci" else ""

    @property
    def fetched(self) -> bool:
        """Whether files have to be copied before they can be read."""
        return self.scheme not in {"file", "pvc"}


def plan_source(uri: str, field: str = "spec.model.storageUri") -> Source:
    """Take `uri` apart. Raises InvalidSpec, which names `field` and the forms that are allowed."""
    scheme, _, rest = uri.partition("://")
    for known, form in _FORMS.items():
        if known == scheme:
            if re.fullmatch(form, rest) is None:
                raise InvalidSpec(field, f"{_printable(uri)} is no {known} URI", ALLOWED_FORMS[known])
            return _READERS[known](rest, uri)
    raise InvalidSpec(
        field, f"{_printable(uri)} has no scheme that FastServe knows", ", ".join(ALLOWED_FORMS)
    )


def path_of(uri: str) -> Path:
    """The path of a ``file://`` URI. Raises CheckpointError for any other."""
    if not uri.startswith(FILE_SCHEME):
        raise CheckpointError(f"{uri} is not a file:// URI")
    return Path(unquote(uri.removeprefix(FILE_SCHEME)))


def _printable(uri: str) -> str:
    # A URI that is not understood may carry a password before its "@", or a signature in its query.
    shown = re.sub(r"//[^/]*@", "//***@", uri.partition("?")[0])
    return repr(shown[:200])


def _file(rest: str, uri: str) -> Source:
    return Source("file", "", unquote(rest), "", uri)


def _https(rest: str, uri: str) -> Source:
    return Source("https", rest.partition("/")[0], urlsplit(uri).path, "", uri)


def _folder_reader(scheme: Scheme) -> Callable[[str, str], Source]:
    def read(rest: str, uri: str) -> Source:
        place, _, path = rest.partition("/")
        return Source(scheme, place, path.strip("/"), "", uri)

    return read


def _hub(rest: str, uri: str) -> Source:
    place, _, revision = re.sub("[@:]", "@", rest, count=1).partition("@")
    return Source("hf", place, "", revision, uri)


def _oci(rest: str, uri: str) -> Source:
    place, _, named = rest.partition("/")
    path, mark, revision = named.partition("@")
    if not mark:
        path, _, revision = named.partition(":")
    return Source("oci", place, path, revision, uri)


_READERS: dict[Scheme, Callable[[str, str], Source]] = {
    "file": _file,
    "https": _https,
    "s3": _folder_reader("s3"),
    "gs": _folder_reader("gs"),
    "hf": _hub,
    "oci": _oci,
    "pvc": _folder_reader("pvc"),
}
