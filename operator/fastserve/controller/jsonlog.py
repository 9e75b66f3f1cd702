"""Logs: one JSON object per line on stderr."""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Final

_KNOWN: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_LOUD: Final = ("kopf", "aiohttp", "asyncio")
"""Libraries that are heard from WARNING up."""
_IDLE: Final = "kopf._core.reactor.running"
"""Warns at each start that signals are not its own: they are ours."""


class JsonFormatter(logging.Formatter):
    """time, level, logger, instance, message, what was given as `extra` (namespace, pool, reason), and the
    traceback of an exception."""

    def __init__(self, instance: str) -> None:
        super().__init__()
        self._instance = instance

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line: dict[str, object] = {
            "time": time.replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "instance": self._instance,
            "message": record.getMessage(),
        }
        line.update({key: value for key, value in vars(record).items() if key not in _KNOWN})
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)


def log_to_stderr(instance: str, level: str) -> None:
    """Send everything from `level` up to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(instance))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for name in _LOUD:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLevelName(level)))
    logging.getLogger(_IDLE).setLevel(logging.ERROR)
