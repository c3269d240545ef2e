"""The report on a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.commands.output import console, show_note

app = typer.Typer()


@app.command()
def report(
    experiment: Annotated[
        Path | None, typer.Argument(help="An experiment, as conf/experiments/demo.yaml.")
    ] = None,
    splits: Annotated[
        list[Path] | None, typer.Option(help="Instead: splits of `sentinel sweep`; repeatable.")
    ] = None,
    profiles: Annotated[
        list[Path] | None, typer.Option(help="Profiles behind the splits, one a file of splits.")
    ] = None,
    labels: Annotated[
        list[Path] | None, typer.Option(help="Labels or verdicts, one a file of splits.")
    ] = None,
    transfer: Annotated[
        Path | None, typer.Option(help="Rows of `sentinel transfer`, to be shown as well.")
    ] = None,
    sensitivity: Annotated[
        Path | None, typer.Option(help="overview.csv of a sensitivity experiment.")
    ] = None,
    agreement: Annotated[
        list[Path] | None, typer.Option(help="Tables of agreement or of an audit; repeatable.")
    ] = None,
    estimator: Annotated[
        str | None, typer.Option(help="Whose estimates are shown; by default the platform's.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the sweep; with --profiles.")] = 42,
    out: Annotated[
        Path, typer.Option("--out", "-o", dir_okay=False, help="File to write (HTML).")
    ] = Path("report.html"),
) -> None:
    """Write one HTML page of what an experiment says, from what is stored or from files."""
    from flows.report import report_experiment, report_files
    from tasks.errors import SentinelError
    from tasks.report.files import Beside

    beside = Beside(transfer, sensitivity, tuple(agreement or ()))

    if experiment is not None and not (splits or profiles or labels):
        notes = report_experiment(experiment, out, estimator, beside)
    elif splits and experiment is None:
        notes = report_files(splits, profiles or [], labels or [], out, estimator, seed, beside)
    else:
        raise SentinelError(
            "a report is on an experiment or on files of splits",
            "give either EXPERIMENT or --splits",
        )
    for note in notes:
        show_note(note)
    console.print(f"report written to {out}", markup=False, highlight=False, soft_wrap=True)
