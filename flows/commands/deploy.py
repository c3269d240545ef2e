"""Prefect deployments: what the pages can start."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.commands.output import ExperimentFile, conf_choices, console
from tasks.host.workspace import Workspace

app = typer.Typer()

POOL = "sentinel"


@app.command()
def deploy(
    pool: Annotated[str, typer.Option(help="Work pool; made if there is none.")] = POOL,
    folder: Annotated[
        Path | None,
        typer.Option(help="Working folder on the worker, which holds conf; default this one."),
    ] = None,
    schedule: Annotated[
        str | None,
        typer.Option(help="Cron line (UTC) of `catch-up`, as '0 3 * * *', or none; as it is."),
    ] = None,
    gpu_jobs: Annotated[
        int | None, typer.Option(help="GPU jobs at once over all runs; as it is, or 8.", min=1)
    ] = None,
    judge_jobs: Annotated[
        int | None, typer.Option(help="Jobs that ask a judge at once; as it is, or 4.", min=1)
    ] = None,
    serve: Annotated[
        bool, typer.Option("--serve", help="Then run a worker here, until Ctrl-C.")
    ] = False,
    runs_at_once: Annotated[int, typer.Option(help="Runs that the worker takes.", min=1)] = 2,
) -> None:
    """Register the flows with the Prefect server: forms, limits, and what an added model starts."""
    workspace = Workspace.from_environment()
    workspace.prepare_environment()
    from flows.deploy import Settings
    from flows.deploy import deploy as register
    from flows.events import server
    from flows.slots import GPU_JOBS, JUDGE_JOBS

    asked = {GPU_JOBS: gpu_jobs, JUDGE_JOBS: judge_jobs}
    if serve:
        from flows.commands.pages import stop_at_signals, until_stopped

        stop_at_signals()  # The first process of a container hears no signal without it.
    limits = {n: at_once for n, at_once in asked.items() if at_once is not None}
    names = register(Settings((folder or Path()).resolve(), pool, schedule, limits), conf_choices())
    console.print(f"registered in work pool {pool}: {', '.join(names)}")
    if serve:
        from flows.stopped import mark_stopped
        from tasks.host.worker import worker

        with worker(workspace, server(), pool, runs_at_once, mark_stopped) as serving:
            console.print("the worker takes runs; Ctrl-C stops it.")
            until_stopped(serving.check)


@app.command()
def plan(
    experiment: ExperimentFile,
    model: Annotated[
        list[str] | None, typer.Option(help="Only this model; can be repeated.")
    ] = None,
) -> None:
    """Say what a run would do and why, from the store alone."""
    from rich.markdown import Markdown

    from tasks.benchmarks.questions import load_questions
    from tasks.conf.choices import Changes, request
    from tasks.planning.plan import plan as planned

    asked = request(experiment, Changes(models=tuple(model or ())))
    store = Workspace.from_environment().store
    console.print(Markdown(planned(asked, load_questions(asked.experiment), store).markdown()))
