"""Priority and tenant: read at the door, written on hops, read by the member's router."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastserve.errors import BackendOverloaded
from fastserve.router.answers import Refusal, error_answer, refusal_of
from fastserve.router.caller import ANYONE, Caller, Priority, caller_at_door, caller_on_hop, hop_lines

HEADERS = st.dictionaries(
    st.sampled_from([b"x-team", b"x-fastserve-tenant"]), st.binary(min_size=0, max_size=4096)
)
PRIORITIES = st.sampled_from(
    [{}, {b"x-fastserve-priority": b"batch"}, {b"x-fastserve-priority": b"interactive"}]
)


def read_back(lines: bytes) -> dict[bytes, bytes]:
    return dict(line.split(b": ", 1) for line in lines.split(b"\r\n") if line)


@given(HEADERS, PRIORITIES)
def test_the_member_s_router_reads_what_the_door_read(
    headers: dict[bytes, bytes], priority: dict[bytes, bytes]
) -> None:
    caller = caller_at_door({**headers, **priority}, b"x-team")
    assert caller_on_hop(read_back(hop_lines(caller)), b"x-team") == caller
    assert (caller.tenant != "") == (b"x-team" in headers)


@given(HEADERS)
def test_without_a_header_named_in_the_spec_all_are_one(headers: dict[bytes, bytes]) -> None:
    assert caller_at_door(headers, b"") is ANYONE
    assert hop_lines(ANYONE) == b""


@given(HEADERS, PRIORITIES)
def test_nor_is_anybody_another_one_by_marking_a_call_as_a_router_s(
    headers: dict[bytes, bytes], priority: dict[bytes, bytes]
) -> None:
    said = {**headers, **priority, b"x-fastserve-tenant": b"made-up"}
    assert caller_on_hop(said, b"") == caller_at_door(priority, b"")


@given(st.binary(min_size=1), st.binary(min_size=1))
def test_tenants_are_told_apart_and_their_header_which_may_be_a_credential_stays_here(
    one: bytes, other: bytes
) -> None:
    first = caller_at_door({b"authorization": one}, b"authorization")
    second = caller_at_door({b"authorization": other}, b"authorization")
    assert (first == second) == (one == other)
    assert len(first.tenant) == 16


@given(st.binary().filter(lambda text: text not in (b"interactive", b"batch")))
def test_any_other_priority_is_refused_and_told_what_there_is(text: bytes) -> None:
    with pytest.raises(Refusal, match=r"\(allowed: interactive or batch\)") as told:
        caller_at_door({b"x-fastserve-priority": text}, b"")
    assert told.value.reason == "OutOfRange"
    assert len(told.value.message) < 400


def test_batch_is_told_on_hops() -> None:
    assert caller_on_hop(read_back(hop_lines(Caller(Priority.BATCH)))).priority is Priority.BATCH


@pytest.mark.parametrize(("wait", "told"), [(0.0, "1"), (0.2, "1"), (1.2, "2"), (17.0, "17"), (900.0, "30")])
def test_retry_after_is_when_there_may_be_room_from_one_second_to_thirty(wait: float, told: str) -> None:
    answer = error_answer(refusal_of(BackendOverloaded("full", wait)))
    assert (answer.status, dict(answer.headers)["retry-after"]) == (429, told)
