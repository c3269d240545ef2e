"""What a report is made from, wherever it came from: a store, a running flow, or files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pandas as pd
import pyarrow as pa

from estimators.config import DEFAULT
from estimators.table import FeatureTable
from tasks.answers.rows import Rows
from tasks.errors import SentinelError


@dataclass(frozen=True, eq=False)
class Inputs:
    """Everything a report may show; what is empty or ``None`` has no section.

    Parameters
    ----------
    name : str
        Of the experiment, or of the file of splits.
    splits : Table
        Sweep rows of all models.
    estimator : str
        Whose estimates are shown benchmark by benchmark.
    tables : mapping of model to FeatureTable
        The scored responses behind the splits: statistics and labels.
    seed : int
        Of the sweep, which fixes the training shares.
    facts : tuple of (name, value)
        What was run, in words.
    work : DataFrame
        A row a model and benchmark: ``responses`` and what is known of ``cut_off, failed,
        no_answer, unscorable, tokens_in, tokens_out, seconds, cost``.
    keys : DataFrame, optional
        Keys of the stored artefacts, a row a model and benchmark.
    agreement : mapping of title to DataFrame
        Of two judges, or of a judge and a person, on the same responses; a row a benchmark.
    transfer : DataFrame, optional
        As :func:`tasks.sweeps.transfer.by_pair`: trained on one model, tested on another.
    sensitivity : DataFrame, optional
        How statistics and estimates move with decoding settings.
    notes : mapping of model to sentences
        What was left out, and why.
    missing : tuple of str
        Models that were asked for and are not in the splits; ``notes`` say why.
    """

    name: str
    splits: pa.Table
    estimator: str
    tables: Mapping[str, FeatureTable] = field(default_factory=dict)
    seed: int = 42
    facts: tuple[tuple[str, str], ...] = ()
    work: pd.DataFrame | None = None
    keys: pd.DataFrame | None = None
    agreement: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    transfer: pd.DataFrame | None = None
    sensitivity: pd.DataFrame | None = None
    notes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    missing: tuple[str, ...] = ()


def shown_estimator(rows: Rows, asked: str | None = None, source: str = "splits") -> str:
    """The estimator a report is about: the one asked for, else the default, else the first.

    Raises
    ------
    SentinelError
        If the one asked for was not swept.
    """
    if asked is not None and asked not in rows.estimators:
        raise SentinelError(
            f"{source}: no rows of estimator {asked!r}", f"it holds {', '.join(rows.estimators)}"
        )
    return asked or (DEFAULT.name if DEFAULT.name in rows.estimators else rows.estimators[0])
