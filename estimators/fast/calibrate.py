"""Calibrators of one fold: isotonic in one pass, and Platt's sigmoid."""

import numba
import numpy as np
from scipy.special import expit

from estimators.table import FloatArray


@numba.njit(cache=True, nogil=True, error_model="numpy")
def isotonic_fit(x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Least-squares non-decreasing fit of `y` on `x` by pooling adjacent violators.

    Rows of equal `x` are averaged first (the secondary treatment of ties), as scikit-learn's
    IsotonicRegression does.

    Parameters
    ----------
    x, y : ndarray of shape (n,)
        Scores and labels, n >= 1.

    Returns
    -------
    (ndarray, ndarray)
        The distinct scores in increasing order and the fit at each (Barlow et al. 1972).
    """
    n = len(x)
    order = np.argsort(x)
    knots, mean, weight = np.empty(n), np.empty(n), np.empty(n)
    size = np.empty(n, dtype=np.int64)
    n_knots = n_blocks = 0
    i = 0
    while i < n:
        here, total, first = x[order[i]], 0.0, i
        while i < n and x[order[i]] == here:
            total += y[order[i]]
            i += 1
        knots[n_knots] = here
        n_knots += 1
        mean[n_blocks], weight[n_blocks], size[n_blocks] = total / (i - first), i - first, 1
        n_blocks += 1
        while n_blocks > 1 and mean[n_blocks - 2] >= mean[n_blocks - 1]:
            a, b = n_blocks - 2, n_blocks - 1
            both = weight[a] + weight[b]
            mean[a] = (mean[a] * weight[a] + mean[b] * weight[b]) / both
            weight[a] = both
            size[a] += size[b]
            n_blocks -= 1
    return knots[:n_knots], np.repeat(mean[:n_blocks], size[:n_blocks])


def isotonic(x: FloatArray, y: FloatArray, scored: FloatArray) -> FloatArray:
    """Return the isotonic fit at `scored`, linear between knots and constant beyond them."""
    return np.interp(scored, *isotonic_fit(x, y))


@numba.njit(cache=True, nogil=True, error_model="numpy")
def sigmoid_fit(x: FloatArray, y: FloatArray) -> tuple[float, float]:
    """Slope and intercept of Platt's sigmoid, by Newton steps with halving (Lin et al. 2007).

    Labels are replaced by Platt's targets (n1 + 1) / (n1 + 2) and 1 / (n0 + 2), which keeps the
    fit finite where classes separate or one is missing.

    Parameters
    ----------
    x, y : ndarray of shape (n,)
        Scores and labels.

    Returns
    -------
    (float, float)
        a and b of P(correct) = 1 / (1 + exp(-(a x + b))).
    """
    n1 = np.sum(y)
    n0 = len(y) - n1
    target = np.where(y == 1, (n1 + 1) / (n1 + 2), 1 / (n0 + 2))
    a, b = 0.0, np.log((n1 + 1) / (n0 + 1))
    loss = _sigmoid_loss(a * x + b, target)
    for _ in range(100):
        p = 1 / (1 + np.exp(-(a * x + b)))
        r, h = p - target, p * (1 - p)
        ga, gb = np.sum(r * x), np.sum(r)
        if abs(ga) < 1e-8 and abs(gb) < 1e-8:
            break
        # A ridge far below the data keeps the system solvable for a constant score.
        haa, hab, hbb = np.sum(h * x * x) + 1e-12, np.sum(h * x), np.sum(h) + 1e-12
        det = haa * hbb - hab * hab
        da, db = -(hbb * ga - hab * gb) / det, -(haa * gb - hab * ga) / det
        step = 1.0
        while step > 1e-10:
            tried = _sigmoid_loss((a + step * da) * x + b + step * db, target)
            if tried < loss + 1e-4 * step * (ga * da + gb * db):
                break
            step *= 0.5
        else:
            break
        a, b, loss = a + step * da, b + step * db, tried
    return a, b


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _sigmoid_loss(z: FloatArray, target: FloatArray) -> float:
    return np.sum(np.log1p(np.exp(-np.abs(z))) + np.maximum(z, 0) - target * z)


def sigmoid(x: FloatArray, y: FloatArray, scored: FloatArray) -> FloatArray:
    """Return Platt's sigmoid at `scored`."""
    a, b = sigmoid_fit(x, y)
    return expit(a * scored + b)
