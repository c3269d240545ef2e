"""What moves when the model is asked, cut or read differently."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.commands.output import console, show_note, show_table
from flows.prefect_server import COMMAND
from tasks.host.workspace import Workspace

app = typer.Typer()

# What a terminal has room for; the file has the AUROCs too.
_SHOWN = ("variant", "tokens", "top_k", "full", "tail", "largest", "within", "width")


@app.command()
def sensitivity(
    path: Annotated[Path, typer.Argument(help="A file as conf/sensitivity/demo.yaml.")],
) -> None:
    """Run an experiment's variants: how statistics, AUROC and estimates move with its settings."""
    from tasks.conf import load_sensitivity

    name = load_sensitivity(path).name  # A mistake in conf is told before any server starts.
    workspace = Workspace.from_environment()
    workspace.prepare_environment()
    from tasks.host.servers import start_prefect_api

    server_ready = start_prefect_api(workspace, COMMAND)
    from flows.sensitivity import sensitivity as flow

    server_ready()
    results = flow(str(path))
    show_table("What moves", results.brief, results.caption)
    if len(results.full):
        show_table("Top-k entropy and the whole vocabulary's", results.full[list(_SHOWN)])
    for variant, notes in results.notes.items():
        for note in notes:
            show_note(f"{variant}: {note}")
    console.print(f"tables and figures: {workspace.store.local_path(f'results/{name}')}")
