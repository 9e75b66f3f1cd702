"""The engine's own report, over the Unix socket that it keeps beside its ranks."""

import asyncio
import json
from pathlib import Path

from fastserve.api.engine import EngineReport

READ_SECONDS = 1.0


async def read_report(path: Path) -> EngineReport | None:
    """What the engine says now; None where it does not answer within a second."""
    try:
        async with asyncio.timeout(READ_SECONDS):
            reader, writer = await asyncio.open_unix_connection(str(path))
            try:
                text = await reader.read()
            finally:
                writer.close()
        return EngineReport.from_json(text.decode())
    except (OSError, TimeoutError, KeyError, TypeError, json.JSONDecodeError, UnicodeDecodeError):
        return None
