"""A router over a Triton that freezes, and a warden on a real socket that starts another one."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from fastserve.router.reviver import ask_warden
from wiring.router.router_world import FakeTriton, Node, World, member_document, table_document

NAME = "travel"


@dataclass
class FreezingTriton(FakeTriton):
    """One whose engine can freeze too: then inferences wait, and an unload never comes to its end; nor
    does one of an engine that was killed while it had requests."""

    engine_frozen: bool = False
    engine_dead: bool = False

    def kill_engine(self) -> None:
        self.engine_dead, self.infer_error = True, (500, "Stub process is not healthy.")
        for engine in self.sockets.values():
            engine.close()

    def revive(self) -> None:
        self.frozen = self.engine_frozen = self.engine_dead = False
        self.infer_error = None

    async def _report(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while self.engine_frozen:
            await asyncio.sleep(0.02)
        await super()._report(reader, writer)

    async def _infer(self, request):
        while self.engine_frozen and request.path.endswith("/infer"):
            await asyncio.sleep(0.02)
        return await super()._infer(request)

    async def unload(self, name: str) -> None:
        if self.engine_frozen or self.engine_dead:
            self.unloads.append(name)
            self.states[name] = "UNLOADING"
        else:
            await super().unload(name)


@dataclass
class Warden:
    """What the real one does, for a Triton that is no process."""

    triton: FreezingTriton
    path: Path
    refusal: str = ""
    asked: list[str] = field(default_factory=list)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.asked.append((await reader.readline()).decode().strip())
        if self.refusal:
            writer.write(json.dumps({"error": self.refusal}).encode() + b"\n")
        else:
            await self.triton.die()
            self.triton.revive()
            await self.triton.start()
            self.triton.is_live = True
            writer.write(b'{"pid": 7, "restarts": 1, "seconds": 0.1}\n')
        writer.close()


@asynccontextmanager
async def watched(folder: Path) -> AsyncIterator[tuple[Node, Warden]]:
    pool = World(folder, table_document([member_document(NAME)]))
    pool.write_table()
    triton = pool.tritons[NAME] = FreezingTriton(("flight", "hotel"))
    warden = Warden(triton, folder / "w.sock")
    server = await asyncio.start_unix_server(warden.answer, str(warden.path))
    try:
        await pool.start("door")
        node = await pool.start(NAME, NAME, warden_socket=str(warden.path))
        pool.write_peers()
        await pool.all_ready()
        yield node, warden
    finally:
        triton.revive()
        await pool.close()
        server.close()
        await server.wait_closed()


async def until(true, seconds: float = 15.0) -> None:
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.02)


async def again_ready(node: Node) -> dict:
    await until(lambda: not node.router.pool.own.ready)
    await until(lambda: node.router.pool.own.ready)
    await asyncio.sleep(1.1)  # the state document is kept for a second
    return await node.state()


@pytest.mark.parametrize("under_load", [False, True])
async def test_a_frozen_triton_is_started_anew_and_told(tmp_path: Path, under_load: bool) -> None:
    async with watched(tmp_path) as (node, warden):
        warden.triton.frozen = True
        calls = [
            asyncio.create_task(node.post("/v1/predict", {"text": "to rome", "subModel": NAME}))
            for _ in range(3 * under_load)
        ]
        state = await again_ready(node)
        await asyncio.gather(*calls)
        assert warden.asked == ["restart TritonFrozen: it answered nothing"]
        assert (state["ready"], state["tritonRestarts"]) == (True, 1)
        assert state["model"]["lastFailure"]["reason"] == "TritonFrozen"
        text = (await node.admin.get("/metrics", 5.0)).body.decode()
        assert 'fastserve_triton_restarts_total{reason="TritonFrozen"} 1.0' in text
        status, _, _ = await node.post("/v1/predict", {"text": "to rome", "subModel": NAME})
        assert status == 200


async def test_a_frozen_engine_that_triton_would_unload_for_ever_is_ended_with_it(tmp_path: Path) -> None:
    async with watched(tmp_path) as (node, warden):
        warden.triton.engine_frozen = True
        state = await again_ready(node)
        (asked,) = warden.asked
        assert asked.startswith("restart EngineFrozen: ")
        assert state["ready"] is True


async def test_a_dead_engine_that_triton_waits_for_is_ended_with_it_at_once(tmp_path: Path) -> None:
    """A real Triton does not end the unload of a stub that was killed while it had requests."""
    async with watched(tmp_path) as (node, warden):
        warden.triton.kill_engine()
        state = await again_ready(node)
        (asked,) = warden.asked
        assert asked.startswith("restart EngineFrozen: ")
        assert state["ready"] is True


async def test_a_triton_that_ended_is_left_to_whoever_keeps_it(tmp_path: Path) -> None:
    async with watched(tmp_path) as (node, warden):
        await warden.triton.die()
        await until(lambda: not node.router.pool.own.ready)
        await asyncio.sleep(3.0)
        assert warden.asked == []
        await warden.triton.start()
        warden.triton.is_live = True
        await until(lambda: node.router.pool.own.ready)


async def test_a_warden_that_refuses_is_not_asked_again_at_once_and_nothing_else_is_hurt(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with watched(tmp_path) as (node, warden):
        warden.refusal = "Triton is ending"
        warden.triton.frozen = True
        await until(lambda: bool(warden.asked))
        await asyncio.sleep(3.0)
        assert len(warden.asked) == 1
        assert "did not restart it" in caplog.text
        assert (await node.state())["tritonRestarts"] == 0
        warden.triton.frozen = False
        await until(lambda: node.router.pool.own.ready)


async def test_asking_tells_why_it_was_in_vain(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        await ask_warden(tmp_path / "none.sock", "why")

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.close()

    server = await asyncio.start_unix_server(hang_up, str(tmp_path / "w.sock"))
    with pytest.raises(ValueError, match="truncated"):
        await ask_warden(tmp_path / "w.sock", "why")
    server.close()
    await server.wait_closed()
