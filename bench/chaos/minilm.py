"""Rows about a real model in the product's own engine: MiniLM with another random head for each version, at
half of what it can answer here. They are about content; how long things take is told by models whose service
time is declared."""

import asyncio
import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
import transformers
import uvloop

from chaos import deaths, swaps
from chaos.deaths import Fault
from chaos.faults import stub_of
from chaos.learning import answers_of, write_learnt
from chaos.load import SECONDS, TEXTS
from chaos.model import LABELS, TOLERANCE, Ground, write_model
from chaos.records import LEARNT
from chaos.scoring import Planned
from chaos.swaps import INSTANCE, NAME, NEIGHBOUR, Ask, Exchanges
from chaos.world import ASKED_FOR, ELSEWHERE, Part, World
from fastserve.local.environment import Installer
from fastserve.local.folders import Folders
from fastserve.router.upstream import Upstream

A, B = LEARNT, LEARNT + 1
PEAK_SECONDS, AT_ONCE = 10.0, 16
HALF = 0.5
FAULTS = (
    Fault("MiniLM, stub killed", stub_of, INSTANCE, A, deaths.TRITON_SECONDS),
    Fault("MiniLM, Triton killed", World.triton, INSTANCE, A),
)


def parts_of(folder: Path, ground: Ground) -> list[Part]:
    """The sub-model whose versions are exchanged, and a neighbour."""
    for number in (A, B):
        write_checkpoint(swaps.folder_of(folder, number), number)
    neighbour = write_model(swaps.folder_of(folder, NEIGHBOUR), NEIGHBOUR, ground)
    own = swaps.folder_of(folder, A)
    return [
        Part(NAME, ASKED_FOR, own, version="a", spec={"engine": {"type": "Torch"}}),
        Part("neighbour", ELSEWHERE, neighbour, version="neighbour"),
    ]


def write_checkpoint(folder: Path, seed: int) -> Path:
    """MiniLM's own weights and tokenizer below a head that is drawn by `seed`."""
    weights = Installer(Folders.of_platform(), print).weights()
    torch.manual_seed(seed)
    model = transformers.BertForSequenceClassification.from_pretrained(
        weights, id2label=dict(enumerate(LABELS))
    )
    with torch.no_grad():
        model.classifier.weight.mul_(20.0)  # so that two heads never say nearly the same
    model.save_pretrained(folder)
    shutil.copy(weights / "tokenizer.json", folder)
    return folder


def rows(ask: Ask, trials: int) -> Iterator[Planned]:
    """Learns both versions and the peak first."""
    learnt = _learnt(ask)
    peak = uvloop.run(peak_of(ask.world.address))
    half = replace(ask, rate=HALF * peak, learnt=learnt, pair=(A, B))
    yield swaps.planned("MiniLM, A→B→A", half, trials, swaps.plain)
    yield swaps.planned("MiniLM, memory for one", half, trials, swaps.for_one)
    yield swaps.planned("MiniLM, router killed", half, trials, swaps.router_killed)
    yield from deaths.rows(half, FAULTS, trials)


def _learnt(ask: Ask) -> Path:
    world, exchanges = ask.world, Exchanges(replace(ask, pair=(A, B)))
    first = answers_of(world.address, NAME)
    exchanges.to_the_other(rollout={})
    second = answers_of(world.address, NAME)
    exchanges.home()
    if any(abs(first[text] - second[text]) < 2 * TOLERANCE for text in TEXTS):
        raise SystemExit("the two versions cannot be told apart by their answers")
    return write_learnt(ask.folder / "learnt-minilm.json", [first, second])


async def peak_of(address: str) -> float:
    """Answers per second to as many callers as keep it busy, who each ask again at once."""
    client, answers, end = Upstream(address), 0, time.monotonic() + PEAK_SECONDS

    async def caller(number: int) -> None:
        nonlocal answers
        body = json.dumps({"text": TEXTS[number % len(TEXTS)]}).encode()
        while time.monotonic() < end:
            reply = await client.post("/v1/predict", b"", body, SECONDS)
            answers += reply.status == 200

    await asyncio.gather(*(caller(number) for number in range(AT_ONCE)))
    client.close()
    return answers / PEAK_SECONDS
