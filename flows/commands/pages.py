"""The pages of a single host."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from flows.commands.output import CONF, conf_choices, console, errors
from flows.prefect_server import COMMAND
from tasks.host.workspace import MLFLOW_PORT, PREFECT_PORT, Workspace

app = typer.Typer()


@app.command()
def ui(
    prefect_port: Annotated[
        int, typer.Option(help="Port of the Prefect pages.", min=1, max=65535)
    ] = PREFECT_PORT,
    mlflow_port: Annotated[
        int, typer.Option(help="Port of the MLflow pages.", min=1, max=65535)
    ] = MLFLOW_PORT,
    runs_at_once: Annotated[
        int, typer.Option(help="Runs started in the pages at once; 0: pages only.", min=0)
    ] = 2,
) -> None:
    """Start the Prefect and MLflow pages on loopback, and a worker; Ctrl-C ends them."""
    workspace = Workspace.from_environment()
    workspace.prepare_environment()
    from tasks.host.servers import pages

    stop_at_signals()
    errors.print("starting, this takes about half a minute ...")
    with ExitStack() as running:
        urls = running.enter_context(pages(workspace, prefect_port, mlflow_port, COMMAND))
        works: Callable[[], None] = _nothing_to_check
        if runs_at_once and not CONF.is_dir():
            errors.print(f"there is no folder {CONF} here: the pages can start no runs")
        elif runs_at_once:
            # Prefect and MLflow read these when they are imported, and the worker's runs have them.
            os.environ["PREFECT_API_URL"] = f"{urls['prefect']}/api"
            os.environ["MLFLOW_TRACKING_URI"] = urls["mlflow"]
            from flows.deploy import POOL, Settings, deploy
            from flows.stopped import mark_stopped
            from tasks.host.worker import worker

            deploy(Settings(Path().resolve()), conf_choices())
            api = os.environ["PREFECT_API_URL"]
            works = running.enter_context(
                worker(workspace, api, POOL, runs_at_once, mark_stopped)
            ).check
        for name, url in urls.items():
            console.print(f"{name:8} {url}")
        console.print("In MLflow, Model training (top left) shows the runs of an experiment.")
        console.print("Ctrl-C stops them.")
        until_stopped(works)


def stop_at_signals() -> None:
    """Leave the process in order at Ctrl-C, or at the SIGTERM that ends a container.

    What comes after the first one is not heard: it would leave half of the servers behind.
    """

    def leave(*_: object) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        errors.print("stopping ...")
        sys.exit(0)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, leave)


def until_stopped(check: Callable[[], None]) -> None:
    """Wait for a signal; ``check`` is called every second and raises if there is no use waiting."""
    while True:
        check()
        time.sleep(1)


def _nothing_to_check() -> None:
    """Pages by themselves."""
