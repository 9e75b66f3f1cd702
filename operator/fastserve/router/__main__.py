"""``python -m fastserve.router --settings FILE.json`` or ``--settings-json '{…}'``: one router process.

Exit codes: 0 after a drain, 2 for settings or an encoder that cannot be used, 3 for a port that is taken.
"""

import argparse
import asyncio
import os
import resource
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import uvloop

from fastserve.api.identity import ROUTER_MANAGER
from fastserve.cluster.port import Scales
from fastserve.errors import FastServeError
from fastserve.router.app import Doors, PortTaken, Router, stop_on_signals
from fastserve.router.encoder import OnnxEncoder
from fastserve.router.jsonlog import log_to_stderr
from fastserve.router.settings import RouterSettings, parse_settings, read_settings
from fastserve.router.triton import GrpcTritonControl

EXIT_UNUSABLE = 2
EXIT_PORT_TAKEN = 3


async def serve(settings: RouterSettings) -> None:
    """Take the ports first, so that callers wait instead of being turned away while the encoder loads."""
    doors = Doors.open(settings)
    encoder = await asyncio.to_thread(OnnxEncoder, Path(settings.encoder_path), settings.encoder_threads)
    control = GrpcTritonControl(settings.triton_grpc) if settings.triton_grpc and settings.member else None
    async with api_of(settings) as reads:
        router = Router(settings, encoder, control, reads)
        stop_on_signals(router)
        await router.serve(doors)


@asynccontextmanager
async def api_of(settings: RouterSettings) -> AsyncIterator[Scales | None]:
    """The Kubernetes API for a router on a cluster. Raises Unreachable where there is no login."""
    if settings.cluster is None:
        yield None
        return
    # A router on one machine does without the client and its memory.
    from fastserve.cluster.kube import connected  # noqa: PLC0415
    from fastserve.cluster.login import login  # noqa: PLC0415

    async with connected(await login(os.environ), manager=ROUTER_MANAGER) as reads:
        yield reads


def allow_connections() -> None:
    """Every connection is an open file, and shells allow 1024 where the kernel would many more."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m fastserve.router", description=__doc__)
    given = parser.add_mutually_exclusive_group(required=True)
    given.add_argument("--settings", type=Path, metavar="FILE", help="the settings document, JSON")
    given.add_argument("--settings-json", metavar="JSON", help="the settings document itself")
    arguments = parser.parse_args()
    try:
        settings = (
            parse_settings(arguments.settings_json.encode())
            if arguments.settings_json is not None
            else read_settings(arguments.settings)
        )
        log_to_stderr(settings.instance)
        allow_connections()
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(settings))
    except PortTaken as error:
        print(f"{error.reason}: {error}", file=sys.stderr)
        return EXIT_PORT_TAKEN
    except FastServeError as error:
        print(f"{error.reason}: {error}", file=sys.stderr)
        return EXIT_UNUSABLE
    return 0


if __name__ == "__main__":
    sys.exit(main())
