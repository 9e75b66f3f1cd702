"""The router runs on uvloop, so its tests do too: its transports differ from asyncio's."""

from collections.abc import Callable, Mapping
from typing import Any

import uvloop


def pytest_asyncio_loop_factories(**_: object) -> Mapping[str, Callable[[], Any]]:
    return {"uvloop": uvloop.new_event_loop}
