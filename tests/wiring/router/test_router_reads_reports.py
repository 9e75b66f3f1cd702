"""The engine's socket lies in a volume that a user's own code shares."""

import asyncio
import json
from pathlib import Path

import pytest

from fastserve.api.engine import EngineReport, RankReport
from fastserve.router.engine_socket import MAX_REPORT_BYTES, read_report


async def test_a_report_without_end_is_left_unread_after_a_bound(tmp_path: Path) -> None:
    sent = 0

    async def flood(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        try:
            while True:
                writer.write(b"x" * 65536)
                await writer.drain()
                sent += 65536
        except ConnectionError:
            pass
        finally:
            writer.close()

    path = tmp_path / "e.sock"
    server = await asyncio.start_unix_server(flood, str(path))
    async with server:
        assert await read_report(path) is None
    assert sent < 4 * MAX_REPORT_BYTES


async def answered(path: Path, text: bytes) -> EngineReport | None:
    """What is read of an engine that answers so."""

    async def tell(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(text)
        writer.close()

    server = await asyncio.start_unix_server(tell, str(path / "e.sock"))
    async with server:
        return await read_report(path / "e.sock")


REPORT = EngineReport("Loaded", 1, 2, (RankReport(0, 17, "cpu", 5),), ("a", "b"), 2, load_seconds=0.5)


async def test_a_report_is_read_as_it_was_told(tmp_path: Path) -> None:
    assert await answered(tmp_path, REPORT.to_json().encode()) == REPORT


async def test_half_a_character_in_an_error_hides_no_report(tmp_path: Path) -> None:
    """Names of files are no text for sure, and errors name files."""
    broken = EngineReport("FailedToLoad", last_error_reason="LoadFailed", last_error_message="no a\udce4.bin")

    report = await answered(tmp_path, broken.to_json().encode())

    assert report is not None
    assert (report.phase, report.last_error_message) == ("FailedToLoad", "no a?.bin")


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"[" * 100_000,
        b'{"phase":"\xff"}',
        json.dumps({"phase": "Loaded", "more": None, "width": "two"}).encode(),
        json.dumps({"phase": "Loaded", "ranks": [7]}).encode(),
    ],
)
async def test_what_is_no_report_is_none(tmp_path: Path, text: bytes) -> None:
    assert await answered(tmp_path, text) is None
