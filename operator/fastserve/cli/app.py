"""The commands. Each reads its options, asks a room, and prints."""

from pathlib import Path
from typing import Annotated, Any

import typer

from fastserve import __version__
from fastserve.api.crds import crd_manifest
from fastserve.cli import door, tables
from fastserve.cli.explain import explain
from fastserve.cli.logs import show_logs
from fastserve.cli.options import Json, Pool, State
from fastserve.cli.running import the_pool, the_session, up_and_watch
from fastserve.cli.surroundings import Surroundings
from fastserve.cli.terminal import err, errors_as_text, out, show
from fastserve.cli.training import train
from fastserve.local import applying
from fastserve.local.applying import ApplyOptions
from fastserve.local.overview import look
from fastserve.local.preparing import read
from fastserve.local.starting import StartOptions, stop

application = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_show_locals=False,
    help="Many specialised models, one endpoint: chosen by meaning, combined by weight, served by Triton.",
    epilog='Start with `fastserve up -f examples/01-news/pool.yaml`, then `fastserve predict "…"`.',
)

Files = Annotated[
    list[Path],
    typer.Option(
        "--file",
        "-f",
        help="A YAML file with ModelPools and SubModels, or a folder of them. May be repeated.",
    ),
]
Secrets = Annotated[
    Path | None,
    typer.Option(
        "--secrets",
        help="Folder with a folder for each Secret that spec.router names; its files are the entries.",
        exists=True,
        file_okay=False,
    ),
]


@application.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    if version:
        out.print(__version__)
        raise typer.Exit
    if context.invoked_subcommand is None:
        out.print(context.get_help())


@application.command()
def up(
    context: typer.Context,
    file: Files,
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Return when the pool answers; it runs on.")
    ] = False,
    port: Annotated[
        int,
        typer.Option(
            help="Port of the first pool's door; the next pool takes the next. 0: any.", min=0, max=65535
        ),
    ] = 8080,
    triton: Annotated[
        Path | None, typer.Option(help="Folder of your own Triton (with bin/ and backends/python/).")
    ] = None,
    secrets: Secrets = None,
    state: State = None,
) -> None:
    """Run pools on this machine: real Tritons, real routers, the same YAML as on a cluster.

    The first time it installs Triton and the engine's packages. Ctrl-C drains and ends everything.
    """
    surroundings: Surroundings = context.obj
    options = StartOptions(
        files=tuple(file),
        folders=surroundings.folders(state),
        port=port,
        triton=triton,
        torch_backend=surroundings.torch_backend,
        visible_devices=surroundings.visible_devices,
        detach=detach,
        secrets=secrets,
    )
    with errors_as_text():
        up_and_watch(options)


@application.command()
def apply(context: typer.Context, file: Files, secrets: Secrets = None, state: State = None) -> None:
    """Have what runs take over what the files say now: versions, examples, selection, limits.

    Returns at once; `fastserve status` shows how a version takes another one's place.
    """
    surroundings: Surroundings = context.obj
    with errors_as_text():
        folders = surroundings.folders(state)
        options = ApplyOptions(tuple(file), folders, surroundings.visible_devices, secrets)
        changes = applying.apply(options, the_session(folders))
        for sentence in changes or ["Nothing changed."]:
            out.print(sentence, highlight=False, markup=False)


@application.command()
def status(context: typer.Context, json: Json = False, state: State = None) -> None:
    """Show what runs: phase, version, ranks and devices, memory, queue time, requests."""
    with errors_as_text():
        overview = look(the_session(context.obj.folders(state)))
        show(overview.model_dump(by_alias=True, mode="json"), None if json else tables.status(overview))


@application.command()
def predict(
    context: typer.Context,
    text: Annotated[str, typer.Argument(help="The text to answer.")],
    pool: Pool = None,
    top_k: Annotated[int | None, typer.Option(help="At most so many sub-models.")] = None,
    sub_model: Annotated[str | None, typer.Option(help="Ask this one; selection is passed by.")] = None,
    json: Json = False,
    state: State = None,
) -> None:
    """Ask a running pool, and show who answered with which weight."""
    with errors_as_text():
        question = {"text": text, "topK": top_k, "subModel": sub_model}
        answered = door.post(_place(context, state, pool), "/v1/predict", _without_none(question))
        show(answered, None if json else tables.answer(answered))


@application.command()
def route(
    context: typer.Context,
    text: Annotated[str, typer.Argument(help="The text to route.")],
    pool: Pool = None,
    top_k: Annotated[int | None, typer.Option(help="At most so many sub-models.")] = None,
    json: Json = False,
    state: State = None,
) -> None:
    """Explain who would answer and why; runs no model."""
    with errors_as_text():
        question = _without_none({"text": text, "topK": top_k})
        explained = door.post(_place(context, state, pool), "/v1/route", question)
        show(explained, None if json else tables.decision(explained))


@application.command()
def logs(
    context: typer.Context,
    name: Annotated[
        str | None, typer.Argument(help="Part of a process's name, e.g. a sub-model. Default: all.")
    ] = None,
    lines: Annotated[int, typer.Option("--lines", "-n", help="Last lines of each log.", min=1)] = 20,
    follow: Annotated[bool, typer.Option("--follow", "-F", help="Go on printing what is added.")] = False,
    state: State = None,
) -> None:
    """Print the logs of Tritons, routers and the supervisor."""
    with errors_as_text():
        show_logs(context.obj.folders(state).logs, name, lines, follow=follow)


@application.command()
def down(context: typer.Context, state: State = None) -> None:
    """Drain and end everything that `fastserve up` started."""
    with errors_as_text():
        session = the_session(context.obj.folders(state))
        err.print("Draining …")
        stop(session)
        err.print(f"Ended: {', '.join(pool.name for pool in session.pools)}")


@application.command()
def validate(file: Files) -> None:
    """Check YAML files: fields, types, names, references. Starts nothing."""
    with errors_as_text():
        wanted = read(file)
        for pool in wanted.pools:
            names = ", ".join(sub_model.metadata.name for sub_model in wanted.members_of(pool))
            out.print(f"{pool.metadata.name}: valid; sub-models: {names}", highlight=False)


@application.command()
def crds() -> None:
    """Print the CustomResourceDefinitions, for `kubectl apply --server-side -f -`."""
    typer.echo(crd_manifest(), nl=False)


application.command()(train)
application.add_typer(explain, name="explain")


def _place(context: typer.Context, state: Path | None, pool: str | None) -> door.Place:
    chosen = the_pool(the_session(context.obj.folders(state)), pool)
    return door.Place(chosen.url, context.obj.api_key)


def _without_none(document: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in document.items() if value is not None}
