import base64
import hashlib
import io
import json
import platform
import random
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from wiring.fetching.fetching_world import MEGABYTE, Fetcher, FileServer, Served, killed_at
from wiring.fetching.slow_way import SlowWay
from wiring.fetching.source_servers import REGISTRY, built, free_port, serving

pytestmark = pytest.mark.timeout(900)  # the first run builds the registry
TAR = "application/vnd.oci.image.layer.v1.tar+gzip"
WEIGHTS = random.Random(9).randbytes(3 * MEGABYTE)
USER = ("puller", "open-sesame")
HTPASSWD = "puller:$2y$04$i3PCFadCTzsKnQzw2A01QuC8uiLSnhTH/4qfwGBB.6JVt77bSTfQG\n"
Layer = tuple[bytes, str, dict[str, str]]


class Registry:
    """A running registry; `way` counts what it sends."""

    def __init__(self, way: SlowWay, auth: tuple[str, str] | None) -> None:
        self.way = way
        self.host = way.endpoint.removeprefix("http://")
        self.client = httpx2.Client(base_url=f"{way.endpoint}/v2/", auth=auth, follow_redirects=True)

    def push(self, repository: str, tag: str, *layers: Layer) -> str:
        """Push an artefact; its digest."""
        described = [
            {
                "mediaType": kind,
                "size": len(content),
                "digest": self._blob(repository, content),
                "annotations": notes,
            }
            for content, kind, notes in layers
        ]
        config = {
            "mediaType": "application/vnd.oci.empty.v1+json",
            "size": 2,
            "digest": self._blob(repository, b"{}"),
        }
        return self.manifest(
            repository,
            tag,
            {
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "config": config,
                "layers": described,
            },
        )

    def manifest(self, repository: str, tag: str, document: dict[str, object]) -> str:
        content = json.dumps({"schemaVersion": 2, **document}).encode()
        put = self.client.put(
            f"{repository}/manifests/{tag}",
            content=content,
            headers={"Content-Type": str(document["mediaType"])},
        )
        put.raise_for_status()
        return "sha256:" + hashlib.sha256(content).hexdigest()

    def _blob(self, repository: str, content: bytes) -> str:
        digest = "sha256:" + hashlib.sha256(content).hexdigest()
        begun = self.client.post(f"{repository}/blobs/uploads/")
        begun.raise_for_status()
        url = httpx2.URL(f"{self.way.endpoint}{begun.headers['Location']}").copy_merge_params(
            {"digest": digest}
        )
        self.client.put(url, content=content).raise_for_status()
        return digest


@contextmanager
def registry(
    folder: Path, auth: dict[str, object], user: tuple[str, str] | None = None
) -> Iterator[Registry]:
    port = free_port()
    configuration = {
        "version": 0.1,
        "log": {"level": "warn"},
        "storage": {"filesystem": {"rootdirectory": str(folder / "store")}},
        "http": {"addr": f"127.0.0.1:{port}", "relativeurls": True},
        "auth": auth,
    }
    file = folder / "registry.yaml"
    file.write_text(json.dumps({key: value for key, value in configuration.items() if value}))
    way = SlowWay(f"http://127.0.0.1:{port}")
    way.seconds_per_chunk = 0
    program = str(built(REGISTRY))
    with way.running(), serving([program, "serve", str(file)], port, folder / "registry.log"):
        running = Registry(way, user)
        with running.client:
            yield running


@pytest.fixture(scope="module")
def open_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with registry(tmp_path_factory.mktemp("registry"), {}) as running:
        yield running


@pytest.fixture
def fetcher(tmp_path: Path) -> Fetcher:
    return Fetcher(tmp_path)


