"""The report by itself: on an experiment's stored artefacts, or on files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tasks.benchmarks.questions import load_questions
from tasks.conf import load_experiment
from tasks.host.workspace import Workspace
from tasks.report.files import Beside, from_files
from tasks.report.inputs import Inputs
from tasks.report.page import report
from tasks.report.stored import read
from tasks.tables import write_text


def report_experiment(
    path: Path, out: Path, estimator: str | None = None, beside: Beside | None = None
) -> list[str]:
    """Write the report on an experiment; returns notes on models that are not in it."""
    settings = load_experiment(path)
    inputs = read(settings, load_questions(settings), Workspace.from_environment().store, estimator)
    write_text(out, report(_with(inputs, beside)))
    return [f"{m}: {n}" for m in inputs.missing for n in inputs.notes[m]]


def report_files(
    splits: Sequence[Path],
    profiles: Sequence[Path],
    labels: Sequence[Path],
    out: Path,
    estimator: str | None = None,
    seed: int = 42,
    beside: Beside | None = None,
) -> list[str]:
    """Write the report on files of splits; returns notes on what was left out."""
    inputs = from_files(splits, profiles, labels, estimator, seed)
    write_text(out, report(_with(inputs, beside)))
    return [f"{m}: {n}" for m, notes in inputs.notes.items() for n in notes]


def _with(inputs: Inputs, beside: Beside | None) -> Inputs:
    return inputs if beside is None else beside.added_to(inputs)
