"""From one model's labels to another's accuracy, on files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.commands.output import Out, names, show_note, show_table, show_written
from tasks.host.workspace import Workspace

app = typer.Typer()


@app.command()
def transfer(
    out: Out,
    model: Annotated[
        list[str], typer.Option(help="Name of a model; once for each, in the order of its files.")
    ],
    profiles: Annotated[list[Path], typer.Option(help="Profiles of that model.")],
    labels: Annotated[list[Path], typer.Option(help="Labels or verdicts of that model.")],
    estimators: Annotated[
        str, typer.Option(help="Estimator or group names, comma-separated.")
    ] = "ensemble,forest-isotonic,logistic-isotonic,atc-max,constant",
    benchmarks: Annotated[
        str, typer.Option(help="Only these benchmarks, comma-separated; patterns as rg_* work.")
    ] = "*",
    exclude: Annotated[str, typer.Option(help="None of these benchmarks; patterns work.")] = "",
    path: Annotated[str, typer.Option(help="fast, exact, or reference (scikit-learn).")] = "fast",
    seed: Annotated[int, typer.Option(help="Of the training shares, folds and fits.")] = 42,
) -> None:
    """Train on the labels of each model and estimate the accuracy of every other one."""
    Workspace.from_environment().prepare_environment()
    from flows.stages import transfer_files

    shown, notes, rows = transfer_files(
        models=tuple(model),
        profiles=tuple(profiles),
        labels=tuple(labels),
        out=out,
        estimators=names(estimators),
        keep=names(benchmarks),
        drop=names(exclude),
        path=path,
        seed=seed,
    )
    for note in notes:
        show_note(note)
    show_table("Trained on one model, scored on another", shown)
    show_written(out, rows)