def tar_of(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for path, content in files.items():
            info = tarfile.TarInfo(path)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return packed.getvalue()


def named(content: bytes, name: str) -> Layer:
    return content, "application/octet-stream", {"org.opencontainers.image.title": name}


def test_layers_that_name_files_become_those_files(open_registry: Registry, fetcher: Fetcher) -> None:
    digest = open_registry.push("team/named", "1.0", named(b"{}", "config.json"), named(WEIGHTS, "w/m.bin"))
    outcome = fetcher.run(f"oci://{open_registry.host}/team/named:1.0", digest=digest)
    assert outcome.code == 0, outcome
    assert fetcher.files() == {"config.json": b"{}", "w/m.bin": WEIGHTS}
    assert outcome.last["revision"] == outcome.last["digest"] == digest


def test_layers_of_an_image_lie_over_each_other(open_registry: Registry, fetcher: Fetcher) -> None:
    lower = tar_of({"models/config.json": b"old", "models/gone.txt": b"x", "models/m.bin": WEIGHTS})
    upper = tar_of({"models/config.json": b"new", "models/.wh.gone.txt": b""})
    digest = open_registry.push("team/image", "1.0", (lower, TAR, {}), (upper, TAR, {}))
    outcome = fetcher.run(f"oci://{open_registry.host}/team/image@{digest}")
    assert outcome.code == 0, outcome
    assert fetcher.files() == {"config.json": b"new", "m.bin": WEIGHTS}
    assert {line["phase"] for line in outcome.lines} >= {"Fetching", "Fetched"}


def test_of_an_index_the_manifest_for_this_machine_is_taken(
    open_registry: Registry, fetcher: Fetcher
) -> None:
    machine = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]
    digests = {
        name: open_registry.push("team/index", name, named(name.encode(), "a.txt"))
        for name in (machine, "s390x")
    }
    manifests = []
    for name, digest in reversed(digests.items()):
        found = httpx2.get(
            f"{open_registry.way.endpoint}/v2/team/index/manifests/{digest}",
            headers={"Accept": "application/vnd.oci.image.manifest.v1+json"},
        )
        manifests.append(
            {
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "digest": digest,
                "size": len(found.content),
                "platform": {"architecture": name, "os": "linux"},
            }
        )
    document: dict[str, object] = {
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": manifests,
    }
    open_registry.manifest("team/index", "all", document)
    assert fetcher.run(f"oci://{open_registry.host}/team/index:all").code == 0
    assert fetcher.files() == {"a.txt": machine.encode()}


def test_a_blob_is_gone_on_with_in_its_middle(open_registry: Registry, fetcher: Fetcher) -> None:
    open_registry.push("team/killed", "1", named(WEIGHTS, "m.bin"))
    uri = f"oci://{open_registry.host}/team/killed:1"
    open_registry.way.seconds_per_chunk = 0.02
    had = killed_at(fetcher.start(uri), 0.5)
    open_registry.way.seconds_per_chunk = 0
    before = open_registry.way.bytes_sent
    assert fetcher.run(uri).code == 0
    assert fetcher.files() == {"m.bin": WEIGHTS}
    assert open_registry.way.bytes_sent - before < len(WEIGHTS) - had + MEGABYTE // 4


def test_another_digest_than_the_tags_is_refused_before_a_blob_comes(
    open_registry: Registry, fetcher: Fetcher
) -> None:
    open_registry.push("team/moved", "1", named(WEIGHTS, "m.bin"))
    before = open_registry.way.bytes_sent
    outcome = fetcher.run(f"oci://{open_registry.host}/team/moved:1", digest="sha256:" + "a" * 64)
    assert (outcome.code, outcome.last["reason"]) == (15, "DigestMismatch")
    assert open_registry.way.bytes_sent - before < MEGABYTE // 4
    assert not fetcher.partial.exists()


@pytest.mark.parametrize("what", ["team/none:1", "team/moved:9", "team/moved@sha256:" + "b" * 64])
def test_what_the_registry_does_not_have_is_told(
    open_registry: Registry, fetcher: Fetcher, what: str
) -> None:
    outcome = fetcher.run(f"oci://{open_registry.host}/{what}")
    assert (outcome.code, outcome.last["reason"]) == (11, "NotFound"), outcome


def test_the_limit_is_that_of_the_layers(open_registry: Registry, fetcher: Fetcher) -> None:
    open_registry.push("team/large", "1", named(WEIGHTS, "m.bin"))
    outcome = fetcher.run(f"oci://{open_registry.host}/team/large:1", maxBytes=MEGABYTE)
    assert (outcome.code, outcome.last["reason"]) == (16, "SizeLimitExceeded")


def docker_config(host: str, password: str) -> str:
    pair = base64.b64encode(f"{USER[0]}:{password}".encode()).decode()
    return json.dumps({"auths": {host: {"auth": pair}}})


