"""AUROC in one sort, without allocating ranks."""

import numba
import numpy as np

from estimators.table import FloatArray


@numba.njit(cache=True, nogil=True, error_model="numpy")
def auroc(y: FloatArray, score: FloatArray) -> float:
    """Same as `estimators.scores.auroc`."""
    n = len(y)
    for value in score:
        if np.isnan(value):
            return np.nan
    order = np.argsort(score)
    won, below0, n1 = 0.0, 0.0, 0.0
    i = 0
    while i < n:
        j, tied0, tied1 = i, 0.0, 0.0
        while j < n and score[order[j]] == score[order[i]]:
            tied1 += y[order[j]]
            tied0 += 1.0 - y[order[j]]
            j += 1
        won += tied1 * (below0 + 0.5 * tied0)
        below0 += tied0
        n1 += tied1
        i = j
    return won / (n1 * below0) if n1 > 0 and below0 > 0 else np.nan
