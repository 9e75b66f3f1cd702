"""What cutting a model into ranks costs and saves, on the CPU with gloo.

    python bench/tensor_parallel.py [--minilm FOLDER] [--quick]

For MiniLM (with a random classification head) and a random BERT-base, at the degrees 1, 2 and 4: the
greatest difference of the logits from those of the undivided transformers model, parameter bytes of a rank
against P/N, what loading adds to a rank's resident set at most, sums per request with their bytes and their
share of the time. Beside it: the same cut by torch's own `parallelize_module` (DTensor), and what the
supervisor and its socket pair add to a request. Prints tables and writes bench/results/tensor_parallel.json.
Latencies of more ranks than cores say nothing about a machine that has the cores.
"""

import argparse
import importlib
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
import torch.distributed
import transformers
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.multiprocessing.spawn import spawn

from fastserve.api.engine import EngineConfig
from fastserve.engine.memory import peak_resident_bytes, reset_peak, resident_bytes
from fastserve.engine.plans import PLANS, Cut
from fastserve.engine.runners import EncoderRunner, Load, load_runner
from fastserve.engine.sharding import Group
from fastserve.engine.supervisor import RankGroup
from fastserve.engine.tokens import TextTokenizer
from fastserve.local.environment import Installer
from fastserve.local.folders import Folders

RESULTS = Path(__file__).parent / "results" / "tensor_parallel.json"
SHORT = "what will the weather be like in the mountains tomorrow"
TEXTS = (SHORT, "yes", "", "stocks fell " * 40, "the team won the final after extra time")
DEGREES = (1, 2, 4)
TASK = "TextClassification"
RAW: Final = "regression"
"""transformers' word for a head whose scores are the logits themselves: nothing squashes a difference."""


@dataclass
class Clock:
    """Sums of one rank: how many, of how many bytes, in how many seconds of how many altogether."""

    sums: int = 0
    bytes: int = 0
    seconds: float = 0.0
    altogether: float = 0.0


@dataclass(frozen=True)
class TimedGroup(Group):
    clock: Clock = field(default_factory=Clock)

    def sum(self, partial: Tensor) -> Tensor:
        began = time.perf_counter()
        total = super().sum(partial)
        self.clock.seconds += time.perf_counter() - began
        self.clock.sums += 1
        self.clock.bytes += partial.nbytes
        return total


@dataclass(frozen=True)
class Trial:
    """One model at one degree; results of rank N go to `folder`/N.json."""

    checkpoint: Path
    degree: int
    repeats: int
    folder: Path


def main() -> None:
    arguments = _arguments()
    with tempfile.TemporaryDirectory() as scratch:
        models = {
            "MiniLM-L6": _with_head(arguments.minilm, Path(scratch) / "minilm"),
            "BERT-base": _random_base(Path(scratch) / "base"),
        }
        repeats = 10 if arguments.quick else 50
        rows = [
            _measured(name, folder, degree, repeats) for name, folder in models.items() for degree in DEGREES
        ]
        minilm = models["MiniLM-L6"]
        document = {
            "cpus": os.cpu_count(),
            "torch": torch.__version__,
            "threads_per_rank": 1,
            "rows": rows,
            "dtensor": _dtensor(minilm, repeats),
            "supervisor": _supervisor(minilm, repeats),
        }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(document, indent=2) + "\n")
    _print(document)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minilm", type=Path, help="folder of all-MiniLM-L6-v2; default: the one we install")
    parser.add_argument("--quick", action="store_true", help="fewer repetitions")
    arguments: argparse.Namespace = parser.parse_args()
    arguments.minilm = arguments.minilm or Installer(Folders.of_platform(), print).weights()
    return arguments


def _with_head(weights: Path, folder: Path) -> Path:
    torch.manual_seed(1)
    model = transformers.BertForSequenceClassification.from_pretrained(
        weights, num_labels=4, problem_type=RAW
    )
    model.save_pretrained(folder)
    shutil.copy(weights / "tokenizer.json", folder)
    return folder


