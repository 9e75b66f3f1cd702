"""`fastserve explain`: why something is as it is."""

from pathlib import Path
from typing import Annotated

import typer

from fastserve.cli import door, tables
from fastserve.cli.options import Json, Pool, State
from fastserve.cli.running import the_pool, the_session
from fastserve.cli.scaled import explain_scaling, read_state
from fastserve.cli.surroundings import Surroundings
from fastserve.cli.terminal import errors_as_text, show
from fastserve.local.pool_files import shown_state_key

explain = typer.Typer(no_args_is_help=True, help="Say why something is as it is.")


@explain.callback()
def root() -> None:
    """Say why something is as it is."""


@explain.command()
def scaling(
    context: typer.Context,
    sub_model: Annotated[str, typer.Argument(help="The sub-model.")],
    pool: Pool = None,
    url: Annotated[
        str | None,
        typer.Option(
            help="Admin port of a router on a cluster: http://127.0.0.1:8081 after"
            " `kubectl port-forward POD 8081`. Its key, where the pool has any, is FASTSERVE_API_KEY."
        ),
    ] = None,
    json: Json = False,
    state: State = None,
) -> None:
    """Say why a sub-model has so many replicas: the last decision, with its numbers."""
    surroundings: Surroundings = context.obj
    with errors_as_text():
        place = (
            door.Place(url.rstrip("/"), surroundings.api_key)
            if url
            else _stand_by_router(surroundings, state, pool)
        )
        explained = explain_scaling(read_state(place), sub_model)
        show(explained.model_dump(mode="json"), None if json else tables.scaling(explained))


def _stand_by_router(surroundings: Surroundings, state: Path | None, pool: str | None) -> door.Place:
    """Who scales in local mode."""
    found = the_pool(the_session(surroundings.folders(state)), pool)
    return door.Place(f"http://{found.door.admin}", shown_state_key(found.folder).removeprefix("Bearer "))
