"""A bucket's server as Google's is to a service account: it answers whoever signed the request's token with
the account's key, and nobody else. The server behind it answers everybody."""

import base64
import http.client
import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key

ACCOUNT = "reader@models.invalid"


@dataclass(frozen=True)
class Account:
    """A service account and its key."""

    key: RSAPrivateKey

    @staticmethod
    def new() -> "Account":
        return Account(generate_private_key(65537, 2048))

    def document(self, key_id: str) -> str:
        """What a user puts into the Secret as ``service-account.json``."""
        pem = self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        about = {"type": "service_account", "client_email": ACCOUNT, "private_key_id": key_id}
        return json.dumps({**about, "private_key": pem.decode()})

    def signed(self, authorization: str) -> bool:
        """Whether this header is a token of the account's: ``Bearer HEAD.CLAIMS.SIGNATURE``."""
        text, _, signature = authorization.removeprefix("Bearer ").rpartition(".")
        try:
            claims = json.loads(_decoded(text.partition(".")[2]))
            self.key.public_key().verify(_decoded(signature), text.encode(), PKCS1v15(), hashes.SHA256())
        except (ValueError, InvalidSignature):
            return False
        return bool(claims.get("iss") == ACCOUNT)


def _decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


@contextmanager
def guarded(address: str, port: int, upstream: str) -> Iterator[Account]:
    """Serve at ``address:port`` what ``upstream`` (host:port) answers to the account that is given."""
    account = Account.new()

    class Door(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if not account.signed(self.headers.get("Authorization", "")):
                self.send_error(401)
                return
            _pass_on(self, upstream)

        def do_HEAD(self) -> None:
            self.do_GET()

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer((address, port), Door)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield account
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _pass_on(door: BaseHTTPRequestHandler, upstream: str) -> None:
    """The host's name goes along: the server knows the paths of objects by it."""
    connection = http.client.HTTPConnection(upstream, timeout=60)
    try:
        headers = {name: text for name, text in door.headers.items() if name.lower() != "authorization"}
        connection.request(door.command, door.path, headers=headers)
        answer = connection.getresponse()
        door.send_response(answer.status)
        for name, text in answer.getheaders():
            if name.lower() not in {"connection", "transfer-encoding", "date", "server"}:
                door.send_header(name, text)
        if answer.getheader("Content-Length") is None and door.command == "GET":
            door.send_header("Connection", "close")
            door.close_connection = True
        door.end_headers()
        shutil.copyfileobj(answer, door.wfile)
    except OSError:  # whoever asked went away
        door.close_connection = True
    finally:
        connection.close()
