"""Sweep rows summed up for people: medians by k, named compositions, estimates beside the truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from estimators.compositions import named

#: Scores of a sweep row, and whether higher is better.
SCORES: Mapping[str, bool] = {"aee": False, "rho": True, "auroc": True, "ece": False}

#: Over which benchmarks a score is taken; the first is the one without a suffix in MLflow.
SCOPES = ("unseen", "all")

#: The columns of :func:`by_size` that people compare first.
SHOWN = (
    "model",
    "estimator",
    "k",
    "compositions",
    "aee_unseen",
    "rho_unseen",
    "auroc_unseen",
    "ece_unseen",
    "aee_all",
)


def by_size(splits: pa.Table) -> pd.DataFrame:
    """Median and quartiles of every score, a row a model, estimator and k.

    Columns: ``model, estimator, k, compositions, single_class`` and, for each score and scope,
    ``aee_unseen`` (median), ``aee_unseen_q25`` and ``aee_unseen_q75``. Compositions without a
    value (rho over one benchmark, AUROC of a constant) are left out; all missing gives NaN.
    """
    scores = [f"{s}_{scope}" for scope in SCOPES for s in SCORES]
    frame = splits.select(["model", "estimator", "k", "status", *scores]).to_pandas()
    rows = []
    for (model, estimator, k), part in frame.groupby(["model", "estimator", "k"], sort=False):
        row: dict[str, Any] = {"model": model, "estimator": estimator, "k": k}
        row["compositions"] = len(part)
        row["single_class"] = int((part["status"] == "single_class").sum())
        for score in scores:
            values = part[score].dropna()
            low, middle, high = np.percentile(values, [25, 50, 75]) if len(values) else [np.nan] * 3
            row[score], row[f"{score}_q25"], row[f"{score}_q75"] = middle, low, high
        rows.append(row)
    return pd.DataFrame(rows)


def named_compositions(splits: pa.Table) -> dict[str, tuple[str, ...]]:
    """The compositions with a name (extremes, intermediate) of one model's benchmarks.

    The order of the benchmarks is by true accuracy over all rows, taken from the splits in which
    each is unseen. Names whose composition was not swept are left out.
    """
    frame = splits.to_pandas()
    accuracy: dict[str, float] = {}
    for row in frame.itertuples():
        for name, truth in zip(row.benchmarks, row.truth, strict=True):
            if name not in row.composition:
                accuracy.setdefault(name, truth)
        if len(accuracy) == len(row.benchmarks):
            break
    swept = {tuple(c) for c in frame["composition"]}
    return {n: c for n, c in named(list(accuracy), accuracy).items() if c in swept}


def split_of(splits: pa.Table, estimator: str, composition: Sequence[str]) -> dict[str, Any]:
    """The one row of ``splits`` (of one model) with this estimator and composition."""
    for row in splits.filter(pc.equal(splits["estimator"], estimator)).to_pylist():
        if tuple(row["composition"]) == tuple(composition):
            return dict(row)
    raise KeyError(f"no split of {estimator} trained on {', '.join(composition)}")


def estimates(
    split: Mapping[str, Any], bounds: Mapping[str, tuple[float, float]] | None = None
) -> pd.DataFrame:
    """Estimated beside true accuracy of one split, a row a benchmark, hardest first.

    Columns: ``benchmark, role`` (training or unseen), ``truth, estimate``, the signed ``error``,
    ``low`` and ``high`` of the interval where ``bounds`` has one, and ``auroc``.
    """
    frame = pd.DataFrame(
        {
            "benchmark": split["benchmarks"],
            "role": [
                "training" if b in split["composition"] else "unseen" for b in split["benchmarks"]
            ],
            "truth": split["truth"],
            "estimate": split["estimate"],
            "auroc": split["auroc"],
        }
    )
    frame.insert(4, "error", frame["estimate"] - frame["truth"])
    if bounds:
        none = (np.nan, np.nan)
        limits = [bounds.get(name, none) for name in frame["benchmark"]]
        for at, column in enumerate(("low", "high")):
            frame.insert(5 + at, column, [pair[at] for pair in limits])
    return frame.sort_values("truth", ignore_index=True)


def markdown(frame: pd.DataFrame, digits: int = 3) -> str:
    """A GitHub-flavoured table; floats rounded, missing values as a dash."""

    def cell(value: Any) -> str:
        if isinstance(value, float):
            return "-" if np.isnan(value) else f"{value:.{digits}f}"
        return str(value)

    lines = [list(map(str, frame.columns)), ["---"] * frame.shape[1]]
    lines += [[cell(v) for v in row] for row in frame.itertuples(index=False)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
