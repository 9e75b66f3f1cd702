"""EndpointSlices as peers, and names that the operator and the routers must agree on."""

import io

import numpy as np
import pytest

from fastserve.api.identity import prototypes_name
from fastserve.planning.objects.naming import prototypes_of_member
from fastserve.router.health import HealthState
from fastserve.router.peers import Peer, Peers
from fastserve.router.prototype_files import packed, unpacked
from fastserve.router.prototypes import prototypes_of
from fastserve.router.watched import peers_of


def endpoint(uid: str | None, address: str = "10.0.0.1", **conditions: bool | None) -> dict:
    reference = {"targetRef": {"kind": "Pod", "uid": uid}} if uid else {}
    return {"addresses": [address], "conditions": conditions, **reference}


def slice_of(*endpoints: dict, member: str | None = "sport", **changes: object) -> dict:
    labels = {"fastserve.io/pool": "news"} | ({"fastserve.io/submodel": member} if member else {})
    return {
        "addressType": "IPv4",
        "metadata": {"name": "sport-m-abc", "labels": labels},
        "ports": [{"name": "data", "port": 8080}],
        "endpoints": list(endpoints),
        **changes,
    }


@pytest.mark.parametrize("ready", [True, False, None])
def test_a_pod_is_a_peer_whether_it_is_ready_or_not(ready: bool | None) -> None:
    found = peers_of([slice_of(endpoint("u1", ready=ready))])

    assert found == (Peer("u1", "10.0.0.1:8080", "10.0.0.1:8081", "sport", ready),)


@pytest.mark.parametrize(
    "one",
    [
        slice_of(endpoint("u1", terminating=True, ready=False, serving=True)),
        slice_of(endpoint(None)),
        slice_of({**endpoint("u1"), "addresses": []}),
        slice_of(endpoints=None),
    ],
)
def test_who_terminates_or_has_no_address_is_none(one: dict) -> None:
    assert peers_of([one]) == ()


def test_a_pod_with_two_addresses_is_one_peer_and_ipv6_is_written_as_a_literal() -> None:
    six = slice_of(endpoint("u1", "fd00::1"), addressType="IPv6", ports=None)

    assert [one.address for one in peers_of([six, slice_of(endpoint("u1"))])] == ["10.0.0.1:8080"]
    assert [one.address for one in peers_of([six])] == ["[fd00::1]:8080"]


def test_the_order_of_slices_and_endpoints_does_not_matter() -> None:
    one, two = slice_of(endpoint("u2"), endpoint("u1")), slice_of(endpoint("u3"), member="travel")

    assert peers_of([one, two]) == peers_of([two, one])
    assert [peer.instance for peer in peers_of([one, two])] == ["u1", "u2", "u3"]


def test_a_change_of_mind_about_a_peer_is_a_reason_to_look_at_once_and_no_more() -> None:
    peers = Peers("me", lambda member, ready: None)
    peers.replace(peers_of([slice_of(endpoint("u1", ready=True))]))
    (peer,) = peers.of("sport")
    peer.health = HealthState("Healthy", 0, 50.0)

    peers.replace(peers_of([slice_of(endpoint("u1", ready=True))]))
    assert peer.health == HealthState("Healthy", 0, 50.0)
    peers.replace(peers_of([slice_of(endpoint("u1", ready=False))]))
    assert peers.of("sport") == [peer]
    assert peer.health == HealthState("Healthy", 0, 0.0)


def test_operator_and_routers_name_the_prototypes_alike() -> None:
    assert prototypes_name("sport") == prototypes_of_member("sport")


def test_prototypes_travel_as_half_floats_and_nothing_else_is_taken_for_them() -> None:
    rows = prototypes_of(np.eye(3, 8, dtype=np.float32))

    assert np.array_equal(unpacked(packed(rows)), rows)
    assert len(packed(rows)) < 200
    header = b"{'descr': '<f2', 'fortran_order': False, 'shape': (1000000000000, 384), }"
    vast = b"\x93NUMPY\x01\x00" + (118).to_bytes(2, "little") + header.ljust(117) + b"\n"
    words, archive = io.BytesIO(), io.BytesIO()
    np.save(words, np.array([["a", "b"]]))
    np.savez(archive, rows=rows)
    broken = [b"", b"\x93NUMPY", packed(rows)[:-1], packed(rows[0]), packed(rows[:0]), vast, b"PK\x03\x04"]
    broken += [words.getvalue(), archive.getvalue(), packed(rows * np.nan)]
    assert [unpacked(one) for one in broken] == [None] * len(broken)


def test_who_is_behind_the_pools_service_alone_is_a_stand_by_router() -> None:
    of_pool = slice_of(endpoint("u1"), endpoint("standby"), member=None, metadata={"name": "a-pool"})
    found = peers_of([of_pool, slice_of(endpoint("u1"))])
    assert [(one.instance, one.member) for one in found] == [("standby", None), ("u1", "sport")]
