"""The command line: a thin door into the flows and the file stages.

Heavy packages are imported inside the commands, so ``--help`` and a mistyped option answer at once.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich import box
from rich.console import Console
from rich.markdown import Markdown
from rich.table import Table

from tasks.errors import SentinelError
from tasks.workspace import MLFLOW_PORT, PREFECT_PORT, Workspace

if TYPE_CHECKING:
    import pandas as pd

app = typer.Typer(
    name="sentinel",
    help="Tells where a language model is failing, from its decoding entropy, without labels.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
# A file or pipe has no width of its own; rich's 80 columns would break the tables.
_out = Console(width=None if sys.stdout.isatty() else 120)
_err = Console(stderr=True)

ExperimentFile = Annotated[
    Path, typer.Argument(help="An experiment, as conf/experiments/demo.yaml.")
]
Out = Annotated[Path, typer.Option("--out", "-o", help="File to write (Parquet).")]


@app.command()
def run(experiment: ExperimentFile) -> None:
    """Run an experiment to its end; what is stored already is reused."""
    from tasks.conf import load_experiment

    load_experiment(experiment)  # A mistake in conf is told before any server starts.
    Workspace.from_environment().prepare_environment()
    from flows.experiment import experiment as flow

    results = flow(str(experiment))
    _table("Estimated and true accuracy", results.estimates, results.caption)
    _table("Sweep: medians over compositions", results.medians)
    for model, notes in results.notes.items():
        for note in notes:
            _note(f"{model}: {note}")


@app.command()
def validate(experiment: ExperimentFile) -> None:
    """Check an experiment in seconds: names, fields, sizes, and what it would count up to."""
    from tasks.conf import load_experiment
    from tasks.plan import plan

    _out.print(Markdown(plan(load_experiment(experiment))))


@app.command()
def generate(
    experiment: ExperimentFile,
    out: Out,
    items: Annotated[
        Path | None, typer.Option(help="Also write the items, for `sentinel judge`.")
    ] = None,
) -> None:
    """Generate an experiment's missing responses and write all of them, with traces, to a file."""
    Workspace.from_environment().prepare_environment()
    from flows.stages import generate_file, items_file

    _wrote(out, generate_file(experiment, out))
    if items is not None:
        _wrote(items, items_file(experiment, items))


@app.command()
def judge(
    responses: Annotated[Path, typer.Option(help="Responses: benchmark, item_id, text, finish.")],
    items: Annotated[Path, typer.Option(help="Items: benchmark, item_id, question, answer, ...")],
    out: Out,
    tolerance: Annotated[
        float | None, typer.Option(help="Relative tolerance for numeric answers, as 0.05.")
    ] = None,
    deadline: Annotated[float, typer.Option(help="Seconds for one symbolic comparison.")] = 5.0,
) -> None:
    """Score responses against reference answers by rules."""
    from flows.stages import judge_file

    _wrote(out, judge_file(responses, items, out, tolerance, deadline))


@app.command()
def profile(
    traces: Annotated[Path, typer.Option(help="Traces, Parquet or JSONL; see docs/files.md.")],
    out: Out,
    top_k: Annotated[
        int, typer.Option(help="Log-probabilities a token that are expected.", min=1)
    ] = 20,
) -> None:
    """Compute the eleven statistics of every trace."""
    from flows.stages import profile_traces

    _wrote(out, profile_traces(traces, out, top_k))


@app.command()
def sweep(
    profiles: Annotated[Path, typer.Option(help="Profiles, as `sentinel profile` writes them.")],
    labels: Annotated[Path, typer.Option(help="Labels (`correct`) or verdicts (`status`).")],
    out: Out,
    sizes: Annotated[str, typer.Option(help="Numbers of training benchmarks.")] = "1,2,3,4",
    estimators: Annotated[
        str, typer.Option(help="Estimator names, comma-separated.")
    ] = "ensemble,forest-isotonic,logistic-isotonic,mlp-isotonic,atc-max,constant",
    benchmarks: Annotated[
        str, typer.Option(help="Only these benchmarks, comma-separated; patterns as rg_* work.")
    ] = "*",
    exclude: Annotated[str, typer.Option(help="None of these benchmarks; patterns work.")] = "",
    model: Annotated[str, typer.Option(help="Name of the model in the rows.")] = "model",
    path: Annotated[str, typer.Option(help="fast, exact, or reference (scikit-learn).")] = "fast",
    seed: Annotated[int, typer.Option(help="Of the training shares, folds and fits.")] = 42,
) -> None:
    """Train estimators on every composition of the benchmarks and score the unseen ones."""
    Workspace.from_environment().prepare_environment()
    from flows.stages import sweep_files

    summary, notes, rows = sweep_files(
        profiles=profiles,
        labels=labels,
        out=out,
        sizes=_numbers(sizes),
        estimators=_names(estimators),
        keep=_names(benchmarks),
        drop=_names(exclude),
        model=model,
        path=path,
        seed=seed,
    )
    for note in notes:
        _note(note)
    _table("Medians over compositions", summary)
    _wrote(out, rows)


@app.command()
def ui(
    prefect_port: Annotated[int, typer.Option(help="Port of the Prefect pages.")] = PREFECT_PORT,
    mlflow_port: Annotated[int, typer.Option(help="Port of the MLflow pages.")] = MLFLOW_PORT,
) -> None:
    """Start the Prefect and MLflow pages on loopback, print their addresses; Ctrl-C ends them."""
    import signal

    workspace = Workspace.from_environment()
    workspace.prepare_environment()
    from tasks.servers import pages

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    _err.print("starting, this takes about half a minute ...")
    with pages(workspace, prefect_port, mlflow_port) as urls:
        for name, url in urls.items():
            _out.print(f"{name:8} {url}")
        _out.print("Ctrl-C stops both.")
        try:
            signal.pause()
        except KeyboardInterrupt:
            _err.print("stopping")


def _table(title: str, frame: pd.DataFrame, caption: str | None = None) -> None:
    """Print a data frame; a column that holds one name throughout is left out."""
    table = Table(title=title, caption=caption, box=box.SIMPLE_HEAD, title_justify="left")
    text = [c for c in frame.columns if frame[c].dtype.kind not in "if"]
    same = [c for c in text if frame[c].nunique() == 1]
    frame = frame.drop(columns=same if len(frame) > 1 else [])
    for name in frame.columns:
        table.add_column(name, justify="left" if name in text else "right", overflow="fold")
    for row in frame.itertuples(index=False):
        table.add_row(
            *("-" if v != v else f"{v:.3f}" if isinstance(v, float) else str(v) for v in row)
        )
    _out.print(table)


def _note(text: str) -> None:
    _err.print(f"note: {text}", markup=False, highlight=False, soft_wrap=True)


def _wrote(path: Path, rows: int) -> None:
    _out.print(f"{rows} rows written to {path}", markup=False, highlight=False, soft_wrap=True)


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in _names(text))
    except ValueError:
        raise SentinelError(f"--sizes {text!r} are not numbers", "write them as 1,2,3") from None


def main() -> NoReturn:
    """Entry point: an error a person can mend is told in two lines, anything else in full."""
    try:
        app()
    except SentinelError as error:
        # Unwrapped, so that paths can be copied and searched for.
        _err.print(
            f"error: {error}", style="bold red", markup=False, highlight=False, soft_wrap=True
        )
        sys.exit(error.exit_code)
    sys.exit(0)
