"""`fastserve up`: start, show progress while models load, and end everything on Ctrl-C."""

import signal
import time
from collections.abc import Callable
from types import FrameType

import typer
from rich.live import Live

from fastserve.cli import tables
from fastserve.cli.terminal import EXIT_FAILED, err
from fastserve.errors import LocalError
from fastserve.local.documents import PoolPlace, Session
from fastserve.local.folders import Folders
from fastserve.local.overview import Overview, look, read_session
from fastserve.local.starting import StartOptions, start, stop

LOOK_SECONDS = 0.5


def the_session(folders: Folders) -> Session:
    """What runs; raises LocalError where nothing does."""
    session = read_session(folders.session_file)
    if session is None:
        raise LocalError(
            f"Nothing runs here (state folder {folders.state}). Start with `fastserve up -f FILE`."
        )
    return session


def the_pool(session: Session, name: str | None) -> PoolPlace:
    """The pool of that name, or the only one; raises BadParameter, naming all, where that is none."""
    chosen = [place for place in session.pools if name in (None, place.name)]
    if len(chosen) != 1:
        names = ", ".join(place.name for place in session.pools)
        raise typer.BadParameter(f"name one of the pools that run with --pool: {names}")
    return chosen[0]


def up_and_watch(options: StartOptions) -> None:
    """Start what the options ask for. Detached: return when it settled. Else stay until Ctrl-C. Whatever
    goes wrong on the way, and Ctrl-C, ends everything."""
    with err.status("Preparing …") as spinner:
        session = start(options, lambda step: _say(spinner.update, step))
    interrupted = _Interrupt()
    keep = False
    try:
        overview = _watch_loading(session, options.folders, interrupted)
        if not options.detach:
            _stay(session, options.folders, interrupted)
        elif interrupted.seen:
            raise typer.Exit(EXIT_FAILED)
        elif not any(pool.ready for pool in overview.pools):
            err.print("No pool answers; see the reasons above and `fastserve logs`.")
            raise typer.Exit(EXIT_FAILED)
        else:
            keep = True
    finally:
        if not keep:
            _end(session)


class _Interrupt:
    """Remembers Ctrl-C and SIGTERM instead of raising in the middle of something."""

    def __init__(self) -> None:
        self.seen = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._note)

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        self.seen = True


def _watch_loading(session: Session, folders: Folders, interrupted: _Interrupt) -> Overview:
    """Show the table until every member is ready or failed."""
    overview = look(session)
    with Live(console=err, refresh_per_second=4, transient=True) as live:
        while not interrupted.seen and not all(pool.settled for pool in overview.pools):
            now = read_session(folders.session_file)
            if now is None:
                raise LocalError(
                    f"The supervisor (pid {session.pid}) ended; see `fastserve logs supervisor`."
                )
            overview = look(now)
            live.update(tables.status(overview))
            time.sleep(LOOK_SECONDS)
    err.print(tables.status(overview))  # once more: what is live is cut to the terminal's size
    return overview


def _stay(session: Session, folders: Folders, interrupted: _Interrupt) -> None:
    if not interrupted.seen:
        urls = ", ".join(pool.url for pool in session.pools)
        err.print(f'Serving at {urls}. In another terminal: fastserve predict "…". Ctrl-C ends everything.')
    while not interrupted.seen:
        if read_session(folders.session_file) is None:
            err.print("It was ended from outside.")
            return
        time.sleep(LOOK_SECONDS)


def _end(session: Session) -> None:
    err.print("Draining and ending everything …")
    stop(session)
    err.print("Ended.")


def _say(update: Callable[[str], None], step: str) -> None:
    update(step)
    if not err.is_terminal:
        err.print(step, highlight=False)
