"""The engine's socket lies in a volume that a user's own code shares."""

import asyncio
from pathlib import Path

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
