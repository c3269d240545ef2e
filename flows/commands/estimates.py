"""Estimates of one's own traffic by an estimator that is trained already."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from flows.commands.output import show_note, show_table, show_written
from tasks.host.workspace import Workspace

app = typer.Typer()


@app.command()
def estimate(
    estimator: Annotated[
        str,
        typer.Option(
            help="models:/NAME@champion (another alias, or models:/NAME/VERSION), or a folder."
        ),
    ],
    profiles: Annotated[
        Path | None, typer.Option(help="Profiles, as `sentinel profile` writes them.")
    ] = None,
    traces: Annotated[
        Path | None, typer.Option(help="Instead: traces, Parquet or JSONL; see docs/files.md.")
    ] = None,
    level: Annotated[float, typer.Option(help="Of the intervals.")] = 0.9,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", dir_okay=False, help="Also write the rows here (Parquet)."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Estimate the accuracy of every slice of unlabelled responses, with an interval.

    A slice is what has one name in the column `benchmark`. The estimator is one that `sentinel run`
    registered in MLflow, for responses of the same model.
    """
    Workspace.from_environment().prepare_environment()
    from flows.estimating import estimate as run

    found = run(estimator, profiles, traces, level, out)
    if as_json:
        typer.echo(json.dumps(found.document()))
    else:
        caption = f"{found.level:.0%} intervals; trained on labelled responses of {found.model}"
        show_table("Estimated accuracy", found.slices, caption)
        if found.without_tokens:
            show_note(f"{found.without_tokens} responses without tokens do not count")
        if out is not None:
            show_written(out, len(found.slices))
