"""A whole sweep as one Markdown document: every estimator's medians at every k."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa

from estimators.config import CLASSIFIERS, SINGLE

_LEGEND = (
    "Each cell: median AEE over compositions (width of its middle half), then the medians of "
    "Spearman's rho, AUROC and calibration error, all over the benchmarks not trained on. A dash: "
    "there is no such score, as of rho where all estimates are equal. Compositions whose training "
    "answers are of one class count with that rate as the estimate."
)


def sweep_table(splits: pa.Table) -> str:
    """Markdown of the splits of one model or more, a section a kind of estimator.

    Parameters
    ----------
    splits : table
        Rows of :class:`estimators.results.SplitResult`.

    Returns
    -------
    str
        Per model a heading with the number of compositions at each k, then tables of estimators
        by k in the order of the splits. The lowest median AEE of each column is bold.
    """
    frame = splits.to_pandas()
    parts = [_LEGEND]
    for model, part in frame.groupby("model", sort=False):
        counts = part.groupby("k")["composition"].apply(lambda c: len({tuple(x) for x in c}))
        said = ", ".join(f"{n} at k = {k}" for k, n in counts.items())
        parts.append(f"## {model}\n\nCompositions: {said}.")
        best = part.groupby(["k", "estimator"])["aee_unseen"].median().groupby("k").min()
        for title, rows in part.groupby(_section(part), sort=False):
            parts.append(f"### {title}\n\n{_table(rows, best)}")
    return "\n\n".join(parts) + "\n"


def _section(frame: pd.DataFrame) -> pd.Series:
    """What kind of estimator each row is."""
    title = pd.Series("Baselines on several statistics, and none", index=frame.index)
    trained = frame["family"].isin(CLASSIFIERS)
    title[trained] = "Classifiers on " + frame["features"][trained]
    title[frame["family"].isin(SINGLE)] = "Baselines on one score"
    title[frame["family"] == "ensemble"] = "Default"
    return title


def _table(frame: pd.DataFrame, best: pd.Series) -> str:
    sizes = sorted(frame["k"].unique())
    lines = [["estimator", *(f"k = {k}" for k in sizes)], ["---"] * (1 + len(sizes))]
    for name, rows in frame.groupby("estimator", sort=False):
        by_k = {k: part for k, part in rows.groupby("k")}
        lines.append([str(name), *(_cell(by_k[k], best[k]) if k in by_k else "" for k in sizes)])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cell(rows: pd.DataFrame, best: float) -> str:
    low, middle, high = np.percentile(rows["aee_unseen"], [25, 50, 75])
    aee = _number(middle)
    others = (rows[score].median() for score in ("rho_unseen", "auroc_unseen", "ece_unseen"))
    marked = f"**{aee}**" if middle <= best else aee
    return f"{marked} ({_number(high - low)}) {' '.join(_number(v, 2) for v in others)}"


def _number(value: float, digits: int = 3) -> str:
    if np.isnan(value):
        return "-"
    return f"{value:.{digits}f}".replace("0.", ".", 1)
