"""``oci://``: an artefact or an image, by the OCI distribution API.

Layers that name a file (ORAS, ModelPack) become that file; layers that are tars are unpacked, one over the
other, as a container's file system would be. Own code, since no library for Python resumes a blob.
"""

import hashlib
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

from fastserve.api.uris import Source
from fastserve.errors import DigestMismatch, SourceNotFound, SourceUnavailable
from fastserve.fetching.credentials import Credentials
from fastserve.fetching.registry_login import Login
from fastserve.fetching.remote import Body, Listing, RemoteFile, Unpack
from fastserve.fetching.web import (
    Ranged,
    WebSettings,
    check_status,
    document,
    is_loopback,
    ranged_read,
    web_client,
)
from fastserve.foreign_json import ForeignReader, Unreadable

_INDEXES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
_MANIFESTS = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
_ACCEPT = {"Accept": ", ".join([*_MANIFESTS, *_INDEXES])}
_FILE_NAMES = ("org.opencontainers.image.title", "org.cncf.model.filepath")
_UNPACKED = "io.deis.oras.content.unpack"
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}
_DOCKER_HUB = "docker.io"


class Descriptor(msgspec.Struct, frozen=True, rename="camel"):
    """What a manifest says of a blob."""

    digest: str
    size: int
    media_type: str = ""
    annotations: dict[str, str] = {}
    platform: dict[str, Any] = {}


class Manifest(msgspec.Struct, frozen=True):
    """A manifest has layers, an index has manifests."""

    layers: tuple[Descriptor, ...] = ()
    manifests: tuple[Descriptor, ...] = ()


_MANIFEST = ForeignReader(Manifest)


class OciArtifact:
    """Reads one artefact. A registry on this machine may do without TLS."""

    def __init__(self, source: Source, credentials: Credentials) -> None:
        host = "registry-1.docker.io" if source.place == _DOCKER_HUB else source.place
        plain = is_loopback(host)
        self._base = f"{'http' if plain else 'https'}://{host}/v2/{source.path}"
        self._revision = source.revision
        schemes = frozenset({"https", "http"} if plain else {"https"})
        self._client = web_client(WebSettings(ca=credentials.get("ca.crt"), schemes=schemes))
        self._login = Login(self._client, source, credentials)

    def listing(self) -> Listing:
        """The layers of the manifest; of an index, of that for this machine."""
        manifest, digest = self._manifest(self._revision)
        if manifest.manifests:
            manifest, _ = self._manifest(chosen(manifest.manifests).digest)
        files = tuple(self._file(layer, at) for at, layer in enumerate(manifest.layers))
        if not files:
            raise SourceNotFound("the manifest has no layers: check the URI")
        return Listing(files, digest, digest)

    @contextmanager
    def read(self, file: RemoteFile, offset: int) -> Iterator[Body]:
        # A blob is named by its digest, so its bytes cannot change.
        url = f"{self._base}/blobs/{file.key}"
        with ranged_read(self._client, Ranged(url, offset, headers=self._login.headers)) as body:
            yield body

    def close(self) -> None:
        self._client.close()

    def _manifest(self, reference: str) -> tuple[Manifest, str]:
        content = self._asked(f"{self._base}/manifests/{reference}")
        digest = "sha256:" + hashlib.sha256(content).hexdigest()
        if ":" in reference and digest != reference:
            raise DigestMismatch(f"the registry sent {digest} for {reference}: it is broken or lies")
        try:
            return _MANIFEST.read(content), digest
        except Unreadable as error:
            raise SourceUnavailable("the registry sent a manifest that is none") from error

    def _asked(self, url: str) -> bytes:
        response, content = document(self._client, url, headers={**_ACCEPT, **self._login.headers})
        if self._login.wanted(response):
            response, content = document(self._client, url, headers={**_ACCEPT, **self._login.headers})
        check_status(response)
        return content

    def _file(self, layer: Descriptor, at: int) -> RemoteFile:
        algorithm, _, sha256 = layer.digest.partition(":")
        if algorithm != "sha256" or len(sha256) != 64:
            raise SourceUnavailable(f"layer {at} has no sha256 digest: push it again with one")
        name, unpack = _name_and_way(layer)
        return RemoteFile(name or f"layer-{at}", layer.size, layer.digest, layer.digest, sha256, unpack)


def chosen(manifests: tuple[Descriptor, ...]) -> Descriptor:
    """The manifest of an index for this machine; the first where none says so."""
    machine = _MACHINES.get(platform.machine(), platform.machine())
    fitting = [m for m in manifests if m.platform.get("architecture") == machine]
    return (fitting or list(manifests))[0]


def _name_and_way(layer: Descriptor) -> tuple[str, Unpack]:
    name = next((layer.annotations[key] for key in _FILE_NAMES if layer.annotations.get(key)), "")
    packed = ".tar" in layer.media_type or "+tar" in layer.media_type or "diff.tar" in layer.media_type
    if name and not packed and layer.annotations.get(_UNPACKED) != "true":
        return name, ""
    if not packed and not name:
        raise SourceUnavailable(
            f"a layer of type {layer.media_type or 'unknown'} has no file name"
            f" (allowed: a tar, or an annotation {_FILE_NAMES[0]})"
        )
    return "", "layer"
