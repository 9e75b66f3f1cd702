"""The inner life of a rank: join the group, load, answer until the channel ends."""

import datetime as dt
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path

import torch
import torch.distributed
from torch.distributed import FileStore  # type: ignore[attr-defined]  # torch exports it without saying so
from transformers import logging as advice

from fastserve.engine.memory import peak_resident_bytes, reset_peak
from fastserve.engine.messages import Message, receive, send
from fastserve.engine.orders import RankOrder
from fastserve.engine.runners import Load, Runner, load_runner
from fastserve.engine.sharding import Group
from fastserve.errors import DeviceMissing, EngineError, FastServeError

PROGRESS_SECONDS = 0.1


def serve(order: RankOrder, channel: Connection) -> int:
    """Run one rank on its channel. Returns the exit status; every failure is sent before."""
    _quieten()
    try:
        runner = _started(order, channel)
        while True:
            _answer(order, channel, runner, receive(channel))
    except EOFError:
        return 0
    except OSError as error:
        # The channel broke: the supervisor is gone, and there is nobody to tell.
        print(f"rank {order.number}: {error}", file=sys.stderr)
        return 1
    except FastServeError as error:
        with suppress(OSError):
            send(channel, {"kind": "failed", "reason": error.reason, "message": error.message})
        return 1


def _quieten() -> None:
    """Advice for people at a notebook has no place in a server's log."""
    advice.set_verbosity_error()  # type: ignore[no-untyped-call]
    advice.disable_progress_bar()  # type: ignore[no-untyped-call]


def _started(order: RankOrder, channel: Connection) -> Runner:
    """Load and run once, so that what the first request would pay, and meet, is part of loading."""
    torch.set_num_threads(order.threads)
    on_gpu = order.device != "cpu"
    if on_gpu and not torch.cuda.is_available():
        raise DeviceMissing(f"rank {order.number} cannot see its GPU: torch finds no CUDA device")
    reset_peak()
    try:
        _join(order)
        load = Load(Path(order.checkpoint), Group(order.number, order.size), order.device, order.max_tokens)
        runner = load_runner(order.task, load, _reporter(channel))
        peak = torch.cuda.max_memory_allocated() if on_gpu else peak_resident_bytes()
        runner.run(["."])
    except FastServeError:
        raise
    except MemoryError as error:
        raise EngineError("the machine has too little memory for this checkpoint") from error
    except Exception as error:
        traceback.print_exc()
        raise EngineError(f"{type(error).__name__}: {error}") from error
    send(
        channel,
        {
            "kind": "loaded",
            "labels": runner.labels,
            "width": runner.width,
            "parameter_bytes": runner.parameter_bytes,
            "peak_load_bytes": peak,
            "device_bytes": torch.cuda.memory_allocated() if on_gpu else 0,
        },
    )
    return runner


def _join(order: RankOrder) -> None:
    if order.size == 1:
        return
    torch.distributed.init_process_group(
        order.backend,
        store=FileStore(order.rendezvous, order.size),
        rank=order.number,
        world_size=order.size,
        timeout=dt.timedelta(seconds=order.timeout_seconds),
        device_id=torch.device(order.device) if order.backend == "nccl" else None,
    )


def _reporter(channel: Connection) -> Callable[[int, int], None]:
    """Send progress, but not for every tensor."""
    last = 0.0

    def report(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if done in (0, total) or now - last > PROGRESS_SECONDS:
            last = now
            send(channel, {"kind": "progress", "done": done, "total": total})

    return report


def _answer(order: RankOrder, channel: Connection, runner: Runner, request: Message) -> None:
    try:
        scores = runner.run(request.header["texts"])
    except Exception as error:  # told to the supervisor, which decides what it means
        traceback.print_exc()
        message = f"{type(error).__name__}: {error}"
        send(channel, {"kind": "failed", "reason": EngineError.reason, "message": message})
        return
    if order.number == 0:
        rows, width = scores.shape
        raw = scores.astype("<f4", copy=False).tobytes()
        send(channel, {"kind": "scores", "rows": rows, "width": width}, raw)
    else:
        send(channel, {"kind": "done"})
