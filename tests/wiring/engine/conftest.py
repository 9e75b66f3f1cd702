"""A group whose ranks are real processes without torch: the supervisor does not know what ranks compute,
and these start at once. They do what the texts say."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from fastserve.api.engine import EngineConfig
from fastserve.engine.supervisor import RankGroup

RANK = """#!{python}
import os, signal, sys, time
import numpy as np
from pathlib import Path
from multiprocessing.connection import Connection
from fastserve.engine.messages import receive, send
from fastserve.engine.orders import RankOrder
from fastserve.engine.rank import hold_lifeline

order = RankOrder.from_json(sys.argv[-1])
hold_lifeline(order.lifeline)
channel = Connection(order.channel)
send(channel, {{"kind": "progress", "done": 0, "total": 100}})
word = Path(order.checkpoint).read_text()
if word == "broken":
    send(channel, {{"kind": "failed", "reason": "CheckpointInvalid", "message": "tensor x is missing"}})
    sys.exit(1)
if word == "slow":
    time.sleep(3600)
send(channel, {{"kind": "progress", "done": 100, "total": 100}})
send(channel, {{"kind": "loaded", "labels": ["a", "b"], "width": 2, "parameter_bytes": 100,
               "peak_load_bytes": 1000, "device_bytes": 0}})
while True:
    try:
        texts = receive(channel).header["texts"]
    except (EOFError, OSError):
        sys.exit(0)
    target = str(order.number)
    if texts[0] == "die " + target:
        os.kill(os.getpid(), signal.SIGKILL)
    if texts[0].startswith("die") or texts[0] == "hang " + target:
        time.sleep(3600)
    if texts[0] in ("fail " + target, "fail all"):
        send(channel, {{"kind": "failed", "reason": "EngineFailed", "message": "no luck"}})
    elif order.number:
        send(channel, {{"kind": "done"}})
    else:
        scores = np.array([[len(t), order.size] for t in texts], dtype=np.float32)
        send(channel, {{"kind": "scores", "rows": len(texts), "width": 2}}, scores.tobytes())
"""


@dataclass
class Stage:
    """Where a group is made; `word` is the checkpoint: what the ranks do when they load."""

    config: EngineConfig
    word: Path
    groups: list[RankGroup]

    def group(self, ranks: int = 2, **changes: object) -> RankGroup:
        config = replace(self.config, devices=("cpu",) * ranks, **changes)  # type: ignore[arg-type]
        self.groups.append(RankGroup(config, dict(os.environ)))
        return self.groups[-1]

    def started(self, ranks: int = 2, **changes: object) -> RankGroup:
        group = self.group(ranks, **changes)
        group.start()
        return group


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    script = tmp_path / "python"
    script.write_text(RANK.format(python=sys.executable))
    script.chmod(0o755)
    word = tmp_path / "checkpoint"
    word.write_text("good")
    config = EngineConfig(
        "TextClassification",
        ("cpu",),
        str(script),
        str(word),
        load_timeout_seconds=30,
        execute_timeout_seconds=30,
    )
    stage = Stage(config, word, [])
    yield stage
    for group in stage.groups:
        group.stop()


Until = Callable[[Callable[[], object]], None]


@pytest.fixture
def until() -> Until:
    """Wait until something holds, for 60 seconds at most."""

    def wait(holds: Callable[[], object]) -> None:
        deadline = time.monotonic() + 60
        while not holds():
            assert time.monotonic() < deadline, "it never became so"
            time.sleep(0.02)

    return wait
