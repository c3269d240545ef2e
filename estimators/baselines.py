"""Estimators without a classifier: a constant, and a threshold on one feature."""

import numpy as np

from estimators.table import FloatArray


def constant(y: FloatArray, m: int) -> FloatArray:
    """Return the training accuracy, the mean of `y`, for each of `m` rows."""
    return np.full(m, y.mean())


def atc_threshold(confidence: FloatArray, y: FloatArray) -> float:
    """Threshold of Average Thresholded Confidence.

    The smallest confidence of the training rows such that the share of rows below it is their
    error rate (Garg et al. 2022, arXiv 2201.04234, eq. 1).

    Parameters
    ----------
    confidence : ndarray of shape (n,)
        Higher for more likely correct; for entropies, the negated feature.
    y : ndarray of shape (n,)
        Labels, 0 or 1.

    Returns
    -------
    float
        Infinity where every row is incorrect. With ties at the threshold the share below it may
        fall short of the error rate.
    """
    wrong = int(np.sum(y == 0))
    if wrong == len(y):
        return np.inf
    return float(np.partition(confidence, wrong)[wrong])


def atc(confidence: FloatArray, y: FloatArray, scored: FloatArray) -> FloatArray:
    """Return 1 for rows of `scored` at or above `atc_threshold` of the training rows, else 0.

    The mean over a benchmark is the ATC estimate of its accuracy.
    """
    return (scored >= atc_threshold(confidence, y)).astype(np.float64)
