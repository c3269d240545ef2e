"""How the commands speak: tables and lines for people, and lists read from options."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.console import Console
from rich.progress import Progress, TaskID
from rich.table import Table

from tasks.errors import SentinelError

if TYPE_CHECKING:
    import pandas as pd

    from tasks.conf.choices import Choices

CONF = Path("conf")

# A file or pipe has no width of its own; rich's 80 columns would break the tables.
console = Console(width=None if sys.stdout.isatty() else 120)
errors = Console(stderr=True)

ExperimentFile = Annotated[
    Path, typer.Argument(help="An experiment, as conf/experiments/demo.yaml.")
]
Out = Annotated[Path, typer.Option("--out", "-o", dir_okay=False, help="File to write (Parquet).")]


def show_table(title: str, frame: pd.DataFrame, caption: str | None = None) -> None:
    """Print a data frame; a column that holds one name throughout is left out."""
    drawn = Table(title=title, caption=caption, box=box.SIMPLE_HEAD, title_justify="left")
    text = [c for c in frame.columns if frame[c].dtype.kind not in "if"]
    same = [c for c in text if frame[c].nunique() == 1]
    frame = frame.drop(columns=same if len(frame) > 1 else [])
    for name in frame.columns:
        drawn.add_column(name, justify="left" if name in text else "right", overflow="fold")
    for row in frame.itertuples(index=False):
        drawn.add_row(
            *("-" if v != v else f"{v:.3f}" if isinstance(v, float) else str(v) for v in row)
        )
    console.print(drawn)


@contextlib.contextmanager
def progress_bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error that appears with the first (done, total); none in a pipe."""
    with Progress(console=errors, transient=True, disable=not errors.is_terminal) as drawn:
        bars: list[TaskID] = []

        def report(done: int, total: int) -> None:
            if not bars:
                bars.append(drawn.add_task(what, total=total))
            drawn.update(bars[0], completed=done)

        yield report


def show_note(text: str) -> None:
    """Print a remark beside the results, on standard error."""
    errors.print(f"note: {text}", markup=False, highlight=False, soft_wrap=True)


def conf_choices() -> Choices:
    """What the conf folder here offers; files that it cannot offer are told.

    Raises
    ------
    SentinelError
        If none of its experiments can be read.
    """
    from tasks.conf.choices import Choices

    found = Choices.of(CONF).readable()
    for told in found.left_out:
        show_note(f"left out of the forms: {told}")
    return found


def show_written(path: Path, rows: int) -> None:
    """Say what was written where."""
    console.print(f"{rows} rows written to {path}", markup=False, highlight=False, soft_wrap=True)


def names(text: str) -> tuple[str, ...]:
    """Names of a comma-separated option; empty parts are dropped."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def numbers(text: str) -> tuple[int, ...]:
    """Whole numbers of ``--sizes``; anything else is a :class:`SentinelError`."""
    try:
        return tuple(int(part) for part in names(text))
    except ValueError:
        raise SentinelError(f"--sizes {text!r} are not numbers", "write them as 1,2,3") from None
