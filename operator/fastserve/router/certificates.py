"""TLS at the data port: what the certificate's files make of a server, and of a caller of the other routers.

All routers of a pool serve one certificate, so each knows by its own files whom to expect: a peer must show a
certificate that the Secret's ``ca.crt`` signed, or the very same one, for the name that stands in it.
"""

import re
import ssl
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastserve.errors import LocalError

PROTOCOLS = ["http/1.1"]
_CERTIFICATE = re.compile(
    rb"^-----BEGIN (?P<kind>(?:X509 |TRUSTED )?CERTIFICATE)-----.*?^-----END (?P=kind)-----",
    re.MULTILINE | re.DOTALL,
)
"""What OpenSSL reads in a file; the text around it, in whatever encoding, it passes over."""


class CertificateUnusable(LocalError):
    reason = "CertificateUnusable"


@dataclass(frozen=True)
class TlsPlaces:
    """Folders of the mounted Secrets: ``tls.crt``, ``tls.key`` and perhaps ``ca.crt``; and ``ca.crt`` of
    whoever signs callers' certificates, where they must show one."""

    folder: Path
    client_ca: Path | None = None


@dataclass(frozen=True)
class Material:
    """What new connections are made with. `name` is what peers' certificates are for."""

    server: ssl.SSLContext
    client: ssl.SSLContext
    name: str


class PeerTls:
    """What calls to other routers are made with; exchanged whole when the files change."""

    def __init__(self) -> None:
        self.material: Material | None = None


def load(places: TlsPlaces) -> Material:
    """Read the files, and try them on each other: a handshake in memory, as one router with another.

    Raises CertificateUnusable, saying why; it holds nothing of the key.
    """
    try:
        server, client = _server(places), _client(places.folder)
        return Material(server, client, _name_in(_handshake(server, client)))
    except ssl.SSLCertVerificationError as error:
        raise CertificateUnusable(f"tls.crt: {error.verify_message}") from error
    except ssl.SSLError as error:
        raise CertificateUnusable(
            f"tls.crt and tls.key do not go together: {error.reason or error}"
        ) from error
    except OSError as error:
        raise CertificateUnusable(f"{Path(error.filename or 'tls.crt').name}: {error.strerror}") from error
    except ValueError as error:
        raise CertificateUnusable(f"tls.crt cannot be read: {error}") from error


def _server(places: TlsPlaces) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(PROTOCOLS)
    _show(context, places.folder)
    if places.client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(places.client_ca / "ca.crt")
        _trust_own(context, places.folder)
    return context


def _client(folder: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _show(context, folder)
    _trust_own(context, folder)
    authority = folder / "ca.crt"
    # Some issuers leave it empty.
    if authority.exists() and authority.stat().st_size:
        context.load_verify_locations(authority)
    return context


def _show(context: ssl.SSLContext, folder: Path) -> None:
    # Without a password given, OpenSSL would ask the terminal for the one of an encrypted key.
    context.load_cert_chain(folder / "tls.crt", folder / "tls.key", password="")


def _trust_own(context: ssl.SSLContext, folder: Path) -> None:
    """Trust the pool's certificate itself; not who signed it, which may sign anybody's."""
    leaf = _CERTIFICATE.search((folder / "tls.crt").read_bytes())
    if leaf is None:
        raise CertificateUnusable("tls.crt holds no certificate")
    context.load_verify_locations(cadata=leaf[0].decode("ascii"))
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN


def _handshake(server: ssl.SSLContext, client: ssl.SSLContext) -> list[tuple[str, str]]:
    """Both sides in memory. Returns the names in the server's certificate; raises SSLError."""
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    client.check_hostname = False
    sides = [
        client.wrap_bio(to_client, to_server),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    for _ in range(4):
        with suppress(ssl.SSLWantReadError):
            sides[0].do_handshake()
        try:
            sides[1].do_handshake()
        except ssl.SSLWantReadError:
            continue
        except ssl.SSLCertVerificationError as error:
            why = f"routers cannot show tls.crt to each other: {error.verify_message}; with a CA for callers"
            raise CertificateUnusable(f"{why} it must be good for client authentication too") from error
    # With TLS 1.3 the client is through before the server has judged its certificate, and the server's word
    # on it comes as data.
    with suppress(ssl.SSLWantReadError):
        sides[0].read(1)
    client.check_hostname = True
    shown: dict[str, Any] = sides[0].getpeercert() or {}
    return [(str(kind), str(name)) for kind, name in shown.get("subjectAltName", ())]


def _name_in(names: list[tuple[str, str]]) -> str:
    """A name that the certificate is for; of a wildcard any one that it covers."""
    found = [name for kind, name in names if kind in ("DNS", "IP Address")]
    if not found:
        raise CertificateUnusable("tls.crt names no host (subjectAltName)")
    return found[0].replace("*", "router", 1)
