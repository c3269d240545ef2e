"""The stages by themselves, files in and files out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.commands.output import (
    ExperimentFile,
    Out,
    names,
    numbers,
    progress_bar,
    show_note,
    show_table,
    show_written,
)
from tasks.host.workspace import Workspace

app = typer.Typer()


@app.command()
def generate(
    experiment: ExperimentFile,
    out: Out,
    items: Annotated[
        Path | None,
        typer.Option(dir_okay=False, help="Also write the items, for `sentinel judge`."),
    ] = None,
) -> None:
    """Generate an experiment's missing responses and write all of them, with traces, to a file."""
    Workspace.from_environment().prepare_environment()
    from flows.stages import generate_file, items_file

    show_written(out, generate_file(experiment, out))
    if items is not None:
        show_written(items, items_file(experiment, items))


@app.command()
def judge(
    responses: Annotated[Path, typer.Option(help="Responses: benchmark, item_id, text, finish.")],
    items: Annotated[Path, typer.Option(help="Items: benchmark, item_id, question, answer, ...")],
    out: Out,
    tolerance: Annotated[
        float | None, typer.Option(help="Relative tolerance for numeric answers, as 0.05.")
    ] = None,
    deadline: Annotated[
        float | None, typer.Option(help="Seconds for one symbolic comparison; 5 by default.")
    ] = None,
    judge: Annotated[
        str, typer.Option(help="Name of a file in conf/judges, or a file; see docs/judging.md.")
    ] = "rules",
) -> None:
    """Score responses against reference answers: by rules, a model, or a chain of both."""
    from flows.judging import judge_file

    with progress_bar("judged by the model") as report:
        done = judge_file(responses, items, out, judge, tolerance, deadline, report)
    if done.spending.asked:
        show_note(str(done.spending))
    if done.agreement is not None:
        show_table("Agreement of rules (first) and model (second)", done.agreement.table())
    show_written(out, done.rows)


@app.command()
def profile(
    traces: Annotated[Path, typer.Option(help="Traces, Parquet or JSONL; see docs/files.md.")],
    out: Out,
    top_k: Annotated[
        int, typer.Option(help="Candidates a token that entropies are taken over.", min=1)
    ] = 20,
    vocabulary: Annotated[
        int | None,
        typer.Option(help="Tokens the model knows: adds bounds of the full-vocabulary entropy."),
    ] = None,
) -> None:
    """Compute the statistics of every trace: entropies and, where they are there, likelihoods."""
    from flows.stages import profile_traces

    show_written(out, profile_traces(traces, out, top_k, vocabulary))


@app.command()
def sweep(
    profiles: Annotated[Path, typer.Option(help="Profiles, as `sentinel profile` writes them.")],
    labels: Annotated[Path, typer.Option(help="Labels (`correct`) or verdicts (`status`).")],
    out: Out,
    sizes: Annotated[str, typer.Option(help="Numbers of training benchmarks.")] = "1,2,3,4",
    estimators: Annotated[
        str, typer.Option(help="Names of estimators or groups (v1-grid, ...), comma-separated.")
    ] = "ensemble,forest-isotonic,logistic-isotonic,mlp-isotonic,atc-max,constant",
    benchmarks: Annotated[
        str, typer.Option(help="Only these benchmarks, comma-separated; patterns as rg_* work.")
    ] = "*",
    exclude: Annotated[str, typer.Option(help="None of these benchmarks; patterns work.")] = "",
    model: Annotated[str, typer.Option(help="Name of the model in the rows.")] = "model",
    path: Annotated[str, typer.Option(help="fast, exact, or reference (scikit-learn).")] = "fast",
    seed: Annotated[int, typer.Option(help="Of the training shares, folds and fits.")] = 42,
    table: Annotated[
        Path | None,
        typer.Option(dir_okay=False, help="Also write all medians by k to this file, as Markdown."),
    ] = None,
) -> None:
    """Train estimators on every composition of the benchmarks and score the unseen ones."""
    Workspace.from_environment().prepare_environment()
    from flows.stages import sweep_files

    summary, notes, rows = sweep_files(
        profiles=profiles,
        labels=labels,
        out=out,
        sizes=numbers(sizes),
        estimators=names(estimators),
        keep=names(benchmarks),
        drop=names(exclude),
        model=model,
        path=path,
        seed=seed,
        table=table,
    )
    for note in notes:
        show_note(note)
    show_table("Medians over compositions", summary)
    show_written(out, rows)
