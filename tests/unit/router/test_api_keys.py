"""From a Secret's entries to who may do what."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastserve.router.answers import Refusal
from fastserve.router.caller import ANYONE, Caller, caller_at_door, caller_on_hop, hop_lines
from fastserve.router.guard import Guard, shown_key
from fastserve.router.keys import KeyRing, Role, read_entries

KEY = b"0123456789abcdef"


def guard(**entries: bytes) -> Guard:
    made = Guard()
    made.ring, faults = read_entries({name.replace("_", "."): key for name, key in entries.items()})
    assert faults == ()
    return made


@pytest.mark.parametrize(
    ("entry", "key", "why"),
    [
        ("infer.a", b"short", "the key has 5 characters (allowed: 16 to 1024)"),
        ("infer.a", b"x" * 1025, "the key has 1025 characters"),
        ("infer.a", b"", "the key has 0 characters"),
        ("infer.a", b"0123456789 abcdef", "other than printable ASCII"),
        ("infer.a", "schlüssel-schlüssel".encode(), "other than printable ASCII"),
        ("admin.a", KEY, "neither infer.NAME nor metrics.NAME"),
        ("infer", KEY, "neither infer.NAME nor metrics.NAME"),
        ("infer.", KEY, "neither infer.NAME nor metrics.NAME"),
        ("tls.key", KEY, "neither infer.NAME nor metrics.NAME"),
    ],
)
def test_an_entry_that_is_no_key_is_told_by_its_name_and_never_by_its_value(
    entry: str, key: bytes, why: str
) -> None:
    ring, faults = read_entries({entry: key, "infer.good": KEY + b"good"})
    assert len(ring) == 1
    assert len(faults) == 1
    assert faults[0].startswith(f"{entry}: ")
    assert why in faults[0]
    assert key == b"" or key.decode("latin-1") not in faults[0]


def test_a_key_under_two_names_has_both_roles_and_the_first_name() -> None:
    ring, faults = read_entries({"metrics.zoe": KEY, "infer.ann": KEY + b"\n"})
    holder = ring.by_key(KEY)
    assert (len(ring), faults) == (1, ())
    assert holder is not None
    assert (holder.name, holder.roles) == ("ann", {Role.INFER, Role.METRICS})


@given(st.binary(max_size=40))
def test_only_the_very_key_opens(shown: bytes) -> None:
    ring, _ = read_entries({"infer.ann": KEY})
    assert (ring.by_key(shown) is None) == (shown != KEY)
    assert ring.by_proof(shown) is None


def test_a_proof_is_for_calls_between_routers_and_no_key() -> None:
    here, there = guard(infer_ann=KEY), guard(infer_ann=KEY, infer_bob=KEY + b"b")
    holder = here.admit({b"x-api-key": KEY}, Role.INFER)
    proof = holder.proof.encode()
    shown = there.admit({b"x-fastserve-hop": b"1", b"x-fastserve-proof": proof}, Role.INFER)
    assert (shown.name, shown.tenant, shown.roles) == (holder.name, holder.tenant, holder.roles)
    assert (shown.passed_on, holder.passed_on) == (True, False)
    for headers in ({b"x-api-key": proof}, {b"x-fastserve-proof": proof}):
        with pytest.raises(Refusal) as refused:
            there.admit(headers, Role.INFER)
        assert refused.value.status == 401


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        ({b"authorization": b"Bearer abc"}, b"abc"),
        ({b"authorization": b"bearer  abc "}, b"abc"),
        ({b"x-api-key": b"abc"}, b"abc"),
        ({b"authorization": b"Basic abc", b"x-api-key": b"def"}, b"def"),
        ({b"authorization": b"Bearer abc", b"x-api-key": b"def"}, b"abc"),
    ],
)
def test_a_key_is_shown_as_bearer_or_as_api_key(headers: dict[bytes, bytes], key: bytes) -> None:
    assert shown_key(headers) == key


def test_without_any_key_nobody_is_let_in() -> None:
    with pytest.raises(Refusal) as refused:
        Guard().admit({b"authorization": b"Bearer "}, Role.INFER)
    assert refused.value.reason == "KeyUnknown"


def test_the_name_of_a_key_is_the_tenant_where_no_header_tells_tenants() -> None:
    gate = guard(infer_ann=KEY, infer_bob=KEY + b"b")
    ann, bob = (gate.admit({b"x-api-key": key}, Role.INFER) for key in (KEY, KEY + b"b"))
    assert ann.tenant != bob.tenant
    assert caller_at_door({}, b"", ann).tenant == ann.tenant
    assert caller_at_door({b"x-team": b"sales"}, b"x-team", ann).tenant not in ("", ann.tenant)
    assert caller_at_door({}, b"x-team", ann).tenant == ann.tenant


def test_who_shows_a_key_is_no_other_tenant_by_saying_so_to_a_members_router() -> None:
    holder = guard(infer_ann=KEY).admit({b"x-api-key": KEY}, Role.INFER)
    said = {b"x-fastserve-hop": b"1", b"x-fastserve-tenant": b"another", b"x-fastserve-priority": b"batch"}
    assert caller_on_hop(said, b"", holder) == caller_at_door(said, b"", holder)
    sales = said | {b"x-team": b"sales"}
    for headers in (said, sales):
        assert caller_on_hop(headers, b"x-team", holder) == caller_at_door(headers, b"x-team", holder)
    assert caller_on_hop(sales, b"x-team", holder).tenant not in ("another", holder.tenant)


@pytest.mark.parametrize("tenant_header", [b"", b"x-team"])
@pytest.mark.parametrize("headers", [{}, {b"x-team": b"sales"}, {b"x-fastserve-priority": b"batch"}])
def test_a_members_router_believes_a_router_that_proves_to_be_one(
    tenant_header: bytes, headers: dict[bytes, bytes]
) -> None:
    gate = guard(infer_ann=KEY)
    door = caller_at_door(headers, tenant_header, gate.admit({b"x-api-key": KEY}, Role.INFER))
    told = dict(line.split(b": ", 1) for line in hop_lines(door).split(b"\r\n") if line)
    told[b"x-fastserve-hop"] = b"1"

    heard = caller_on_hop(told, tenant_header, gate.admit(told, Role.INFER))

    assert (heard.tenant, heard.priority) == (door.tenant, door.priority)
    assert heard.tenant != ""


def test_a_proof_travels_on_hops_only_where_there_is_one() -> None:
    assert hop_lines(ANYONE) == b""
    assert hop_lines(Caller(proof="ab")) == b"x-fastserve-proof: ab\r\n"


def test_a_router_shows_what_only_who_has_all_keys_can_make() -> None:
    ring, _ = read_entries({"infer.ann": b"ann-key-0123456789", "metrics.eye": b"eye-key-0123456789"})
    alike, _ = read_entries({"metrics.eye": b"eye-key-0123456789", "infer.ann": b"ann-key-0123456789"})
    fewer, _ = read_entries({"infer.ann": b"ann-key-0123456789"})
    assert ring.token("salt") == alike.token("salt")
    assert ring.token("salt") not in {"", ring.token("other"), fewer.token("salt")}
    assert KeyRing({}).token("salt") == ""
