import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from harness.asking import asked_meanwhile, forwarded, predict
from harness.example import documents, load_models
from harness.kubectl import Kubectl, Manifest
from harness.sources import WRONG, Offer, Offers, offered
from harness.statuses import condition, is_so, must_be, told
from harness.waiting import eventually
from harness.watching import watched

pytestmark = pytest.mark.timeout(1200)

SPORT = "The striker scored twice in the cup final."
ENGINE_PYTHON = "/opt/fastserve/engine/bin/python"
FETCHED = ("https", "s3", "gs", "hf", "oci")


def apply_secret(kubectl: Kubectl, name: str, keys: Mapping[str, str]) -> None:
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": dict(keys)}
    kubectl.apply(json.dumps(secret))


def apply_member(kubectl: Kubectl, name: str, uri: str, **model: Any) -> None:
    """The example's sport specialist under another name and from another place."""
    document = documents()["sport"]
    document["metadata"]["name"] = name
    document["spec"]["model"] = {"storageUri": uri, "sizeLimit": "1Gi", **model}
    kubectl.apply(json.dumps(document))


def apply_offer(kubectl: Kubectl, name: str, offer: Offer, **model: Any) -> None:
    apply_secret(kubectl, name, offer.secret)
    apply_member(kubectl, name, offer.uri, credentials={"secretName": name}, **model)


def answers(kubectl: Kubectl, name: str) -> None:
    """The pool answers by this sub-model."""
    with forwarded(kubectl, "service/news", 80) as url:

        def right() -> bool:
            answer = predict(url, SPORT)
            return (answer["members"][0]["name"], answer["label"]) == (name, "football")

        eventually(right, 60, f"{name} answers")


def failed_with(kubectl: Kubectl, name: str, reason: str) -> Manifest:
    thing = kubectl.get("submodel", name)
    failure = thing.get("status", {}).get("lastFailure", {})
    assert failure.get("reason") == reason, told(kubectl, "submodel", name)
    assert condition(thing, "Ready")["reason"] == reason, told(kubectl, "submodel", name)
    return thing


def refused_for(kubectl: Kubectl, name: str, reason: str) -> Manifest:
    """The sub-model, once a new version is refused for that, and the old one answers. Raises AssertionError
    until then."""
    thing = must_be(kubectl, "submodel", name, "Available")
    assert thing["status"].get("lastFailure", {}).get("reason") == reason, told(kubectl, "submodel", name)
    assert condition(thing, "Ready")["reason"] == "VersionRefused", told(kubectl, "submodel", name)
    return thing


def rests_at(kubectl: Kubectl, name: str, version: str) -> Manifest:
    """The sub-model, once no exchange of versions is under way. Raises AssertionError until then."""
    thing = must_be(kubectl, "submodel", name, "Ready")
    assert not condition(thing, "Reconciling"), told(kubectl, "submodel", name)
    assert thing["status"]["activeVersion"] == version, thing["status"]
    return thing


@pytest.fixture(scope="module")
def pool(installed: Kubectl, namespace: Kubectl) -> Kubectl:
    namespace.apply(json.dumps(documents()["news"]))
    return namespace


@pytest.fixture(scope="module")
def offers(checkpoints: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Offers]:
    with offered(tmp_path_factory.mktemp("sources"), checkpoints / "sport") as found:
        yield found


@pytest.fixture
def gone_afterwards(pool: Kubectl) -> Iterator[None]:
    """One sub-model at a time: there is little room. The last pod may still end when the next one begins."""
    yield
    pool("delete", "submodel", "--all", "--wait")


@pytest.mark.parametrize("scheme", FETCHED)
def test_a_model_is_fetched_and_answers(
    pool: Kubectl, offers: Offers, gone_afterwards: None, scheme: str
) -> None:
    offer, name = offers.by_scheme[scheme], f"from-{scheme}"
    start = time.monotonic()
    apply_offer(pool, name, offer, **({"digest": offer.digest} if offer.digest else {}))
    ready = eventually(lambda: must_be(pool, "submodel", name, "Ready"), 300, f"{name} is Ready")
    load = ready["status"]["load"]
    print(f"{scheme}: apply -> Ready {time.monotonic() - start:.1f} s, load {json.dumps(load)}")
    assert load["phase"] == "Loaded"
    answers(pool, name)


