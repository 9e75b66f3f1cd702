"""The model class that Triton's Python stub imports: texts in, arrays out, everything else in the ranks.

The stub has its own Python with numpy and nothing more, so this module and what it imports use the
standard library, numpy and Triton's own `triton_python_backend_utils` only.
"""

import os
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as triton

from fastserve.api.engine import EngineConfig
from fastserve.engine.report_socket import ReportSocket
from fastserve.engine.supervisor import RankGroup
from fastserve.errors import FastServeError, RankDied

CONFIG = "engine.json"
PARENT_CHECK_SECONDS = 0.5
OUTPUTS = {"Embedding": "embedding"}
"""Name of the output by task; ``scores`` for any other."""


class TritonPythonModel:
    """One sub-model. Triton calls `execute` from one thread at a time."""

    def initialize(self, args: Mapping[str, str]) -> None:
        """Start the ranks. Raises RuntimeError ``Reason: sentence`` where they cannot be loaded."""
        config = EngineConfig.from_json((_model_folder(args) / CONFIG).read_text(encoding="utf-8"))
        self._output = OUTPUTS.get(config.task, "scores")
        self._group = RankGroup(config, dict(os.environ))
        self._socket: ReportSocket | None = None
        end_with_parent(self._group)
        try:
            # Before the ranks, so that the progress of a long load can be read.
            if config.socket:
                self._socket = ReportSocket(Path(config.socket), self._group.report)
            self._group.start()
        except FastServeError as error:
            self.finalize()
            raise RuntimeError(f"{error.reason}: {error.message}") from None

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Answer a batch: all requests' texts in one call to the ranks, one response for each request."""
        texts = [_texts_of(request) for request in requests]
        joined = [text for rows in texts if isinstance(rows, list) for text in rows]
        try:
            scores = self._group.predict(joined) if joined else np.empty((0, 0), np.float32)
        except FastServeError as error:
            # One for each: Triton takes the words out of an error that responses share.
            errors = (self._failure(error) if isinstance(rows, list) else rows for rows in texts)
            return [triton.InferenceResponse(error=one) for one in errors]
        responses, start = [], 0
        for rows in texts:
            if isinstance(rows, list):
                output = triton.Tensor(self._output, scores[start : start + len(rows)])
                responses.append(triton.InferenceResponse([output]))
                start += len(rows)
            else:
                responses.append(triton.InferenceResponse(error=rows))
        return responses

    def _failure(self, error: FastServeError) -> Any:
        """UNAVAILABLE where nobody can answer now; INTERNAL where only this batch cannot be answered, so that
        one bad batch does not turn everybody else away."""
        gone = isinstance(error, RankDied) or not self._group.loaded
        code = triton.TritonError.UNAVAILABLE if gone else triton.TritonError.INTERNAL
        return triton.TritonError(f"{error.reason}: {error.message}", code)

    def finalize(self) -> None:
        """Let the ranks go and close the socket."""
        self._group.stop()
        if self._socket is not None:
            self._socket.close()


def end_with_parent(group: RankGroup) -> None:
    """End this process, and its ranks, when Triton is gone: killed, it tells its stubs nothing, and an
    idle stub would wait for it for ever."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(PARENT_CHECK_SECONDS)
        group.kill()
        os._exit(1)

    threading.Thread(target=watch, name="parent-watcher", daemon=True).start()


def _model_folder(args: Mapping[str, str]) -> Path:
    return Path(args["model_repository"])


def _texts_of(request: Any) -> list[str] | Any:
    """The request's texts, or the TritonError that it alone is answered with."""
    rows = triton.get_input_tensor_by_name(request, "text").as_numpy().reshape(-1)
    try:
        return [bytes(row).decode() for row in rows]
    except UnicodeDecodeError as error:
        message = f"InvalidText: a text is not UTF-8: {error.reason} at byte {error.start}"
        return triton.TritonError(message, triton.TritonError.INVALID_ARG)
