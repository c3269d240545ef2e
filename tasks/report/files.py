"""The inputs of a report from files: splits, and what else there is of the same run."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from tasks.answers.rows import Rows
from tasks.errors import SentinelError
from tasks.report.inputs import Inputs, shown_estimator
from tasks.report.work import counts_by_benchmark
from tasks.signals.features import Joined, join, label_column
from tasks.signals.profile import check_profiles
from tasks.sweeps.transfer import SHOWN as TRANSFER
from tasks.sweeps.transfer import by_pair
from tasks.tables import check_unique, read_rows


def from_files(
    splits: Sequence[Path],
    profiles: Sequence[Path] = (),
    labels: Sequence[Path] = (),
    estimator: str | None = None,
    seed: int = 42,
) -> Inputs:
    """Inputs of a report on files.

    Parameters
    ----------
    splits : sequence of path
        As ``sentinel sweep`` writes them; several are put together.
    profiles, labels : sequence of path
        None, or one of each for every file of splits, in the same order; such a file of splits
        must be of one model.
    estimator : str, optional
        The one the report is about.
    seed : int
        Of the sweep.

    Raises
    ------
    SentinelError
        If a file cannot be read, a row stands in two files, or files do not go together.
    """
    tables = [read_rows(path) for path in splits]
    parts = [Rows.from_table(t, str(path)) for t, path in zip(tables, splits, strict=True)]
    if len(profiles) != len(labels) or len(profiles) not in (0, len(splits)):
        raise SentinelError(
            f"{len(splits)} files of splits, {len(profiles)} of profiles, {len(labels)} of labels",
            "give one of each for every file of splits, in the same order, or splits alone",
        )
    whole = pa.concat_tables(tables, promote_options="permissive")
    rows = Rows.from_table(whole, ", ".join(map(str, splits)))
    _check_once(rows, splits)
    joined, work = {}, []
    for path, part, profile, label in zip(splits, parts, profiles, labels, strict=False):
        if len(part.models) > 1:
            raise SentinelError(
                f"{path}: splits of {len(part.models)} models, and profiles name no model",
                "sweep and give each model's files by themselves, or splits alone",
            )
        model = part.models[0]
        joined[model], counted = _joined(model, part.benchmarks, profile, label)
        work.append(counted)
    return Inputs(
        name=Path(splits[0]).stem if len(splits) == 1 else f"{len(splits)} sweeps",
        splits=whole,
        estimator=shown_estimator(rows, estimator, ", ".join(map(str, splits))),
        tables={model: one.table for model, one in joined.items()},
        seed=seed,
        work=pd.concat(work, ignore_index=True) if work else None,
        notes={model: one.notes for model, one in joined.items() if one.notes},
    )


def _joined(
    model: str, benchmarks: Sequence[str], profiles: Path, labels: Path
) -> tuple[Joined, pd.DataFrame]:
    """Feature table over the benchmarks of the splits, and counts of the labels' responses."""
    names = pa.array(benchmarks, pa.string())
    profiled = check_profiles(read_rows(profiles), str(profiles))
    labelled = read_rows(labels)
    column = label_column(labelled, str(labels))
    check_unique(column, str(labels))
    kept = profiled.filter(pc.is_in(profiled["benchmark"], value_set=names))
    return join(model, kept, column), counts_by_benchmark(model, labelled, list(benchmarks))


def _check_once(rows: Rows, splits: Sequence[Path]) -> None:
    key = ["model", "estimator", "composition"]
    twice = rows.frame[rows.frame.duplicated(key)]
    if len(twice):
        model, estimator, composition = twice.iloc[0][key]
        raise SentinelError(
            f"{', '.join(map(str, splits))}: {len(twice)} rows stand twice, the first is "
            f"{estimator} of {model} trained on {composition}",
            "give each sweep once; name models by `sentinel sweep --model`",
        )


@dataclass(frozen=True)
class Beside:
    """Files of tables that a report shows besides the sweep's own.

    Parameters
    ----------
    transfer : path, optional
        Rows of ``sentinel transfer``.
    sensitivity : path, optional
        ``overview.csv`` of a sensitivity experiment.
    agreement : sequence of path
        Tables of agreement by benchmark; each goes by its file's name.
    """

    transfer: Path | None = None
    sensitivity: Path | None = None
    agreement: Sequence[Path] = ()

    def added_to(self, inputs: Inputs) -> Inputs:
        """The inputs with these tables; where none is given, what is stored stays.

        Raises
        ------
        SentinelError
            If a file cannot be read or is another table.
        """
        tables = {path.stem: read_agreement(path) for path in self.agreement}
        added: dict[str, Any] = {"agreement": {**inputs.agreement, **tables}}
        if self.transfer is not None:
            added["transfer"] = read_transfer(self.transfer)
        if self.sensitivity is not None:
            added["sensitivity"] = read_sensitivity(self.sensitivity)
        return dataclasses.replace(inputs, **added)


def read_transfer(path: Path) -> pd.DataFrame:
    """Rows of ``sentinel transfer``, as :func:`tasks.sweeps.transfer.by_pair` shows them.

    Raises
    ------
    SentinelError
        If the file cannot be read or lacks a column.
    """
    table = read_rows(path)
    missing = [name for name in TRANSFER if name not in table.column_names]
    if missing:
        raise SentinelError(
            f"{path}: column `{missing[0]}` is missing (found: {', '.join(table.column_names)})",
            "give rows as `sentinel transfer` writes them",
        )
    return by_pair(table)


def read_sensitivity(path: Path) -> pd.DataFrame:
    """Table ``overview.csv`` of a sensitivity experiment.

    Raises
    ------
    SentinelError
        If the file cannot be read or is another table.
    """
    try:
        frame = pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise SentinelError(f"{path} cannot be read: {error}", "give overview.csv") from None
    if "variant" not in frame:
        raise SentinelError(
            f"{path}: column `variant` is missing (found: {', '.join(map(str, frame))})",
            "give overview.csv of the results folder of a sensitivity experiment",
        )
    return frame


def read_agreement(path: Path) -> pd.DataFrame:
    """Table of agreement by benchmark, of two judges or of an audit.

    Raises
    ------
    SentinelError
        If the file cannot be read, or has a row a response and not one a benchmark.
    """
    table = read_rows(path)
    wrong = "item_id" in table.column_names
    if wrong or not {"benchmark", "agreement"} <= set(table.column_names):
        raise SentinelError(
            f"{path} is no table of agreement by benchmark (found: "
            f"{', '.join(table.column_names)})",
            "give agreement.parquet of a results folder, or what `sentinel audit report -o` writes",
        )
    return pd.DataFrame(table.to_pandas())
