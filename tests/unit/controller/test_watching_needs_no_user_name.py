"""In a container the uid belongs to no user; kopf asks for a user's name unless it is told who it is."""

import asyncio
import getpass

import pytest

from fastserve.cluster.login import Login
from fastserve.cluster.session import Observer
from fastserve.controller.wiring import Watching, watch


def no_user() -> str:
    raise KeyError("getpwuid(): uid not found: 65532")


async def no_header() -> str:
    return ""


async def test_watching_starts_where_the_uid_has_no_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(getpass, "getuser", no_user)
    stop = asyncio.Event()
    watching = Watching(
        kinds=(),
        namespaces=("news",),
        login=Login("http://127.0.0.1:9", None, no_header),
        seen=lambda kind, manifest, deleted: None,
        observer=Observer(lambda *_: None, lambda *_: None),
    )
    task = asyncio.create_task(watch(watching, stop))
    await asyncio.sleep(0)
    stop.set()
    await task
