"""What models can be compared over: the benchmarks that all of them have.

A model may lack a benchmark (no access to it, a job that failed). Its own scores are over those it
has. Beside another model's they would be over other questions, so where models are compared the
scores are taken again, over shared benchmarks only. Nothing is fitted for that: what an estimator
learns from a composition does not depend on the other benchmarks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from estimators.scores import aee, spearman
from tasks.signals.features import Joined


def shared_benchmarks(joined: Mapping[str, Joined]) -> tuple[str, ...] | None:
    """Benchmarks that every model has, sorted; ``None`` where all models have the same ones."""
    sets = [set(one.table.benchmarks) for one in joined.values()]
    if not sets or all(one == sets[0] for one in sets):
        return None
    return tuple(sorted(set.intersection(*sets)))


def over(splits: pa.Table, benchmarks: Sequence[str]) -> pa.Table:
    """Rows of a sweep as if its model had these benchmarks only.

    Compositions with another benchmark go, and so do those that leave none of these unseen. AEE and
    rho are computed anew from the estimates; AUROC and the calibration error over several
    benchmarks are pooled over their responses, which the rows do not hold, and become NaN.

    Parameters
    ----------
    splits : Table
        Rows of :class:`estimators.results.SplitResult`.
    benchmarks : sequence of str
        Of them each row must have all.
    """
    wanted = set(benchmarks)
    rows = [
        _over(row, wanted)
        for row in splits.to_pylist()
        if set(row["composition"]) < wanted <= set(row["benchmarks"])
    ]
    return pa.Table.from_pylist(rows, schema=splits.schema)


def _over(row: dict[str, Any], wanted: set[str]) -> dict[str, Any]:
    at = [i for i, name in enumerate(row["benchmarks"]) if name in wanted]
    lists = {n: [row[n][i] for i in at] for n in ("benchmarks", "estimate", "truth", "auroc")}
    estimate, truth = np.array(lists["estimate"]), np.array(lists["truth"])
    unseen = np.array([name not in row["composition"] for name in lists["benchmarks"]])
    scores = {
        "aee_unseen": aee(estimate[unseen], truth[unseen]),
        "rho_unseen": spearman(estimate[unseen], truth[unseen]),
        "aee_all": aee(estimate, truth),
        "rho_all": spearman(estimate, truth),
    }
    lost = dict.fromkeys(("auroc_unseen", "ece_unseen", "auroc_all", "ece_all"), np.nan)
    return {**row, **lists, **scores, **lost}
