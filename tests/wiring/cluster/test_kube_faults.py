"""KubeCluster against a server at fault: every fault is one of our errors, bounded in time."""

import asyncio
import itertools
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from fastserve.api.identity import API_VERSION, FIELD_MANAGER
from fastserve.api.objects import CONFIG_MAP, Manifest, ObjectKey
from fastserve.cluster import kube, watching
from fastserve.cluster.port import Selector
from fastserve.errors import (
    ClusterError,
    Conflict,
    FastServeError,
    Foreign,
    NotFound,
    Refused,
    Unreachable,
)
from wiring.cluster.api_stand_in import config_map, failed, listed, reset, said, standing_in, streamed

KEY = ObjectKey("default", "one")
ALL = Selector()


def owned(uid: str, owner: str = "sport", **data: str) -> Manifest:
    manifest = config_map("one", 1, **data)
    reference = {"apiVersion": API_VERSION, "kind": "SubModel", "name": owner, "uid": uid}
    manifest["metadata"]["ownerReferences"] = [{**reference, "controller": True}]
    return manifest


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, Refused), (401, Unreachable), (403, Refused), (404, NotFound), (409, Conflict),
        (410, Unreachable), (422, Refused), (500, Unreachable), (503, Unreachable), (504, Unreachable),
    ],
)  # fmt: skip
async def test_a_status_is_an_error_with_the_servers_words(status: int, error: type[FastServeError]) -> None:
    async with standing_in(failed(status, "no such luck")) as (_, cluster):
        with pytest.raises(error, match="no such luck") as caught:
            await cluster.get(CONFIG_MAP, KEY)
    assert type(caught.value).__mro__[1] is not object


@pytest.mark.parametrize(
    "said_of_it",
    [
        "failed to create typed patch object (a/b; apps/v1, Kind=Deployment): .spec: expected map",
        'Internal error occurred: failed to allocate a serviceIP for Service "news": range is full',
    ],
)
async def test_what_no_new_attempt_helps_is_refused_although_the_server_says_500(said_of_it: str) -> None:
    async with standing_in(failed(500, said_of_it)) as (_, cluster):
        with pytest.raises(Refused, match=said_of_it[-12:]):
            await cluster.get(CONFIG_MAP, KEY)


async def test_too_many_requests_is_waited_for_as_long_as_the_server_says() -> None:
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=1), usegmt=True)
    later = failed(429, "slow down", Retry_After=soon)
    async with standing_in(failed(429, "slow", Retry_After="0"), later, said(200, config_map("one", 1))) as (
        server,
        cluster,
    ):
        found = await cluster.get(CONFIG_MAP, KEY)
    assert found["metadata"]["name"] == "one"
    assert len(server.asked) == 3


async def test_too_many_requests_again_and_again_is_an_error() -> None:
    async with standing_in(failed(429, "slow down", Retry_After="0")) as (server, cluster):
        with pytest.raises(Unreachable, match="slow down"):
            await cluster.get(CONFIG_MAP, KEY)
    assert len(server.asked) == 3


@pytest.mark.parametrize("reply", [reset(), said(200, "not an object"), streamed("<html>", then="end")])
async def test_resets_and_garbage_are_unreachable(reply: object) -> None:
    async with standing_in(reply) as (_, cluster):  # type: ignore[arg-type]
        with pytest.raises(Unreachable):
            await cluster.get(CONFIG_MAP, KEY)


async def test_a_server_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kube, "CALL_SECONDS", 0.2)
    async with standing_in(streamed(then="hang")) as (_, cluster):
        with pytest.raises(Unreachable, match=r"no answer in 0\.2 s"):
            await cluster.get(CONFIG_MAP, KEY)


async def test_a_list_comes_in_chunks_and_begins_anew_when_its_token_expires() -> None:
    first = listed(config_map("one", 1), token="next")
    async with standing_in(first, failed(410, "too old"), first, listed(config_map("two", 2), version=2)) as (
        server,
        cluster,
    ):
        found = await cluster.list_of(CONFIG_MAP, "default", Selector(labels={"a": "b"}))
    assert [one["metadata"]["name"] for one in found] == ["one", "two"]
    assert [request.query.get("continue") for request in server.asked] == [None, "next", None, "next"]
    assert {request.query["labelSelector"] for request in server.asked} == {"a=b"}


async def test_creating_takes_nothing_over() -> None:
    async with standing_in(said(200, owned("somebody", "weather"))) as (server, cluster):
        with pytest.raises(Foreign):
            await cluster.apply(CONFIG_MAP, owned("us"), "create")
    assert [request.method for request in server.asked] == ["GET"]


