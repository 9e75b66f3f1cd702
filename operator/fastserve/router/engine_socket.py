"""The engine's own report, over the Unix socket that it keeps beside its ranks."""

import asyncio
from pathlib import Path

from fastserve.api.engine import EngineReport
from fastserve.foreign_json import ForeignReader, Unreadable

READ_SECONDS = 0.75
MAX_REPORT_BYTES = 1 << 20
"""A user's own code runs where the engine does, and could answer without end."""
_reports = ForeignReader(EngineReport)


async def read_report(path: Path) -> EngineReport | None:
    """What the engine says now; None where it does not answer in time, says too much, or what is
    no report."""
    try:
        async with asyncio.timeout(READ_SECONDS):
            reader, writer = await asyncio.open_unix_connection(str(path))
            try:
                text = await _read_all(reader)
            finally:
                writer.close()
        return _reports.read(text)
    except (OSError, TimeoutError, Unreadable):
        return None


async def is_gone(path: Path) -> bool:
    """Whether who listened there has ended: the socket is still there, and nobody's."""
    try:
        async with asyncio.timeout(READ_SECONDS):
            _, writer = await asyncio.open_unix_connection(str(path))
    except ConnectionRefusedError:
        return True
    except (OSError, TimeoutError):
        return False
    writer.close()
    return False


async def _read_all(reader: asyncio.StreamReader) -> bytes:
    """Everything up to the end. Raises OSError where that is more than a report can be."""
    text = b""
    while chunk := await reader.read(1 << 16):
        text += chunk
        if len(text) > MAX_REPORT_BYTES:
            raise OSError("the engine's report does not end")
    return text
