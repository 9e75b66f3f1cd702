"""Keeps a group of ranks alive and answers for it. Standard library and numpy only: it runs in Triton's
Python stub. It knows nothing of what the ranks compute.

One thread watches. When a rank ends, the call in flight fails at once, what is left of the group is
killed, and a new generation is started, with a back-off that grows while generations do not last. Until it
is loaded, requests fail at once with the reason. State is written by `start`, by the watching thread and
by `stop`, never by two of them at a time; `report` only reads.
"""

import os
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fastserve.api.engine import EngineConfig, EngineReport, RankReport
from fastserve.engine.devices import Placement, count_present, place, visible_entries
from fastserve.engine.memory import host_memory, resident_bytes
from fastserve.engine.messages import Message, error_of
from fastserve.engine.ranks import RankProcesses, spawn
from fastserve.errors import FastServeError

LOADING, LOADED, FAILED = "Loading", "Loaded", "FailedToLoad"
FIRST_DELAY, LONGEST_DELAY = 0.5, 10.0
LASTING_SECONDS = 10.0
"""A generation that lived this long was a good one: the back-off begins anew."""


def restart_delay(failures: int) -> float:
    """Seconds to wait before the ranks are started again, after `failures` generations in a row that did
    not last: 0.5, 1, 2, 4, 8, 10, 10, …"""
    return float(min(LONGEST_DELAY, FIRST_DELAY * 2 ** min(failures, 10)))


class RankGroup:
    """The ranks of one sub-model."""

    def __init__(self, config: EngineConfig, environ: Mapping[str, str]) -> None:
        self._config = config
        self._environ = environ
        self._ranks: RankProcesses | None = None
        self._asking = threading.Lock()
        self._stopping = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="rank-watcher", daemon=True)
        self._woken, self._wake = os.pipe()
        self._progress: dict[int, tuple[int, int]] = {}
        self._loaded_at = 0.0
        self._failures = 0
        self._state = EngineReport(phase=LOADING)

    def start(self) -> None:
        """Start the ranks and wait until they are loaded; from then on they are kept alive.

        Raises DeviceMissing, CheckpointError, RankDied or EngineError; nothing is left running then.
        """
        try:
            self._load()
        except BaseException:
            self.stop()
            raise
        self._watcher.start()

    def predict(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Scores [n, width] of `texts`, one row for each.

        Raises RankDied where a rank ends meanwhile, within a fraction of a second, and at once, with the
        last reason, while there is no group that could answer.
        """
        with self._asking:
            ranks = self._ranks
            if self._state.phase != LOADED or ranks is None:
                raise error_of(
                    self._state.last_error_reason or "EngineLoading",
                    self._state.last_error_message or "the ranks are loading",
                )
            return ranks.ask(texts, self._config.execute_timeout_seconds)

    @property
    def loaded(self) -> bool:
        """Whether there are ranks that could answer."""
        return self._state.phase == LOADED

    def report(self) -> EngineReport:
        """What is so, now. Safe from any thread."""
        state = self._state
        free, total = host_memory()
        return replace(
            state,
            host_free_bytes=free,
            host_total_bytes=total,
            bytes_done=sum(done for done, _ in list(self._progress.values())),
            bytes_total=sum(total for _, total in list(self._progress.values())),
            ranks=tuple(
                rank if rank.memory_bytes else replace(rank, memory_bytes=resident_bytes(rank.pid))
                for rank in state.ranks
            ),
        )

    def stop(self) -> None:
        """End the ranks and the watching; idempotent."""
        self._stopping.set()
        if self._wake < 0:
            return
        os.write(self._wake, b"x")
        while self._watcher.is_alive():
            # Again and again, because the watcher may be starting the next generation just now.
            self.kill_if_loading()
            self._watcher.join(0.05)
        self._retire()
        os.close(self._wake)
        os.close(self._woken)
        self._wake = -1

    def kill(self) -> None:
        """Kill the ranks and do nothing else; for a process that is about to end."""
        if self._ranks is not None:
            self._ranks.kill()

    def kill_if_loading(self) -> None:
        if self._state.phase != LOADED:
            self.kill()

    def _watch(self) -> None:
        while (ranks := self._ranks) is not None and (end := ranks.wait_for_end(self._woken)):
            self._note(end, LOADING)
            if time.monotonic() - self._loaded_at > LASTING_SECONDS:
                self._failures = 0
            self._retire()
            self._start_again()

    def _start_again(self) -> None:
        while not self._stopping.wait(restart_delay(self._failures)):
            self._failures += 1
            self._state = replace(self._state, restarts=self._state.restarts + 1)
            try:
                self._load()
            except FastServeError as error:
                self._note(error, FAILED)
                self._retire()
            else:
                return

    def _load(self) -> None:
        began = time.monotonic()
        self._progress = {}
        placement = self._placement(allow_cpu=self._config.allow_cpu)
        self._ranks = spawn(self._config, placement, self._environ)
        self._state = replace(self._state, ranks=_newborn(self._ranks))
        loaded = self._ranks.load(self._config.load_timeout_seconds, self._note_progress)
        self._loaded_at = time.monotonic()
        self._state = replace(
            self._state,
            phase=LOADED,
            ranks=_grown(self._ranks, loaded),
            labels=tuple(loaded[0].header["labels"]),
            width=loaded[0].header["width"],
            load_seconds=self._loaded_at - began,
        )

    def _placement(self, *, allow_cpu: bool) -> Placement:
        visible = visible_entries(self._environ, count_present(Path("/")))
        return place(self._config.devices, visible, allow_cpu=allow_cpu)

    def _note(self, error: FastServeError, phase: str) -> None:
        self._state = replace(
            self._state,
            phase=phase,
            ranks=(),
            last_error_reason=error.reason,
            last_error_message=error.message,
            last_error_time=time.time(),
        )

    def _note_progress(self, number: int, done: int, total: int) -> None:
        self._progress = {**self._progress, number: (done, total)}

    def _retire(self) -> None:
        ranks = self._ranks
        if ranks is None:
            return
        if not self._stopping.is_set():
            ranks.kill()
        # Whoever asks sees the end of the channel and lets the lock go; closing it under him would not do.
        with self._asking:
            self._ranks = None
        # Without the lock: a process that held much memory takes seconds to go, and callers must not wait.
        ranks.close()


def _newborn(ranks: RankProcesses) -> tuple[RankReport, ...]:
    return tuple(RankReport(rank.number, rank.process.pid, rank.device.name) for rank in ranks.ranks)


def _grown(ranks: RankProcesses, loaded: Sequence[Message]) -> tuple[RankReport, ...]:
    """Reports of loaded ranks. A GPU's memory is what the rank allocated; a CPU's is read when asked."""
    return tuple(
        replace(
            report,
            memory_bytes=message.header["device_bytes"],
            parameter_bytes=message.header["parameter_bytes"],
            peak_load_bytes=message.header["peak_load_bytes"],
        )
        for report, message in zip(_newborn(ranks), loaded, strict=True)
    )
