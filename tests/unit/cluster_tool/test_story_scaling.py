"""What the story of scaling judges by: the load that it makes, its course, and the audit log."""

import asyncio
import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from fastserve.api.scaling import WAIT_BOUNDS, LoadRow
from harness.audit import Audit, Write
from harness.kubectl import Kubectl
from harness.picture import picture
from harness.scaling import wrong_scales
from harness.surge import Surge, phases_of
from harness.timeline import Look, Moment, Timeline

ROUTERS = "system:serviceaccount:story:news-p-router"


def write(second: int, pod: str, told: str, replicas: int | None = None, code: int = 200) -> Write:
    return Write(f"2026-01-01T00:00:{second:02}Z", ROUTERS, pod, told, code, replicas)


def renewal(second: int, pod: str) -> Write:
    return write(second, pod, "update leases news-p-scaling")


def scale(second: int, pod: str, replicas: int, code: int = 200) -> Write:
    return write(second, pod, "update submodels/scale sport", replicas, code)


def test_a_holder_that_scales_and_one_that_follows_it_are_right() -> None:
    writes = [
        scale(0, "a", 1),
        renewal(1, "a"),
        scale(2, "a", 2),
        renewal(5, "b"),
        scale(6, "b", 3),
        write(6, "b", "create events", code=201),
        scale(7, "a", 4, code=409),
    ]
    assert wrong_scales(reversed(writes), ROUTERS, "news") == []


@pytest.mark.parametrize(
    ("writes", "what"),
    [
        ([scale(2, "a", 2)], "while nobody held the Lease"),
        ([renewal(1, "a"), scale(2, "b", 2)], "b scaled sport while a held the Lease"),
        ([renewal(1, "a"), renewal(2, "b"), scale(3, "a", 2)], "a scaled sport while b held the Lease"),
        ([renewal(1, "a"), scale(2, "a", 2), renewal(3, "b"), scale(4, "b", 2)], "to 2 once more"),
    ],
)
def test_a_scale_without_the_lease_or_one_too_many_is_told(writes: list[Write], what: str) -> None:
    (wrong,) = wrong_scales(writes, ROUTERS, "news")
    assert what in wrong


def test_the_audit_log_tells_who_scaled_to_how_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    log = tmp_path / "fastserve" / "cluster" / "logs" / "audit.log"
    log.parent.mkdir(parents=True)
    log.touch()
    event = {
        "verb": "update",
        "requestURI": "/apis/fastserve.io/v1alpha1/namespaces/story/submodels/sport/scale",
        "requestReceivedTimestamp": "2026-01-01T00:00:02.000000Z",
        "user": {"username": ROUTERS, "extra": {"authentication.kubernetes.io/pod-name": ["a"]}},
        "objectRef": {"resource": "submodels", "subresource": "scale", "name": "sport", "namespace": "story"},
        "requestObject": {"spec": {"replicas": 3}},
        "responseStatus": {"code": 200},
    }
    with Audit() as audit:
        with log.open("a") as file:
            for changed in ({}, {"verb": "get"}, {"objectRef": {**event["objectRef"], "namespace": "x"}}):
                file.write(json.dumps({**event, **changed}) + "\n")
        (found,) = audit.all_writes("story")
    assert found == Write(found.at, ROUTERS, "a", "update submodels/scale sport", 200, 3)


class Pool:
    """A door that answers as it is told, one answer after the other; the last one stays."""

    def __init__(self, *answers: bytes) -> None:
        self.answers, self.asked = list(answers), 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"}")
        self.asked += 1
        writer.write(self.answers.pop(0) if len(self.answers) > 1 else self.answers[0])
        await writer.drain()
        writer.close()


WELL = b"HTTP/1.1 200 OK\r\nx-fastserve-woken: sport\r\n\r\n{}"
FULL = b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 0\r\n\r\n{}"
BROKEN = b"HTTP/1.1 500 Internal Server Error\r\n\r\nwhy"


async def lines_of(pool: Pool, phases: str, capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    async with await asyncio.start_server(pool.serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        await Surge(f"http://127.0.0.1:{port}", "a text").run(phases_of(phases))
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


async def test_who_is_told_to_come_again_does_and_is_not_lost(capsys: pytest.CaptureFixture[str]) -> None:
    lines = await lines_of(Pool(FULL, b"", WELL), "10:0.3,0:0.1,20:0.1", capsys)
    seconds = [line for line in lines if "asked" in line]
    assert sum(line["asked"] for line in seconds) == sum(line["answered"] for line in seconds) == 5
    assert sum(line["woken"] for line in seconds) == 5
    again = [line["again"] for line in seconds]
    assert {name: sum(one.get(name, 0) for one in again) for name in ("429", "0")} == {"429": 1, "0": 1}
    assert lines[-1]["lost"] == 0
    assert lines[-1]["over"]


async def test_another_answer_is_a_question_lost(capsys: pytest.CaptureFixture[str]) -> None:
    lines = await lines_of(Pool(BROKEN, WELL), "10:0.2", capsys)
    (lost,) = [line for line in lines if "outcome" in line]
    assert (lost["outcome"], lost["said"]) == (500, "why")
    assert lines[-1]["lost"] == 1


def course() -> Timeline:
    found = Timeline(Kubectl("kubectl", Path("/nowhere")), "sport")
    found.looks = [Look(99.5, 0, 0, "Asleep"), Look(101.2, 1, 0, "Woken"), Look(102.9, 1, 1, "Steady")]
    waits = [0] * (len(WAIT_BOUNDS) + 1)
    waits[3] = 20
    found.rows = {("a", 51): LoadRow(at=102, member="sport", own=True, waits=tuple(waits))}
    return found


def test_the_course_of_a_sub_model_is_told_second_by_second() -> None:
    moments = course().moments([{"at": 100.3, "asked": 2, "answered": 0, "again": {"429": 1}}, {"at": 101.3}])
    shown = [(one.asked, one.again, one.replicas, one.ready, one.reason) for one in moments]
    assert shown == [(2, 1, 0, 0, "Asleep"), (0, 0, 1, 0, "Woken"), (0, 0, 1, 1, "Steady")]
    waits = [one.queue_p95 for one in moments]
    assert waits[:2] == [None, None]
    assert waits[2] is not None
    assert WAIT_BOUNDS[2] < waits[2] <= WAIT_BOUNDS[3]


def test_the_picture_is_a_document_that_shows_every_curve() -> None:
    moments = [Moment(n, n, n, 0, None if n == 2 else 0.1 * n, n % 3, n % 2, "Steady") for n in range(130)]
    root = ET.fromstring(picture(moments, "load & replicas", 0.5))
    texts = [one.text for one in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"load & replicas", "asked", "queue p95", "answering", "120 s"} <= set(texts)
    paths = [one.get("d", "") for one in root.iter("{http://www.w3.org/2000/svg}path")]
    (waits,) = [path for path in paths if path.count("M") == 2 and "L" in path]
    assert waits.count("L") == 127
