import hashlib
import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from wiring.fetching.fetching_world import MEGABYTE, Fetcher, FileServer, Served, killed_at

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TOKEN = "hf_a-token-of-the-test"
FILES = {
    "config.json": b'{"model_type": "bert"}',
    "model.safetensors": random.Random(3).randbytes(4 * MEGABYTE),
    "tokenizer.json": b"{}",
    ".gitattributes": b"*.bin lfs",
    "pytorch_model.bin": b"the same once more",
    "onnx/model.onnx": b"and once more",
}
WANTED = {path: FILES[path] for path in ("config.json", "model.safetensors", "tokenizer.json")}


def sibling(path: str) -> dict[str, object]:
    content = FILES[path]
    told: dict[str, object] = {
        "rfilename": path,
        "size": len(content),
        "blobId": hashlib.sha1(content).hexdigest(),
    }
    if path.endswith((".safetensors", ".bin")):
        told["lfs"] = {
            "sha256": hashlib.sha256(content).hexdigest(),
            "size": len(content),
            "pointerSize": 134,
        }
    return told


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[FileServer]:
    """What a hub answers for owner/model at its revisions main and v1, and for a gated model."""
    info = {"id": "owner/model", "sha": COMMIT, "siblings": [sibling(path) for path in FILES]}
    authorization = f"Bearer {TOKEN}"
    files = {
        "/api/models/owner/model": Served(json.dumps(info).encode()),
        "/api/models/owner/model/revision/v1": Served(json.dumps(info).encode()),
        "/api/models/owner/model/revision/v9": Served(
            b"", statuses=[404], headers={"X-Error-Code": "RevisionNotFound"}
        ),
        "/api/models/owner/gated": Served(b"", statuses=[403], headers={"X-Error-Code": "GatedRepo"}),
        "/api/models/owner/none": Served(b"", statuses=[404], headers={"X-Error-Code": "RepoNotFound"}),
        "/api/models/owner/private": Served(b"", statuses=[401], headers={"X-Error-Code": "RepoNotFound"}),
    }
    for path, content in FILES.items():
        files[f"/owner/model/resolve/{COMMIT}/{path}"] = Served(content, authorization=authorization)
    with FileServer(tmp_path, files).running() as server:
        yield server


@pytest.fixture
def fetcher(tmp_path: Path, hub: FileServer) -> Fetcher:
    return Fetcher(tmp_path, {"HF_TOKEN": TOKEN, "ca.crt": hub.ca.read_text(), "HF_ENDPOINT": hub.url("")})


@pytest.mark.parametrize("uri", ["hf://owner/model", "hf://owner/model:v1", "hf://owner/model@v1"])
def test_a_model_arrives_at_its_commit(hub: FileServer, fetcher: Fetcher, uri: str) -> None:
    outcome = fetcher.run(uri)
    assert outcome.code == 0, outcome
    assert fetcher.files() == WANTED
    assert outcome.last["revision"] == fetcher.marker["revision"] == COMMIT
    assert outcome.last["bytesTotal"] == sum(map(len, WANTED.values()))
    assert {authorization for _, _, authorization in hub.asked} == {f"Bearer {TOKEN}"}


def test_a_file_is_gone_on_with_in_its_middle(hub: FileServer, fetcher: Fetcher) -> None:
    weights = hub.files[f"/owner/model/resolve/{COMMIT}/model.safetensors"]
    weights.seconds_per_chunk = 0.02
    had = killed_at(fetcher.start("hf://owner/model"), 0.5)
    weights.seconds_per_chunk = 0
    before = hub.bytes_sent
    outcome = fetcher.run("hf://owner/model")
    assert outcome.code == 0, outcome
    assert fetcher.files() == WANTED
    listing = len(hub.files["/api/models/owner/model"].content)
    assert hub.bytes_sent - before <= sum(map(len, WANTED.values())) - had + listing


def test_weights_that_are_not_those_of_the_commit_are_thrown_away(hub: FileServer, fetcher: Fetcher) -> None:
    path = f"/owner/model/resolve/{COMMIT}/model.safetensors"
    hub.files[path].content = hub.files[path].content[::-1]
    outcome = fetcher.run("hf://owner/model")
    assert (outcome.code, outcome.last["reason"]) == (15, "DigestMismatch")
    assert not fetcher.partial.exists()


@pytest.mark.parametrize(
    ("uri", "code", "reason"),
    [
        ("hf://owner/model:v9", 11, "NotFound"),
        ("hf://owner/none", 11, "NotFound"),
        ("hf://owner/private", 12, "Unauthorized"),
        ("hf://owner/gated", 12, "Unauthorized"),
    ],
)
def test_refusals_of_the_hub_say_what_to_do(
    hub: FileServer, fetcher: Fetcher, uri: str, code: int, reason: str
) -> None:
    outcome = fetcher.run(uri)
    assert (outcome.code, outcome.last["reason"]) == (code, reason), outcome
    said = json.dumps(outcome.lines) + outcome.stderr
    assert TOKEN not in said
    assert hub.host not in said


def test_a_wrong_token_is_told(hub: FileServer, fetcher: Fetcher) -> None:
    fetcher.secret["HF_TOKEN"] = "hf_another-token"
    outcome = fetcher.run("hf://owner/model")
    assert (outcome.code, outcome.last["reason"]) == (12, "Unauthorized"), outcome


def test_the_limit_holds_for_the_files_of_use(hub: FileServer, fetcher: Fetcher) -> None:
    outcome = fetcher.run("hf://owner/model", maxBytes=MEGABYTE)
    assert (outcome.code, outcome.last["reason"]) == (16, "SizeLimitExceeded")
