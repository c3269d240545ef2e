"""Small ReLU networks trained as scikit-learn's MLPClassifier trains them, draw for draw.

Networks are a dozen inputs wide, so the compiled loops run along the rows of a batch: arrays are
laid out a unit a row and every inner loop is one stride of float32.
"""

from itertools import pairwise

import numba
import numpy as np
from numpy.typing import NDArray

from estimators.fast.mersenne import State, from_random_state, shuffle, validation_split
from estimators.table import IntArray

Floats = NDArray[np.float32]

# MLPClassifier's defaults, but for the published alpha.
_ALPHA = np.float32(0.001)
_RATE, _BETA1, _BETA2, _EPSILON = 1e-3, 0.9, 0.999, 1e-8
_BATCH = 200
_MAX_EPOCHS = 200
_PATIENCE = 10
_TOLERANCE = 1e-4
# Sums may be reordered into vector lanes; the order is fixed at compile time.
_FAST = {"reassoc", "contract", "nsz"}


def initial(units: IntArray, seed: int) -> tuple[Floats, State]:
    """Return Glorot-uniform starting weights and the random state after drawing them.

    Parameters
    ----------
    units : ndarray of int
        Layer widths, from inputs to the one output.
    seed : int
        Of the RandomState that MLPClassifier would draw from.

    Returns
    -------
    (ndarray of float32, ndarray of uint32)
        For each layer its weights (fan in x fan out) and then its biases, end to end.
    """
    rng = np.random.RandomState(seed)
    parts = []
    for fan_in, fan_out in pairwise(units):
        bound = np.sqrt(6.0 / (fan_in + fan_out))
        parts += [rng.uniform(-bound, bound, fan_in * fan_out), rng.uniform(-bound, bound, fan_out)]
    return np.concatenate(parts).astype(np.float32), from_random_state(rng)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def train(X: Floats, y: Floats, units: IntArray, start: Floats, state: State) -> Floats:
    """Train one network with Adam until accuracy on a tenth of the rows stops rising.

    Parameters
    ----------
    X : ndarray of shape (d, n)
        Standardised features, a feature a row.
    y : ndarray of shape (n,)
        Labels 0 and 1, at least two of each and eleven in all.
    units : ndarray of int
        Layer widths.
    start, state
        Of `initial`; neither is changed.

    Returns
    -------
    ndarray of float32
        The weights of best validation accuracy.
    """
    state = state.copy()
    w, best = start.copy(), start.copy()
    rows, held = validation_split(state, y)
    n, width = len(rows), np.max(units)
    batch = min(_BATCH, n)
    room = max(batch, len(held))
    layers = len(units)
    a = np.empty((layers, width, room), np.float32)
    delta = np.empty((layers, width, room), np.float32)
    target = np.empty(room, np.float32)
    gradient, m, v = np.empty_like(w), np.zeros_like(w), np.zeros_like(w)
    X_held = np.ascontiguousarray(X[:, held])
    y_held = y[held]
    order = np.arange(n)
    permutation = np.empty(n, np.int64)

    best_accuracy, stale, t = -np.inf, 0, 0
    for _ in range(_MAX_EPOCHS):
        for i in range(n):
            permutation[i] = i
        shuffle(state, permutation)
        order = order[permutation]
        for first in range(0, n, batch):
            size = min(batch, n - first)
            for k in range(size):
                row = rows[order[first + k]]
                target[k] = y[row]
                for i in range(len(X)):
                    a[0, i, k] = X[i, row]
            _forward(w, units, a, size)
            _backward(w, units, a, delta, target, size, gradient)
            t += 1
            _adam(w, gradient, m, v, t)
        a[0, : len(X), : len(held)] = X_held
        _forward(w, units, a, len(held))
        right = 0
        for k in range(len(held)):
            right += (a[layers - 1, 0, k] > 0.0) == (y_held[k] > 0.5)
        accuracy = right / len(held)
        stale = stale + 1 if accuracy < best_accuracy + _TOLERANCE else 0
        if accuracy > best_accuracy:
            best_accuracy = accuracy
            best[:] = w
        if stale > _PATIENCE:
            break
    return best


