"""How good an estimate is: error and rank agreement over benchmarks, ranking over responses."""

from collections.abc import Sequence

import numpy as np
from scipy.stats import rankdata

from estimators.table import FloatArray


def aee(estimates: Sequence[float] | FloatArray, truths: Sequence[float] | FloatArray) -> float:
    """Accuracy estimation error: mean absolute difference over benchmarks.

    Parameters
    ----------
    estimates, truths : array-like of shape (b,)
        Estimated and true accuracies, in [0, 1].

    Returns
    -------
    float
        In [0, 1]; NaN for no benchmark.
    """
    error = np.abs(np.asarray(estimates, dtype=np.float64) - np.asarray(truths, dtype=np.float64))
    return float(error.mean()) if error.size else np.nan


def spearman(
    estimates: Sequence[float] | FloatArray, truths: Sequence[float] | FloatArray
) -> float:
    """Spearman's rho: Pearson correlation of ranks, ties given their mean rank.

    Values that agree to 12 decimals are tied: a mean of equal numbers differs from them by
    rounding, and that order is not information.

    Parameters
    ----------
    estimates, truths : array-like of shape (b,)
        Estimated and true accuracies.

    Returns
    -------
    float
        In [-1, 1]; NaN for fewer than two benchmarks or where either side is constant.
    """
    a, b = (rankdata(np.round(side, 12)) for side in (estimates, truths))
    a, b = a - a.mean(), b - b.mean()
    norm = np.sqrt((a @ a) * (b @ b))
    return float(np.clip(a @ b / norm, -1.0, 1.0)) if len(a) > 1 and norm > 0 else np.nan


def auroc(y: FloatArray, score: FloatArray) -> float:
    """Probability that a correct response scores above an incorrect one, ties counting half.

    The Mann-Whitney rank form (Hanley and McNeil 1982).

    Parameters
    ----------
    y : ndarray of shape (n,)
        Labels, 0 or 1.
    score : ndarray of shape (n,)
        Higher for more likely correct.

    Returns
    -------
    float
        In [0, 1]; NaN where a class is missing or any score is NaN.
    """
    positive = np.asarray(y) == 1
    n1, n0 = int(positive.sum()), int((~positive).sum())
    if not n1 or not n0 or np.isnan(score).any():
        return np.nan
    return float((rankdata(score)[positive].sum() - n1 * (n1 + 1) / 2) / (n1 * n0))


def calibration_error(y: FloatArray, p: FloatArray, bins: int = 10) -> float:
    """Expected calibration error over bins of equal width (Naeini et al. 2015).

    Parameters
    ----------
    y : ndarray of shape (n,)
        Labels, 0 or 1.
    p : ndarray of shape (n,)
        P(correct), in [0, 1].
    bins : int, default=10
        Number of bins; the last one includes 1.

    Returns
    -------
    float
        Mean over rows of |accuracy - mean p| of the row's bin, in [0, 1]; NaN for no row.
    """
    if not len(y):
        return np.nan
    bin_of = np.minimum((np.asarray(p) * bins).astype(int), bins - 1)
    gap = np.bincount(bin_of, weights=np.asarray(p) - y, minlength=bins)
    return float(np.abs(gap).sum() / len(y))