def test_a_claim_needs_no_fetching(pool: Kubectl, checkpoints: Path, gone_afterwards: None) -> None:
    load_models(pool, checkpoints)
    start = time.monotonic()
    apply_member(pool, "from-pvc", "pvc://models/sport")
    eventually(lambda: must_be(pool, "submodel", "from-pvc", "Ready"), 300, "it is Ready")
    print(f"pvc: apply -> Ready {time.monotonic() - start:.1f} s")
    answers(pool, "from-pvc")


def test_the_bytes_are_told_while_they_come(pool: Kubectl, offers: Offers, gone_afterwards: None) -> None:
    offers.archive.seconds_per_chunk = 0.01
    with watched(pool, "submodels") as seen:
        apply_offer(pool, "slow", offers.by_scheme["https"])
        eventually(lambda: must_be(pool, "submodel", "slow", "Ready"), 300, "it is Ready")
    offers.archive.seconds_per_chunk = 0
    loads = [one["status"]["load"] for _, one in seen.events if one.get("status", {}).get("load")]
    told_of = list(dict.fromkeys((one["phase"], one.get("bytesDone", 0)) for one in loads))
    print(f"load as it was told: {told_of}")
    fetching = [done for phase, done in told_of if phase == "Fetching"]
    assert fetching == sorted(fetching)
    assert len([done for done in fetching if 0 < done < len(offers.archive.content)]) >= 3
    phases = list(dict.fromkeys(phase for phase, _ in told_of))
    assert phases in (
        ["Pending", "Fetching", "Loading", "Loaded"],
        ["Pending", "Fetching", "Loaded"],
    ), phases
    totals = {one["bytesTotal"] for one in loads if one["phase"] == "Fetching" and one.get("bytesDone")}
    assert len(offers.archive.content) in totals


def test_another_digest_is_no_model(pool: Kubectl, offers: Offers, gone_afterwards: None) -> None:
    start = time.monotonic()
    apply_offer(pool, "other", offers.by_scheme["https"], digest="sha256:" + "0" * 64)
    thing = eventually(lambda: failed_with(pool, "other", "DigestMismatch"), 60, "the status says so")
    message = thing["status"]["lastFailure"]["message"]
    print(f"wrong digest -> status {time.monotonic() - start:.1f} s: {message}")
    assert is_so(thing, "Stalled")
    assert "sha256:" + "0" * 64 in message


def is_refused(kubectl: Kubectl, name: str, offer: Offer) -> None:
    """Apply the offer with what its server refuses; the status says so, and no word of the Secret."""
    start = time.monotonic()
    apply_offer(kubectl, name, Offer(offer.uri, {**offer.secret, **offer.wrong}))
    thing = eventually(lambda: failed_with(kubectl, name, "Unauthorized"), 60, "the status says so")
    message = thing["status"]["lastFailure"]["message"]
    print(f"{name}: -> status {time.monotonic() - start:.1f} s: {message}")
    assert WRONG not in json.dumps(thing["status"])
    assert "spec.model.credentials" in message


@pytest.mark.parametrize("scheme", ["hf", "oci"])
def test_wrong_credentials_are_told_and_never_shown(
    pool: Kubectl, offers: Offers, gone_afterwards: None, scheme: str
) -> None:
    is_refused(pool, f"wrong-{scheme}", offers.by_scheme[scheme])


@pytest.mark.parametrize("schemes", [("https",), ("s3", "gs")])
def test_a_secret_that_is_put_right_is_taken_up(
    pool: Kubectl, offers: Offers, gone_afterwards: None, schemes: tuple[str, ...]
) -> None:
    names = {f"mended-{scheme}": offers.by_scheme[scheme] for scheme in schemes}
    for name, offer in names.items():
        is_refused(pool, name, offer)
    start, before = time.monotonic(), {name: uid_of_pod(pool, name) for name in names}
    for name, offer in names.items():
        apply_secret(pool, name, offer.secret)
    for name in names:
        eventually(lambda one=name: must_be(pool, "submodel", one, "Ready"), 300, f"{name} is Ready")
        seconds = time.monotonic() - start
        print(f"{name}: Secret put right -> Ready {seconds:.1f} s (the kubelet's minute is in it)")
    assert {name: uid_of_pod(pool, name) for name in names} == before


