"""What other processes answer may be anything: it is one error, and ends none of the router's loops."""

import asyncio
from collections.abc import Callable

import pytest

from fastserve.errors import BackendError
from fastserve.foreign_json import ForeignReader, Unreadable
from fastserve.router.oip import read_answer
from fastserve.router.replicas import PeerReplica, _peer_error
from fastserve.router.triton import triton_error
from fastserve.router.upstream import Reply
from fastserve.router.wire import Readiness
from virtual_time import run_in_virtual_time

DEEP = b'{"error":' + b"[" * 100_000
ODD = pytest.mark.parametrize(
    "body",
    [b"", b"not json", b'{"error":"\xff"}', DEEP, b'["error"]', b'{"error":"\\udc80"}', b'{"\xe4":1}', b"7"],
    ids=[
        "nothing",
        "text",
        "no UTF-8",
        "deep",
        "a list",
        "half a character",
        "no UTF-8 in a name",
        "a number",
    ],
)


@ODD
def test_it_is_one_error_whatever_is_wrong(body: bytes) -> None:
    with pytest.raises(Unreadable):
        ForeignReader(Readiness).read(body)


@ODD
@pytest.mark.parametrize(
    "read",
    [lambda body: triton_error(500, body), lambda body: _peer_error(Reply(500, {}, body))],
    ids=["Triton", "a peer"],
)
def test_an_error_that_cannot_be_read_is_told_as_it_is(
    body: bytes, read: Callable[[bytes], BackendError]
) -> None:
    error = read(body)

    assert type(error) is BackendError
    assert str(error) == body[:200].decode("latin-1")


@pytest.mark.parametrize(
    "head",
    [
        b'{"parameters":' + DEEP,
        b'{"model_name":"\xff","outputs":[]}',
        b'{"model_name":"a","outputs":[{"name":"labels","shape":[]}]}',
        b'{"model_name":"a","outputs":[{"name":"s","shape":[1,1],"parameters":{"binary_data_size":"x"}}]}',
    ],
)
def test_an_answer_whose_head_cannot_be_read_is_a_failure_of_who_gave_it(head: bytes) -> None:
    with pytest.raises(BackendError, match="cannot be read"):
        read_answer(head + b"\0\0\0\0", b"%d" % len(head))


@ODD
def test_a_peer_whose_readiness_cannot_be_read_is_not_ready_and_is_probed_again(
    body: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer = PeerReplica("one", "m", "127.0.0.1:1", "127.0.0.1:2")

    async def answer(*_: object) -> Reply:
        return Reply(200, {}, body)

    async def story() -> None:
        monkeypatch.setattr(peer._admin, "get", answer)
        await peer.probe()
        assert not peer.ready
        await asyncio.sleep(60.0)
        assert peer.probe_due(asyncio.get_running_loop().time())

    run_in_virtual_time(story())
