"""How a registry wants to be asked: by a token that its realm gives out, or by name and password."""

import base64
import re
import time
from urllib.parse import urlsplit

import httpx2
import msgspec

from fastserve.api.uris import Source
from fastserve.errors import InvalidSpec, SourceUnavailable
from fastserve.fetching.credentials import Credentials
from fastserve.fetching.web import check_status, document, is_loopback
from fastserve.foreign_json import ForeignReader, Unreadable

TOKEN_SECONDS = 45.0
_PARAMETER = re.compile(r'(\w+)="([^"]*)"')


class Entry(msgspec.Struct, frozen=True):
    """One registry's entry of a .dockerconfigjson."""

    auth: str = ""
    username: str = ""
    password: str = ""


class DockerConfig(msgspec.Struct, frozen=True):
    """A Secret of type kubernetes.io/dockerconfigjson."""

    auths: dict[str, Entry] = {}


_CONFIG = ForeignReader(DockerConfig)
_TOKEN = ForeignReader(dict[str, object])


class Login:
    """Answers a registry's challenge; `headers` are those of every request after it.

    Tokens live a minute at least, and some no longer: an older one is exchanged before it is used.
    """

    def __init__(self, client: httpx2.Client, source: Source, credentials: Credentials) -> None:
        self._client = client
        self._source = source
        self._basic = basic_of(credentials.get(".dockerconfigjson"), source.place)
        self._challenge: dict[str, str] = {}
        self._authorization = ""
        self._since = 0.0

    @property
    def headers(self) -> dict[str, str]:
        """What every request carries; nothing before there was a challenge."""
        if self._challenge and time.monotonic() - self._since > TOKEN_SECONDS:
            self._take_token()
        return {"Authorization": self._authorization} if self._authorization else {}

    def wanted(self, response: httpx2.Response) -> bool:
        """Take up the challenge of a refusal; whether asking again makes sense."""
        challenge = response.headers.get("WWW-Authenticate", "")
        if response.status_code != httpx2.codes.UNAUTHORIZED or self._authorization:
            return False
        if challenge.lower().startswith("bearer"):
            self._challenge = dict(_PARAMETER.findall(challenge))
            self._take_token()
        elif self._basic:
            self._authorization = f"Basic {self._basic}"
        return bool(self._authorization)

    def _take_token(self) -> None:
        self._authorization, self._since = f"Bearer {self._token(self._challenge)}", time.monotonic()

    def _token(self, challenge: dict[str, str]) -> str:
        try:
            realm = urlsplit(challenge.get("realm", ""))
        except ValueError as error:
            raise SourceUnavailable("the registry sends its users to a realm that is no URL") from error
        if realm.scheme != "https" and not is_loopback(realm.netloc):
            raise SourceUnavailable("the registry sends its users to a realm without TLS")
        asked = {
            "service": challenge.get("service", ""),
            "scope": challenge.get("scope") or f"repository:{self._source.path}:pull",
        }
        headers = {"Authorization": f"Basic {self._basic}"} if self._basic else {}
        response, content = document(self._client, realm.geturl(), params=asked, headers=headers)
        check_status(response)
        try:
            answer = _TOKEN.read(content)
        except Unreadable as error:
            raise SourceUnavailable("the registry's realm sent a token that is none") from error
        return str(answer.get("token") or answer.get("access_token") or "")


def _host_of(name: str) -> str:
    """Of a registry as a configuration names it, with or without a scheme; empty where it is none."""
    try:
        return urlsplit(name if "//" in name else f"//{name}").netloc
    except ValueError:
        return ""


def basic_of(config: str, registry: str) -> str:
    """``user:password`` in base64 for a registry, out of a .dockerconfigjson; empty where it has none.
    Raises InvalidSpec where it is no such document."""
    if not config:
        return ""
    try:
        auths = _CONFIG.read(config).auths
    except Unreadable as error:
        raise InvalidSpec(".dockerconfigjson", "is no Docker configuration", '{"auths": {…}}') from error
    for name, entry in auths.items():
        host = _host_of(name)
        hub = registry == "docker.io" and f".{host}".endswith(".docker.io")
        if host == registry or hub:
            return entry.auth or base64.b64encode(f"{entry.username}:{entry.password}".encode()).decode()
    return ""
