"""Whole experiments: run them, check them."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.commands.output import ExperimentFile, console, show_note, show_table
from flows.prefect_server import COMMAND
from tasks.host.workspace import Workspace

app = typer.Typer()


@app.command()
def run(experiment: ExperimentFile) -> None:
    """Run an experiment to its end; what is stored already is reused."""
    from tasks.conf import load_experiment

    load_experiment(experiment)  # A mistake in conf is told before any server starts.
    workspace = Workspace.from_environment()
    workspace.prepare_environment()
    from tasks.host.servers import start_prefect_api

    server_ready = start_prefect_api(workspace, COMMAND)
    from flows.experiment import experiment as flow

    server_ready()
    results = flow(str(experiment))
    show_table("Estimated and true accuracy", results.estimates, results.caption)
    show_table("Sweep: medians over compositions", results.medians)
    for model, notes in results.notes.items():
        for note in notes:
            show_note(f"{model}: {note}")


@app.command()
def validate(
    experiment: ExperimentFile,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    strict: Annotated[
        bool, typer.Option(help="Exit with status 2 for warnings too, as for problems.")
    ] = False,
    gpu_memory_gb: Annotated[
        float | None, typer.Option(min=1, help="Memory of each GPU, instead of what conf says.")
    ] = None,
) -> None:
    """Check an experiment in seconds, without network or GPU: fields, memory, keys, sizes, costs.

    Problems prevent a run and end with status 2. Warnings are what this machine lacks (keys,
    accounts) or what is worth knowing.
    """
    from rich.markdown import Markdown

    from tasks.conf import load_experiment
    from tasks.validation import validate as check

    report = check(load_experiment(experiment), gpu_memory_gb)
    if as_json:
        typer.echo(report.json())
    else:
        console.print(Markdown(report.markdown()))
    if report.problems or (strict and report.warnings):
        raise typer.Exit(2)
