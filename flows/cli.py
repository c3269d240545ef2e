"""The command line: a thin door into the flows and the file stages.

Heavy packages are imported inside the commands, so ``--help`` and a mistyped option answer at once.
"""

from __future__ import annotations

import gc
import sys
from typing import NoReturn

import typer

from flows.commands import (
    audit,
    deploy,
    estimates,
    experiments,
    models,
    pages,
    reports,
    sensitivity,
    stages,
    transfer,
)
from flows.commands.output import errors
from tasks.errors import SentinelError

app = typer.Typer(
    name="sentinel",
    help="Tells where a language model is failing, from its decoding entropy, without labels.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for commands in (
    experiments,
    stages,
    estimates,
    audit,
    reports,
    pages,
    deploy,
    models,
    transfer,
    sensitivity,
):
    app.add_typer(commands.app)


def main() -> NoReturn:
    """Entry point: an error a person can mend is told in two lines, anything else in full."""
    # Importing the flows makes objects by the hundred thousand, all of which stay: to search them
    # for circles as often as Python does by default takes a fifth of that time.
    gc.set_threshold(20_000, 20, 20)
    try:
        app()
    except SentinelError as error:
        # Unwrapped, so that paths can be copied and searched for.
        errors.print(
            f"error: {error}", style="bold red", markup=False, highlight=False, soft_wrap=True
        )
        sys.exit(error.exit_code)
    finally:
        # Nor are they searched a last time before the process ends and gives all memory back.
        gc.freeze()
    sys.exit(0)