async def test_creating_waits_for_what_an_older_life_of_the_owner_left() -> None:
    async with standing_in(said(200, owned("older"))) as (server, cluster):
        with pytest.raises(Conflict, match="an older SubModel is still to be collected"):
            await cluster.apply(CONFIG_MAP, owned("newer"), "create")
    assert [request.method for request in server.asked] == ["GET"]


async def test_creating_what_nobody_owns_yet_is_no_adoption() -> None:
    async with standing_in(said(200, config_map("one", 1))) as (server, cluster):
        with pytest.raises(Foreign):
            await cluster.apply(CONFIG_MAP, config_map("one", 1), "create")
    assert len(server.asked) == 1


async def test_creating_what_is_ours_already_is_an_update() -> None:
    async with standing_in(said(200, owned("us"))) as (server, cluster):
        await cluster.apply(CONFIG_MAP, owned("us"), "create")
    assert server.asked[1].method == "PATCH"
    assert server.asked[1].query["force"] == "true"


async def test_creating_does_not_force() -> None:
    async with standing_in(failed(404, "not there"), said(201, owned("us"))) as (server, cluster):
        await cluster.apply(CONFIG_MAP, owned("us"), "create")
    assert server.asked[1].query["force"] == "false"
    assert server.asked[1].query["fieldManager"] == "fastserve-operator"
    assert server.asked[1].content_type == "application/apply-patch+yaml"


async def test_a_list_whose_keys_somebody_changed_is_taken_back_whole() -> None:
    stored = owned("me", a="b")
    stored["metadata"]["managedFields"] = claims = [
        {"manager": FIELD_MANAGER, "operation": "Apply"},
        {"manager": FIELD_MANAGER, "operation": "Update"},
        {"manager": "kubectl-edit", "operation": "Update"},
    ]
    replies = (
        failed(422, 'spec.ports[1].name: Duplicate value: "http"'),
        said(200, owned("me")),
        said(200, owned("me")),
        said(200, stored),
        said(200, stored),
    )
    async with standing_in(*replies) as (server, cluster):
        await cluster.apply(CONFIG_MAP, owned("me", a="b"), "update")
    how = [(one.method, one.headers.get("Content-Type")) for one in server.asked]
    merge, apply = ("PATCH", kube.MERGE), ("PATCH", kube.APPLY)
    assert how == [apply, ("GET", None), merge, apply, merge]
    assert server.bodies[2] == {"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "b"}}
    assert server.bodies[4]["metadata"] == {
        "managedFields": [claims[0], claims[2]],
        "resourceVersion": "1",
    }


async def test_what_is_invalid_by_itself_stays_refused() -> None:
    replies = failed(422, "is invalid"), said(200, owned("me")), failed(422, "is invalid")
    async with standing_in(*replies) as (server, cluster):
        with pytest.raises(Refused, match="is invalid"):
            await cluster.apply(CONFIG_MAP, owned("me"), "update")
    assert len(server.asked) == 3


async def test_what_is_anothers_by_now_is_not_merged_over() -> None:
    async with standing_in(failed(422, "is invalid"), said(200, owned("you", "weather"))) as (
        server,
        cluster,
    ):
        with pytest.raises(Foreign):
            await cluster.apply(CONFIG_MAP, owned("me"), "update")
    assert [one.method for one in server.asked] == ["PATCH", "GET"]


@pytest.mark.parametrize("status", [404, 409])
async def test_deleting_what_is_gone_or_another_by_now_is_no_error(status: int) -> None:
    async with standing_in(failed(status, "too late")) as (server, cluster):
        await cluster.delete(CONFIG_MAP, KEY, "the-uid")
    assert server.bodies[0]["preconditions"] == {"uid": "the-uid"}


async def test_nothing_is_written_without_leave_and_everything_is_read() -> None:
    async def never() -> None:
        raise ClusterError("not the leader")

    async with standing_in(said(200, config_map("one", 1)), before_write=never) as (server, cluster):
        await cluster.get(CONFIG_MAP, KEY)
        writes = (
            cluster.apply(CONFIG_MAP, owned("us"), "update"),
            cluster.delete(CONFIG_MAP, KEY, "uid"),
            cluster.write_status(CONFIG_MAP, KEY, owned("us")),
            cluster.create_event("default", {}),
        )
        for write in writes:
            with pytest.raises(ClusterError, match="not the leader"):
                await write
    assert [request.method for request in server.asked] == ["GET"]


async def test_leave_to_write_is_asked_for_again_when_the_server_made_us_wait() -> None:
    left = [True]

    async def once() -> None:
        if not left:
            raise ClusterError("not the leader any more")
        left.pop()

    slow = failed(429, "slow down", Retry_After="0")
    async with standing_in(slow, said(200, owned("us")), before_write=once) as (server, cluster):
        with pytest.raises(ClusterError, match="not the leader any more"):
            await cluster.apply(CONFIG_MAP, owned("us"), "update")
    assert len(server.asked) == 1


EVENT = {"type": "ADDED", "object": config_map("two", 2)}
AFTER = [listed(config_map("one", 1), config_map("two", 2), version=2), streamed(then="hang")]


@pytest.mark.parametrize(
    "faults",
    [
        pytest.param([streamed(then="reset")], id="reset"),
        pytest.param([streamed("{broken"), *AFTER], id="garbage"),
        pytest.param([streamed('{"type": "ADDED"}'), *AFTER], id="no event"),
        pytest.param([streamed('["ADDED"]'), *AFTER], id="no object"),
        pytest.param([streamed({"type": "ERROR", "object": {"code": 410}}), *AFTER], id="expired"),
        pytest.param([streamed({"type": "ERROR", "object": {"code": 500}}), *AFTER], id="error event"),
        pytest.param([failed(410, "too old"), *AFTER], id="expired at once"),
        pytest.param([failed(500, "sick"), failed(403, "no"), failed(401, "who?")], id="statuses"),
        pytest.param([failed(429, "slow", Retry_After="Thu, 01 Jan 1970 00:00:00 GMT")], id="throttled"),
        pytest.param([streamed()], id="ends at once"),
    ],
)
async def test_a_watch_survives(faults: list[object], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "pause", lambda _: 0.01)
    replies = [listed(config_map("one", 1)), *faults, streamed(EVENT, then="hang")]
    async with standing_in(*replies) as (_, cluster):  # type: ignore[arg-type]
        names = [
            sorted(one["metadata"]["name"] for one in found)
            async for found in _first(2, cluster.watch(CONFIG_MAP, "default", ALL))
        ]
    assert names == [["one"], ["one", "two"]]


async def test_a_silent_watch_is_begun_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kube, "SILENT_SECONDS", 0.2)
    replies = (listed(), streamed(then="hang"), streamed(EVENT, then="hang"))
    async with standing_in(*replies) as (_, cluster):
        found = [len(one) async for one in _first(2, cluster.watch(CONFIG_MAP, "default", ALL))]
    assert found == [0, 1]


