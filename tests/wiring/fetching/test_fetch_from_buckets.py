import hashlib
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx2
import obstore
import pytest
from obstore.store import S3Store

from fastserve.errors import SourceUnavailable
from wiring.fetching.fetching_world import MEGABYTE, Fetcher, FileServer, Served, hurried, killed_at
from wiring.fetching.slow_way import SlowWay
from wiring.fetching.source_servers import GCS, built, free_port, s3_python, serving

pytestmark = pytest.mark.timeout(900)  # the first run installs and builds the servers
FILES = {
    "config.json": b'{"model_type": "bert"}',
    "weights/model.safetensors": random.Random(5).randbytes(3 * MEGABYTE),
    "empty.txt": b"",
}
SECRETS = {"AWS_ACCESS_KEY_ID": "AKIAEXAMPLEKEY", "AWS_SECRET_ACCESS_KEY": "the-secret-key"}


def listing_digest(files: dict[str, bytes]) -> str:
    lines = "".join(f"{hashlib.sha256(files[path]).hexdigest()}  {path}\n" for path in sorted(files))
    return "sha256:" + hashlib.sha256(lines.encode()).hexdigest()


@dataclass(frozen=True)
class Bucket:
    """A bucket "models" with the folder news/ and others; `endpoint` serves it."""

    scheme: str
    endpoint: str
    way: SlowWay

    def put(self, key: str, content: bytes) -> None:
        if self.scheme == "s3":
            obstore.put(s3_store(self.endpoint), key, content)
            return
        url = f"{self.endpoint}/upload/storage/v1/b/models/o"
        httpx2.post(url, params={"uploadType": "media", "name": key}, content=content).raise_for_status()

    def secret(self) -> dict[str, str]:
        if self.scheme == "s3":
            return {**SECRETS, "AWS_ENDPOINT_URL": self.endpoint, "AWS_REGION": "us-east-1"}
        return {"GCS_ENDPOINT": self.endpoint}


def s3_store(endpoint: str) -> S3Store:
    return S3Store(
        "models",
        endpoint=endpoint,
        region="us-east-1",
        access_key_id=SECRETS["AWS_ACCESS_KEY_ID"],
        secret_access_key=SECRETS["AWS_SECRET_ACCESS_KEY"],
        client_options={"allow_http": True},
    )


