"""Options that several commands have."""

from pathlib import Path
from typing import Annotated

import typer

State = Annotated[
    Path | None,
    typer.Option(
        "--state",
        help="Folder of this run: what runs, logs. Default: the platform's own. Also FASTSERVE_STATE.",
    ),
]
Pool = Annotated[str | None, typer.Option("--pool", help="Which pool, where several run.")]
Json = Annotated[bool, typer.Option("--json", help="Print the JSON document instead of a table.")]
