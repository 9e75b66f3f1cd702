"""``python -m fastserve.local LAUNCH.json SESSION.json``: the supervisor process of `fastserve up`."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import psutil

from fastserve.local.documents import Launch, RunningProcess, Session
from fastserve.local.exchanging import exchange_versions
from fastserve.local.files import write_whole
from fastserve.local.roster import Roster
from fastserve.local.scaling import Scaler
from fastserve.local.supervisor import Supervisor


async def supervise(launch: Launch, session_file: Path) -> None:
    """Run the launch until SIGTERM or SIGINT; keep the session file true meanwhile, and remove it after."""
    me = os.getpid()
    created = psutil.Process(me).create_time()

    rosters = [Roster(place) for place in launch.pools]

    def write(processes: tuple[RunningProcess, ...]) -> None:
        pools = tuple(roster.place for roster in rosters)
        session = Session(pid=me, created=created, pools=pools, processes=processes)
        write_whole(session_file, session.model_dump_json(indent=2))

    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    supervisor = Supervisor(launch, os.environ, write)
    scaler = Scaler(launch, rosters, supervisor, lambda: write(supervisor.processes()))
    await scaler.look()  # so that what is told first has its replicas
    write(supervisor.processes())
    loops = [asyncio.create_task(one) for one in (exchange_versions(rosters), scaler.run())]
    try:
        await supervisor.run(stop)
    finally:
        for loop in loops:
            loop.cancel()
        await asyncio.gather(*loops, return_exceptions=True)
        session_file.unlink(missing_ok=True)  # noqa: ASYNC240 - nothing else runs any more


if __name__ == "__main__":
    asyncio.run(supervise(Launch.model_validate_json(Path(sys.argv[1]).read_text()), Path(sys.argv[2])))