@pytest.fixture(scope="module", params=["s3", "gs"])
def bucket(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bucket]:
    port, log = free_port(), tmp_path_factory.mktemp("bucket") / "server.log"
    way = SlowWay(f"http://127.0.0.1:{port}")
    endpoint = way.endpoint
    if request.param == "s3":
        command = [str(s3_python()), "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    else:
        command = [str(built(GCS)), "-scheme", "http", "-host", "127.0.0.1", "-port", str(port)]
        command += ["-backend", "memory", "-public-host", endpoint.removeprefix("http://")]
    with way.running(), serving(command, port, log):
        if request.param == "s3":
            httpx2.put(f"{endpoint}/models").raise_for_status()
        else:
            httpx2.post(f"{endpoint}/storage/v1/b", json={"name": "models"}).raise_for_status()
        made = Bucket(request.param, endpoint, way)
        for path, content in FILES.items():
            made.put(f"news/{path}", content)
        made.put("newsletter/other.txt", b"no part of news/")
        yield made


@pytest.fixture
def fetcher(tmp_path: Path, bucket: Bucket) -> Fetcher:
    return Fetcher(tmp_path, bucket.secret())


def test_a_prefix_arrives_as_a_folder(bucket: Bucket, fetcher: Fetcher) -> None:
    outcome = fetcher.run(f"{bucket.scheme}://models/news", digest=listing_digest(FILES))
    assert outcome.code == 0, outcome
    assert fetcher.files() == FILES
    assert outcome.last["bytesTotal"] == sum(map(len, FILES.values()))
    assert outcome.last["digest"] == listing_digest(FILES)
    assert outcome.last["revision"]


def test_another_digest_leaves_nothing(bucket: Bucket, fetcher: Fetcher) -> None:
    outcome = fetcher.run(f"{bucket.scheme}://models/news/", digest="sha256:" + "1" * 64)
    assert (outcome.code, outcome.last["reason"]) == (15, "DigestMismatch")
    assert not fetcher.partial.exists()
    assert not fetcher.destination.exists()


def test_one_object_arrives_as_one_file(bucket: Bucket, fetcher: Fetcher) -> None:
    digest = "sha256:" + hashlib.sha256(FILES["config.json"]).hexdigest()
    outcome = fetcher.run(f"{bucket.scheme}://models/news/config.json", digest=digest)
    assert outcome.code == 0, outcome
    assert fetcher.files() == {"config.json": FILES["config.json"]}


def test_what_is_not_there_is_told(bucket: Bucket, fetcher: Fetcher) -> None:
    outcome = fetcher.run(f"{bucket.scheme}://models/nothing")
    assert (outcome.code, outcome.last["reason"]) == (11, "NotFound"), outcome
    assert bucket.endpoint.removeprefix("http://") not in json.dumps(outcome.lines) + outcome.stderr


def test_a_missing_bucket_is_told(bucket: Bucket, fetcher: Fetcher) -> None:
    if bucket.scheme == "gs":
        pytest.skip("this server answers 500 where GCS says 404; that is tried below")
    outcome = fetcher.run("s3://no-such-bucket/news")
    assert (outcome.code, outcome.last["reason"]) == (11, "NotFound"), outcome


def test_the_limit_is_checked_before_a_transfer(bucket: Bucket, fetcher: Fetcher) -> None:
    outcome = fetcher.run(f"{bucket.scheme}://models/news", maxBytes=MEGABYTE)
    assert (outcome.code, outcome.last["reason"]) == (16, "SizeLimitExceeded")
    assert not list((fetcher.partial / "parts").iterdir())


def test_after_a_kill_only_the_rest_is_fetched(bucket: Bucket, fetcher: Fetcher) -> None:
    many = {f"{number}.bin": random.Random(number).randbytes(MEGABYTE) for number in range(12)}
    for path, content in many.items():
        bucket.put(f"many/{path}", content)
    bucket.way.seconds_per_chunk = 0.02
    had = killed_at(fetcher.start(f"{bucket.scheme}://models/many"), 0.5)
    bucket.way.seconds_per_chunk = 0
    before = bucket.way.bytes_sent
    outcome = fetcher.run(f"{bucket.scheme}://models/many")
    assert outcome.code == 0, outcome
    assert fetcher.files() == many
    assert bucket.way.bytes_sent - before < 12 * MEGABYTE - had + MEGABYTE


@pytest.mark.parametrize(
    ("uri", "status", "code", "reason"),
    [
        ("s3://models/news", 403, 12, "Unauthorized"),
        ("gs://models/news", 403, 12, "Unauthorized"),
        ("gs://models/news", 404, 11, "NotFound"),
        ("s3://models/news", 400, 13, "SourceUnavailable"),
    ],
)
def test_a_refusal_is_told_without_keys(
    tmp_path: Path, uri: str, status: int, code: int, reason: str
) -> None:
    refused = {path: Served(b"", statuses=[status] * 9) for path in ("/models", "/models/news")}
    with FileServer(tmp_path, refused, tls=False).running() as server:
        endpoints = dict.fromkeys(("AWS_ENDPOINT_URL", "GCS_ENDPOINT"), server.url(""))
        fetcher = Fetcher(tmp_path, {**SECRETS, **endpoints})
        outcome = fetcher.run(uri)
    assert (outcome.code, outcome.last["reason"]) == (code, reason), outcome
    said = json.dumps(outcome.lines) + outcome.stderr
    assert not [value for value in fetcher.secret.values() if value in said]


def test_a_service_account_that_is_none_is_refused(tmp_path: Path) -> None:
    outcome = Fetcher(tmp_path, {"service-account.json": "no json"}).run("gs://models/news")
    assert (outcome.code, outcome.last["reason"]) == (2, "InvalidSpec"), outcome


def test_a_bucket_that_does_not_answer_is_given_up(tmp_path: Path) -> None:
    fetcher = Fetcher(tmp_path, {**SECRETS, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{free_port()}"})
    with pytest.raises(SourceUnavailable, match="no connection"):
        hurried(fetcher, "s3://models/news")
