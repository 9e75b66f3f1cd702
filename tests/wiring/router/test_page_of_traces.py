"""The page about traces: its commands, typed against a pool of this process, and its words."""

import asyncio
import json
import re
import shlex
import shutil
from pathlib import Path

from fastserve.api.modelpool import ModelPool
from fastserve.planning.routes import route_table
from fastserve.router.metrics import Metrics
from otlp_collector import collecting
from wiring.router.router_world import world

PAGE = (Path(__file__).parents[3] / "docs" / "tracing.md").read_text(encoding="utf-8")
METADATA = {"name": "news", "namespace": "default"}


def commands() -> list[list[str]]:
    blocks = re.findall(r"^```console\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    return [shlex.split(line) for block in blocks for line in block.splitlines()]


async def test_the_commands_of_the_page_have_one_request_traced(tmp_path: Path) -> None:
    patch, _, curl = commands()
    assert (patch[:3], curl[0]) == (["kubectl", "patch", "modelpool/news"], "curl")
    patched = json.loads(patch[patch.index("-p") + 1])
    pool = ModelPool.model_validate({"metadata": METADATA, **patched})
    tracing = json.loads(route_table(pool, []).model_dump_json())["tracing"]
    assert tracing == {"endpoint": "http://collector.observability:4318", "samplingRatio": "0.01"}
    async with collecting() as collector:
        table = {"tracing": {**tracing, "endpoint": collector.url}, "selection": {"minScore": "0"}}
        async with world(tmp_path, ["banking"], **table) as pool_here:
            keeper = pool_here.door.router._tracing
            await pool_here.until(lambda: _opened(keeper))
            address = pool_here.door.data.address
            answer = await _typed([one.replace("localhost:8080", address) for one in curl])
            await collector.until(3)

            assert json.loads(answer)["label"]
            assert {one.trace for one in collector.spans} == {"4bf92f3577b34da6a3ce929d0e0e4736"}


async def _opened(keeper: object) -> bool:
    return keeper.spans is not None


async def _typed(curl: list[str]) -> bytes:
    assert shutil.which("curl"), "the page's command needs curl"
    process = await asyncio.create_subprocess_exec(*curl, stdout=asyncio.subprocess.PIPE)
    said, _ = await process.communicate()
    assert process.returncode == 0
    return said


def test_the_page_names_the_metric_and_its_outcomes() -> None:
    name, *outcomes = re.search(
        r"`(fastserve_trace_spans_total)` counts them by\n`outcome`: `(\w+)`, `(\w+)`, `(\w+)`", PAGE
    ).groups()
    text = Metrics().render().decode()
    assert {f'{name}{{outcome="{one}"}} 0.0' in text for one in outcomes} == {True}