def uid_of_pod(kubectl: Kubectl, name: str) -> str:
    """Of the sub-model's only pod."""
    (pod,) = kubectl.list_of("pods", f"fastserve.io/submodel={name}")
    return str(pod["metadata"]["uid"])


def test_another_source_is_taken_up_in_place_and_no_question_fails(
    pool: Kubectl, offers: Offers, gone_afterwards: None
) -> None:
    """One Secret holds what both sources ask for: another Secret would be another pod."""
    first, second = offers.by_scheme["https"], offers.by_scheme["s3"]
    apply_secret(pool, "both", {**first.secret, **second.secret})
    both = {"credentials": {"secretName": "both"}}
    apply_member(pool, "moved", first.uri, version="from-https", **both)
    eventually(lambda: must_be(pool, "submodel", "moved", "Ready"), 300, "it is Ready")
    before = uid_of_pod(pool, "moved")
    with forwarded(pool, "service/news", 80) as url:
        eventually(lambda: predict(url, SPORT)["members"], 60, "the door knows it")
        with asked_meanwhile(url, SPORT) as asked:
            start = time.monotonic()
            apply_member(pool, "moved", second.uri, version="from-s3", **both)
            eventually(lambda: asked.versions[-1:] == ["from-s3"], 120, "the new version answers")
            took = time.monotonic() - start
            eventually(lambda: rests_at(pool, "moved", "from-s3"), 60, "the exchange is over")
    (pod,) = pool.list_of("pods", "fastserve.io/submodel=moved")
    print(
        f"https -> s3 in place: {took:.1f} s, {len(asked.versions)} answers, {len(asked.failures)} failures"
    )
    assert asked.failures == []
    assert list(dict.fromkeys(asked.versions)) == ["from-https", "from-s3"]
    assert pod["metadata"]["uid"] == before
    assert [one["restartCount"] for one in pod["status"]["containerStatuses"]] == [0]


def test_a_triton_that_restarts_while_the_new_version_cannot_be_fetched_gets_the_old_one_again(
    pool: Kubectl, offers: Offers, gone_afterwards: None
) -> None:
    right = offers.by_scheme["https"]
    apply_offer(pool, "kept", right, version="old")
    eventually(lambda: must_be(pool, "submodel", "kept", "Ready"), 300, "it is Ready")
    apply_offer(pool, "kept", Offer(f"{right.uri}.absent", right.secret), version="new")
    # The kubelet takes a minute or so to bring a table.
    eventually(lambda: refused_for(pool, "kept", "NotFound"), 180, "the status says so")
    (pod,) = pool.list_of("pods", "fastserve.io/submodel=kept")
    end = "import os, signal; os.kill(1, signal.SIGTERM)"
    start = time.monotonic()
    pool("exec", pod["metadata"]["name"], "-c", "triton", "--", ENGINE_PYTHON, "-c", end)

    def is_back() -> Manifest:
        (now,) = pool.list_of("pods", "fastserve.io/submodel=kept")
        assert (now["metadata"]["uid"], restarts_of(now)) == (pod["metadata"]["uid"], restarts_of(pod) + 1)
        thing = must_be(pool, "submodel", "kept", "Available")
        assert thing["status"]["activeVersion"] == "old", thing["status"]
        return thing

    eventually(is_back, 120, "the old version answers again")
    print(f"Triton ended -> the old version answers again: {time.monotonic() - start:.1f} s")
    refused_for(pool, "kept", "NotFound")
    answers(pool, "kept")


def restarts_of(pod: Manifest) -> int:
    return sum(one["restartCount"] for one in pod["status"]["containerStatuses"])