def _random_base(folder: Path) -> Path:
    torch.manual_seed(2)
    transformers.BertForSequenceClassification(
        transformers.BertConfig(id2label={n: str(n) for n in range(4)}, problem_type=RAW)
    ).save_pretrained(folder)
    shutil.copy(folder.parent / "minilm" / "tokenizer.json", folder)
    return folder


def _measured(name: str, checkpoint: Path, degree: int, repeats: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        trial = Trial(checkpoint, degree, repeats, Path(folder))
        spawn(_rank, (trial,), nprocs=degree)  # type: ignore[no-untyped-call]
        ranks = [json.loads((trial.folder / f"{n}.json").read_text()) for n in range(degree)]
    model = transformers.BertForSequenceClassification.from_pretrained(checkpoint)
    model.train(mode=False)
    parameters = sum(parameter.numel() * 4 for parameter in model.parameters())
    difference = np.abs(np.array(ranks[0]["scores"], np.float32) - _undivided(model, checkpoint)).max()
    share = [rank["seconds"] / rank["altogether"] for rank in ranks]
    return {
        "model": name,
        "degree": degree,
        "greatest_difference": float(difference),
        "parameter_bytes": parameters,
        "parameter_bytes_per_rank": [rank["parameter_bytes"] for rank in ranks],
        "over_an_equal_part": max(rank["parameter_bytes"] for rank in ranks) / (parameters / degree),
        "load_peak_bytes_per_rank": [rank["load_peak_bytes"] for rank in ranks],
        "sums_per_request": ranks[0]["sums"],
        "bytes_per_request": ranks[0]["bytes"],
        "p50_ms": max(rank["p50_ms"] for rank in ranks),
        "share_of_time_in_sums": statistics.mean(share),
    }


def _undivided(model: torch.nn.Module, checkpoint: Path) -> NDArray[np.float32]:
    """Each text alone, without padding, by transformers."""
    tokenizer = TextTokenizer(checkpoint, 512, 0)
    with torch.inference_mode():
        rows = [model(torch.tensor([ids])).logits[0] for ids in tokenizer.encode(TEXTS)]
    scores: NDArray[np.float32] = torch.stack(rows).numpy()
    return scores


def _rank(number: int, trial: Trial) -> None:
    torch.set_num_threads(1)
    group = _joined(number, trial)
    # transformers imports a model's code when it is first named; that is no part of the weights.
    importlib.import_module("transformers.models.bert.modeling_bert")
    reset_peak()
    before = resident_bytes(os.getpid())
    runner = load_runner(TASK, Load(trial.checkpoint, group, "cpu"), _silent)
    peak = peak_resident_bytes() - before
    scores = runner.run(TEXTS)
    p50, clock = _timed(lambda: runner.run([SHORT]), trial.repeats, group.clock)
    result = {
        "scores": scores.tolist(),
        "parameter_bytes": runner.parameter_bytes,
        "load_peak_bytes": peak,
        "p50_ms": p50 * 1000,
        **asdict(clock),
    }
    (trial.folder / f"{number}.json").write_text(json.dumps(result))


def _joined(number: int, trial: Trial) -> TimedGroup:
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    if trial.degree > 1:
        torch.distributed.init_process_group(
            "gloo", init_method=f"file://{trial.folder}/rendezvous", rank=number, world_size=trial.degree
        )
    return TimedGroup(number, trial.degree)


def _silent(_done: int, _total: int) -> None:
    """Progress that nobody reads."""


def _timed(call: Callable[[], object], repeats: int, clock: Clock) -> tuple[float, Clock]:
    """Median seconds of a call; number and bytes of one call's sums, and the time of all calls in them."""
    for _ in range(5):
        call()
    clock.sums, clock.bytes, clock.seconds = 0, 0, 0.0
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - began)
    each = Clock(clock.sums // repeats, clock.bytes // repeats, clock.seconds, sum(seconds))
    return statistics.median(seconds), each


def _dtensor(checkpoint: Path, repeats: int) -> dict[str, float]:
    """The same cut by torch's own styles, two ranks."""
    with tempfile.TemporaryDirectory() as folder:
        trial = Trial(checkpoint, 2, repeats, Path(folder))
        spawn(_dtensor_rank, (trial,), nprocs=2)  # type: ignore[no-untyped-call]
        result: dict[str, float] = json.loads((trial.folder / "0.json").read_text())
    return result


def _dtensor_rank(number: int, trial: Trial) -> None:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Replicate
    from torch.distributed.tensor.parallel import (
        ColwiseParallel,
        ParallelStyle,
        RowwiseParallel,
        parallelize_module,
    )

    torch.set_num_threads(1)
    ours = load_runner(TASK, Load(trial.checkpoint, _joined(number, trial), "cpu"), _silent)
    theirs = load_runner(TASK, Load(trial.checkpoint, Group(), "cpu"), _silent)
    assert isinstance(theirs, EncoderRunner)
    styles: dict[Cut, Callable[[], ParallelStyle]] = {
        Cut.COLUMNS: ColwiseParallel,
        Cut.ROWS: RowwiseParallel,
        Cut.TABLE: lambda: RowwiseParallel(input_layouts=Replicate()),
    }
    plan = PLANS["bert"]
    cuts = {**{f"bert.{name}": cut for name, cut in plan.body.items()}, **plan.head}
    parallelize_module(
        theirs.model,
        init_device_mesh("cpu", (2,)),
        {name: styles[cut]() for name, cut in cuts.items() if cut in styles},
    )
    results = {}
    for name, runner in (("ours_p50_ms", ours), ("dtensor_p50_ms", theirs)):
        median, _ = _timed(partial(runner.run, [SHORT]), trial.repeats, Clock())
        results[name] = median * 1000
    results["greatest_difference"] = float(np.abs(ours.run(TEXTS) - theirs.run(TEXTS)).max())
    (trial.folder / f"{number}.json").write_text(json.dumps(results))


def _supervisor(checkpoint: Path, repeats: int) -> dict[str, float]:
    """What the supervisor, the socket pair and the rank's loop add to the runner's own time, one rank."""
    torch.set_num_threads(1)
    runner = load_runner(TASK, Load(checkpoint, Group(), "cpu"), _silent)
    group = RankGroup(EngineConfig(TASK, ("cpu",), sys.executable, str(checkpoint)), dict(os.environ))
    group.start()
    try:
        inside, through = [], []
        for _ in range(repeats * 4):
            # In turn, so that a busy machine slows both alike.
            inside.append(_seconds(lambda: runner.run([SHORT])))
            through.append(_seconds(lambda: group.predict([SHORT])))
    finally:
        group.stop()
    medians = {
        "runner_p50_ms": statistics.median(inside) * 1000,
        "through_supervisor_p50_ms": statistics.median(through) * 1000,
    }
    return {**medians, "added_ms": medians["through_supervisor_p50_ms"] - medians["runner_p50_ms"]}


def _seconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def _print(document: dict[str, Any]) -> None:
    console = Console(width=120)
    table = Table(title="Tensor parallelism")
    for heading in (
        "model",
        "N",
        "max |diff|",
        "bytes/rank",
        "x P/N",
        "load peak",
        "sums",
        "bytes",
        "p50",
        "in sums",
    ):
        table.add_column(heading, justify="right")
    for row in document["rows"]:
        table.add_row(
            row["model"],
            str(row["degree"]),
            f"{row['greatest_difference']:.1e}",
            f"{max(row['parameter_bytes_per_rank']) / 1e6:.1f} MB",
            f"{row['over_an_equal_part']:.3f}",
            f"{max(row['load_peak_bytes_per_rank']) / 1e6:.0f} MB",
            str(row["sums_per_request"]),
            str(row["bytes_per_request"]),
            f"{row['p50_ms']:.1f} ms",
            f"{row['share_of_time_in_sums']:.0%}",
        )
    console.print(table)
    console.print("DTensor beside ours (2 ranks):", document["dtensor"])
    console.print("Supervisor:", document["supervisor"])


if __name__ == "__main__":
    main()