@numba.njit(cache=True, nogil=True, error_model="numpy")
def predict(w: Floats, units: IntArray, X: Floats) -> Floats:
    """Return P(correct), shape (m,), of the columns of `X`, shape (d, m)."""
    m = X.shape[1]
    a = np.empty((len(units), np.max(units), min(_BATCH, max(m, 1))), np.float32)
    p = np.empty(m, np.float32)
    for first in range(0, m, _BATCH):
        size = min(_BATCH, m - first)
        a[0, : len(X), :size] = X[:, first : first + size]
        _forward(w, units, a, size)
        for k in range(size):
            p[first + k] = 1.0 / (1.0 + np.exp(-a[len(units) - 1, 0, k]))
    return p


@numba.njit(cache=True, nogil=True, error_model="numpy", fastmath=_FAST)
def _forward(w: Floats, units: IntArray, a: Floats, size: int) -> None:
    """Fill activations from a[0]; the last layer holds log-odds."""
    at = 0
    for layer in range(len(units) - 1):
        fan_in, fan_out = units[layer], units[layer + 1]
        bias = at + fan_in * fan_out
        for j in range(fan_out):
            out = a[layer + 1, j, :size]
            out[:] = w[bias + j]
            for i in range(fan_in):
                weight, x = w[at + i * fan_out + j], a[layer, i, :size]
                for k in range(size):
                    out[k] += weight * x[k]
            if layer < len(units) - 2:
                for k in range(size):
                    out[k] = max(out[k], np.float32(0.0))
        at = bias + fan_out


@numba.njit(cache=True, nogil=True, error_model="numpy", fastmath=_FAST)
def _backward(
    w: Floats,
    units: IntArray,
    a: Floats,
    delta: Floats,
    target: Floats,
    size: int,
    gradient: Floats,
) -> None:
    """Fill the gradient of mean log-loss plus alpha / 2 ||weights||^2 / size."""
    last = len(units) - 1
    one = np.float32(1.0)
    for k in range(size):
        delta[last, 0, k] = one / (one + np.exp(-a[last, 0, k])) - target[k]
    scale = one / np.float32(size)
    at = len(w)
    for layer in range(last - 1, -1, -1):
        fan_in, fan_out = units[layer], units[layer + 1]
        bias = at - fan_out
        at = bias - fan_in * fan_out
        for j in range(fan_out):
            d, total = delta[layer + 1, j, :size], np.float32(0.0)
            for k in range(size):
                total += d[k]
            gradient[bias + j] = total * scale
        for i in range(fan_in):
            x, back = a[layer, i, :size], delta[layer, i, :size]
            back[:] = 0.0
            for j in range(fan_out):
                d, total = delta[layer + 1, j, :size], np.float32(0.0)
                weight = w[at + i * fan_out + j]
                if layer > 0:
                    for k in range(size):
                        total += x[k] * d[k]
                        back[k] += weight * d[k]
                else:
                    for k in range(size):
                        total += x[k] * d[k]
                gradient[at + i * fan_out + j] = (total + _ALPHA * weight) * scale
            if layer > 0:
                for k in range(size):
                    back[k] = back[k] if x[k] > 0 else np.float32(0.0)


@numba.njit(cache=True, nogil=True, error_model="numpy", fastmath=_FAST)
def _adam(w: Floats, gradient: Floats, m: Floats, v: Floats, t: int) -> None:
    """Take one step (Kingma and Ba 2015)."""
    rate = np.float32(_RATE * np.sqrt(1.0 - _BETA2**t) / (1.0 - _BETA1**t))
    b1, b2, eps = np.float32(_BETA1), np.float32(_BETA2), np.float32(_EPSILON)
    one = np.float32(1.0)
    for i in range(len(w)):
        m[i] = b1 * m[i] + (one - b1) * gradient[i]
        v[i] = b2 * v[i] + (one - b2) * gradient[i] * gradient[i]
        w[i] -= rate * m[i] / (np.sqrt(v[i]) + eps)
