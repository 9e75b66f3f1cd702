import json
import os
import shutil
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from harness.example import load_models, member
from harness.kubectl import Kubectl, Manifest
from harness.rows import said_of, show, timed
from harness.statuses import must_be
from harness.target import address_for_pods
from harness.waiting import eventually
from wiring.fetching.fetching_world import FileServer, Served

pytestmark = pytest.mark.timeout(900)

PROMISED = 15
"""Seconds from a report to the status. The promise is five; the machine of the tests is small and busy."""
NOTHING = "sha256:" + "0" * 64
CUT = 1 << 20
SLOWLY = 0.05
"""Seconds for 64 KiB: four times the pod's room comes in over three minutes, and the kubelet looks at the
size of volumes once a minute."""


@pytest.fixture(scope="module")
def spoilt(checkpoints: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The four specialists; the weights of `world` are cut short."""
    folder = tmp_path_factory.mktemp("models")
    for one in checkpoints.iterdir():
        shutil.copytree(one, folder / one.name, copy_function=os.link)
    weights = folder / "world" / "model.safetensors"
    beginning = weights.read_bytes()[:CUT]
    weights.unlink()
    weights.write_bytes(beginning)
    return folder


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FileServer]:
    files = {
        "/garbage.tar": Served(b"this is no archive" * 1000),
        "/large.tar": Served(b"", announced=1 << 30, ranges=False),
        "/huge.tar": Served(b"", announced=500 << 40, ranges=False),
        "/filling.tar": Served(bytes(256 << 20), seconds_per_chunk=SLOWLY),
    }
    with FileServer(tmp_path_factory.mktemp("web"), files, address=address_for_pods()).running() as server:
        yield server


@pytest.fixture(scope="module")
def pool(installed: Kubectl, namespace: Kubectl, spoilt: Path, web: FileServer) -> Kubectl:
    load_models(namespace, spoilt)
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "web"}}
    news = {"apiVersion": "fastserve.io/v1alpha1", "kind": "ModelPool", "metadata": {"name": "news"}}
    namespace.apply(json.dumps({**secret, "stringData": {"ca.crt": web.ca.read_text()}}))
    namespace.apply(json.dumps(news))
    return namespace


def fetched(uri: str, **more: Any) -> Manifest:
    return {"storageUri": uri, "credentials": {"secretName": "web"}, **more}


def fails(pool: Kubectl, document: Manifest, reason: str, case: str) -> Manifest:
    """Apply the sub-model and print what its status says of it once it says `reason`: its lastFailure."""
    name = document["metadata"]["name"]
    pool.apply(json.dumps(document))

    def told() -> Manifest:
        said = said_of(pool, "submodel", name, ("Ready", "False", reason))
        seen = time.time()
        failure: Manifest = pool.get("submodel", name)["status"]["lastFailure"]
        assert failure["reason"] == reason
        return {"said": said, "failure": failure, "seen": seen}

    seconds, found = timed(told, 180, f"{case}: {reason}")
    show(case, seconds, found["said"])
    report = datetime.fromisoformat(found["failure"]["time"]).timestamp()
    print(f"         {max(0.0, found['seen'] - report):.0f} s after it was reported")
    assert found["seen"] - report <= PROMISED or reason == "Evicted"
    failure: Manifest = found["failure"]
    return failure


def gone(pool: Kubectl, name: str) -> None:
    pool("delete", "submodel", name)
    eventually(lambda: pool.list_of("pods", f"fastserve.io/submodel={name}") == [], 120, "its pods go")


def test_a_source_tells_what_is_wrong_with_it(pool: Kubectl, web: FileServer) -> None:
    cases: list[tuple[str, str, Manifest]] = [
        ("nothing lies at the URI", "NotFound", fetched(web.url("/absent.tar"))),
        ("more than is allowed", "SizeLimitExceeded", fetched(web.url("/large.tar"))),
        ("other bytes than promised", "DigestMismatch", fetched(web.url("/garbage.tar"), digest=NOTHING)),
        ("no archive", "ArchiveRefused", fetched(web.url("/garbage.tar"))),
        ("no such host", "SourceUnavailable", fetched("https://nobody.invalid/model.tar")),
    ]
    for case, reason, model in cases:
        failure = fails(pool, member("fetched", model={**model, "sizeLimit": "64Mi"}), reason, case)
        assert failure["pod"].startswith("fetched-m-")
    (pod,) = pool.list_of("pods", "fastserve.io/submodel=fetched")
    restarts = [one["restartCount"] for one in pod["status"]["containerStatuses"]]
    print(f"         all of them in one pod, whose Triton restarted {sum(restarts)} times")
    gone(pool, "fetched")


def test_a_claim_without_the_folder(pool: Kubectl) -> None:
    model = {"storageUri": "pvc://models/absent"}
    failure = fails(pool, member("absent", model=model), "CheckpointMissing", "no folder on the claim")
    assert failure["message"] == "pvc://models/absent: there is no folder absent on the claim models"
    gone(pool, "absent")


def test_other_files_on_a_claim_than_promised(pool: Kubectl) -> None:
    model = {"storageUri": "pvc://models/sport", "digest": NOTHING}
    failure = fails(pool, member("other", model=model), "DigestMismatch", "other files on the claim")
    assert failure["message"].startswith("pvc://models/sport has sha256:")
    said_of(pool, "submodel", "other", ("Stalled", "True", "DigestMismatch"))
    gone(pool, "other")


def test_a_checkpoint_that_is_cut_short_and_mended(pool: Kubectl, checkpoints: Path) -> None:
    failure = fails(pool, member("world"), "CheckpointInvalid", "weights that are cut short")
    assert "model.safetensors" in failure["message"]
    said_of(pool, "submodel", "world", ("Stalled", "True", "CheckpointInvalid"))
    load_models(pool, checkpoints)
    seconds, said = timed(
        lambda: said_of(pool, "submodel", "world", ("Ready", "True", "InferenceAnswered")), 180, "it answers"
    )
    show("the whole weights are put there", seconds, said)
    must_be(pool, "submodel", "world", "Accepted")
    gone(pool, "world")


def test_a_disk_that_is_too_small(pool: Kubectl, web: FileServer) -> None:
    document = member("huge", model=fetched(web.url("/huge.tar"), sizeLimit="1Pi"))
    failure = fails(pool, document, "DiskFull", "more than there is room for")
    assert "bytes are needed and" in failure["message"]
    gone(pool, "huge")


def test_a_pod_that_is_evicted_because_its_disk_is_full(pool: Kubectl, web: FileServer) -> None:
    template = {"resources": {"limits": {"ephemeral-storage": "64Mi"}}}
    document = member("filling", model=fetched(web.url("/filling.tar")), podTemplate=template)
    pool.apply(json.dumps(document))

    def told() -> Manifest:
        failure: Manifest = pool.get("submodel", "filling").get("status", {}).get("lastFailure") or {}
        assert failure.get("reason") == "DiskFull", failure
        return failure

    seconds, failure = timed(told, 240, "the eviction is told")
    evicted = [
        pod
        for pod in pool.list_of("pods", "fastserve.io/submodel=filling")
        if pod["status"].get("reason") == "Evicted"
    ]
    print(f"{seconds:5.1f} s  a full disk -> lastFailure {failure['reason']}: {failure['message']}")
    assert failure["pod"] in {pod["metadata"]["name"] for pod in evicted}
    gone(pool, "filling")