async def test_a_watch_goes_on_from_the_last_bookmark() -> None:
    bookmark = {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "77"}}}
    replies = (listed(), streamed(bookmark), streamed(EVENT, then="hang"))
    async with standing_in(*replies) as (server, cluster):
        async for _ in _first(2, cluster.watch(CONFIG_MAP, "default", ALL)):
            pass
    assert [request.query.get("resourceVersion") for request in server.asked] == [None, "1", "77"]


async def test_a_list_that_says_the_same_again_is_no_news(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "pause", lambda _: 0.01)
    same = listed(config_map("one", 1))
    expired = streamed({"type": "ERROR", "object": {"code": 410}})
    replies = (same, expired, same, expired, same, streamed(EVENT, then="hang"))
    async with standing_in(*replies) as (_, cluster):
        found = [len(one) async for one in _first(2, cluster.watch(CONFIG_MAP, "default", ALL))]
    assert found == [1, 2]


async def test_a_watch_waits_for_a_server_that_is_away_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "pause", lambda _: 0.01)
    replies = (*[failed(503, "starting")] * 5, reset(), listed(config_map("one", 1)), streamed(then="hang"))
    async with standing_in(*replies) as (_, cluster):
        found = [len(one) async for one in _first(1, cluster.watch(CONFIG_MAP, "default", ALL))]
    assert found == [1]


def test_a_watch_that_fails_is_tried_ever_more_slowly_up_to_half_a_minute() -> None:
    assert watching.pause(0) <= 0.1
    assert 0.5 <= watching.pause(1) <= 1
    for failures in itertools.islice(itertools.count(6), 500):
        assert 15 <= watching.pause(failures) <= 30


async def _first(count: int, source: object) -> object:  # type: ignore[misc]
    async with asyncio.timeout(10):
        async for one in source:  # type: ignore[attr-defined]
            yield one
            count -= 1
            if count == 0:
                return