def test_a_registry_with_passwords_asks_for_them(tmp_path: Path, fetcher: Fetcher) -> None:
    (tmp_path / "htpasswd").write_text(HTPASSWD)
    auth: dict[str, object] = {"htpasswd": {"realm": "here", "path": str(tmp_path / "htpasswd")}}
    with registry(tmp_path, auth, USER) as running:
        running.push("private", "1", named(b"{}", "config.json"))
        uri = f"oci://{running.host}/private:1"
        refused = fetcher.run(uri)
        fetcher.secret[".dockerconfigjson"] = docker_config(running.host, "wrong-password")
        wrong = fetcher.run(uri)
        fetcher.secret[".dockerconfigjson"] = docker_config(running.host, USER[1])
        right = fetcher.run(uri)
    assert (refused.code, refused.last["reason"]) == (12, "Unauthorized")
    assert (wrong.code, wrong.last["reason"]) == (12, "Unauthorized")
    assert "wrong-password" not in json.dumps(wrong.lines) + wrong.stderr
    assert right.code == 0, right
    assert fetcher.files() == {"config.json": b"{}"}


def test_a_registry_with_tokens_sends_to_its_realm(tmp_path: Path, fetcher: Fetcher) -> None:
    given = Served(b'{"token": "a-short-lived-token"}')
    given.authorization = "Basic " + base64.b64encode(":".join(USER).encode()).decode()
    with FileServer(tmp_path, {"/token": given}, tls=False).running() as realm:
        auth: dict[str, object] = {"silly": {"realm": realm.url("/token"), "service": "tests"}}
        with registry(tmp_path, auth, USER) as running:
            running.push("team/tokens", "1", named(b"{}", "config.json"))
            fetcher.secret[".dockerconfigjson"] = docker_config(running.host, USER[1])
            outcome = fetcher.run(f"oci://{running.host}/team/tokens:1")
    assert outcome.code == 0, outcome
    assert fetcher.files() == {"config.json": b"{}"}
    assert [path for path, _, _ in realm.asked] == [
        "/token?service=tests&scope=repository%3Ateam%2Ftokens%3Apull"
    ]


def other_type(layer: Layer, kind: str) -> Layer:
    return layer[0], kind, {}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda layer: other_type(layer, "application/octet-stream"), "SourceUnavailable"),
        (lambda layer: (layer[0], layer[1], {"org.opencontainers.image.title": "../out"}), "ArchiveRefused"),
        (lambda layer: other_type(layer, TAR), "ArchiveRefused"),
    ],
    ids=["no name", "a name that leads out", "no tar"],
)
def test_layers_that_no_model_has_are_refused(
    open_registry: Registry, fetcher: Fetcher, change: Callable[[Layer], Layer], reason: str
) -> None:
    open_registry.push("team/odd", "1", change(named(b"certainly no archive" * 50, "a.bin")))
    outcome = fetcher.run(f"oci://{open_registry.host}/team/odd:1")
    assert outcome.last["reason"] == reason, outcome
    assert not fetcher.destination.exists()


def test_a_manifest_without_an_end_is_not_read_to_it(tmp_path: Path, fetcher: Fetcher) -> None:
    endless = Served(b" " * (16 * MEGABYTE))
    with FileServer(tmp_path, {"/v2/team/m/manifests/1": endless}, tls=False).running() as server:
        outcome = fetcher.run(f"oci://{server.url('/team/m').removeprefix('http://')}:1")
    assert outcome.last["reason"] == "SourceUnavailable"
    assert "more than" in outcome.last["message"]
    assert server.bytes_sent < 12 * MEGABYTE


def test_a_realm_that_sends_no_token_is_told_as_the_sources_fault(tmp_path: Path, fetcher: Fetcher) -> None:
    with FileServer(tmp_path, {"/token": Served(b"<html>")}, tls=False).running() as realm:
        auth: dict[str, object] = {"silly": {"realm": realm.url("/token"), "service": "tests"}}
        with registry(tmp_path, auth) as running:
            outcome = fetcher.run(f"oci://{running.host}/team/tokens:1")
    assert outcome.last["reason"] == "SourceUnavailable", outcome


def test_a_realm_that_is_no_url_is_told_as_the_sources_fault(tmp_path: Path, fetcher: Fetcher) -> None:
    auth: dict[str, object] = {"silly": {"realm": "https://[x/token", "service": "tests"}}
    with registry(tmp_path, auth) as running:
        outcome = fetcher.run(f"oci://{running.host}/team/tokens:1")
    assert outcome.last["reason"] == "SourceUnavailable", outcome
    assert "no URL" in outcome.last["message"]
