"""The drain that Triton's container asks for before it ends, and its coming back."""

import asyncio
import json
import socket
import stat
import sys
from pathlib import Path

from fastserve.router.upstream import Upstream
from wiring.router.api_world import ApiWorld, api_world

BANKING = "transfer money to my account"
QUIET = {"quiet_seconds": 0.3, "drain_seconds": 5.0}


async def ask(path: Path, *more: str) -> tuple[int, str]:
    """Run the command of the preStop hook."""
    command = (sys.executable, "-m", "fastserve.engine.drain", str(path), *more)
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    return process.returncode, out.decode()


def socket_of(pool: ApiWorld, name: str) -> Path:
    return pool.folder / name / "router.sock"


async def test_it_answers_when_it_is_quiet_and_then_gives_its_triton_no_more(tmp_path: Path) -> None:
    async with api_world(tmp_path, ("banking",), **QUIET) as pool:
        member = pool.nodes["banking"]
        pool.tritons["banking"].delay = 0.5
        assert stat.S_IMODE(socket_of(pool, "banking").stat().st_mode) == 0o600
        running = asyncio.create_task(pool.door.post("/v1/predict", {"text": BANKING}))
        await pool.until(lambda: _is(lambda: member.router.data.in_flight == 1))

        asked = asyncio.create_task(ask(socket_of(pool, "banking")))
        await pool.until(lambda: _is(lambda: member.router.data.draining))
        assert (await member.readyz())[1]["because"] == "the router drains"
        late = await member.post("/v1/predict", {"text": BANKING})
        assert (late[0], late[2].headers[b"connection"]) == (200, b"close")

        assert (await running)[0] == 200
        code, line = await asked
        answer = json.loads(line)
        assert (code, answer["drained"], answer["inFlight"]) == (0, True, 0)
        assert answer["seconds"] >= 0.3
        status, refused, _ = await member.post("/v1/predict", {"text": BANKING})
        assert (status, refused["reason"]) == (503, "NoMemberReady")
        assert json.loads((await ask(socket_of(pool, "banking")))[1]) == answer


async def test_what_is_not_answered_in_time_is_told(tmp_path: Path) -> None:
    async with api_world(tmp_path, ("banking",), quiet_seconds=0.0, drain_seconds=0.4) as pool:
        pool.tritons["banking"].delay = 1.5
        running = asyncio.create_task(pool.nodes["banking"].post("/v1/predict", {"text": BANKING}))
        await pool.until(lambda: _is(lambda: pool.nodes["banking"].router.data.in_flight == 1))

        answer = json.loads((await ask(socket_of(pool, "banking")))[1])

        assert (answer["drained"], answer["inFlight"]) == (False, 1)
        assert (await running)[0] == 200


async def test_a_triton_that_comes_back_takes_the_drain_back(tmp_path: Path) -> None:
    async with api_world(tmp_path, ("banking",), **QUIET) as pool:
        triton = pool.tritons["banking"]
        await ask(socket_of(pool, "banking"))
        await triton.die()
        sidecar = pool.nodes["banking"].router.sidecar
        await pool.until(lambda: _is(lambda: not sidecar.known.live))
        triton.is_live = True
        await triton.start()

        async def answers() -> bool:
            return (await pool.door.post("/v1/predict", {"text": BANKING}))[0] == 200

        await pool.until(answers)
        assert (await pool.nodes["banking"].readyz())[0] == 200


async def test_a_model_that_is_loaded_again_in_a_triton_that_stayed_does_not_take_the_drain_back(
    tmp_path: Path,
) -> None:
    async with api_world(tmp_path, ("banking",), **QUIET) as pool:
        triton, node = pool.tritons["banking"], pool.nodes["banking"]
        await ask(socket_of(pool, "banking"))
        (name,) = triton.states
        await triton.unload(name)

        async def serves_again() -> bool:
            current = node.router.pool.own.current
            return len(triton.loads) == 2 and current is not None

        await pool.until(serves_again)
        assert node.router.data.draining
        assert (await node.readyz())[0] == 503


async def test_the_socket_takes_post_drain_only(tmp_path: Path) -> None:
    async with api_world(tmp_path, ("banking",), **QUIET) as pool:
        for line, status in (("GET /drain", 405), ("POST /v1/predict", 404)):
            reader, writer = await asyncio.open_unix_connection(str(socket_of(pool, "banking")))
            writer.write(f"{line} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n".encode())
            assert (await reader.readline()).split()[1] == str(status).encode()
            writer.close()
        assert not pool.nodes["banking"].router.data.draining
        admin = Upstream(pool.nodes["banking"].admin.address)
        assert (await admin.post("/drain", b"", b"", 5.0)).status == 404
        admin.close()


async def test_the_command_ends_with_0_whatever_it_meets(tmp_path: Path) -> None:
    silent = tmp_path / "silent.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(silent))
        listener.listen()

        assert await ask(tmp_path / "none.sock") == (0, "not drained: [Errno 2] No such file or directory\n")
        code, line = await ask(silent, "0.2")
        assert (code, line.startswith("not drained: ")) == (0, True)
        assert (await ask(silent, "0.2", "more"))[0] == 0


async def _is(fact) -> bool:
    return fact()
