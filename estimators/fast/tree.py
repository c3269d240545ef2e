"""One decision tree, split for split the one scikit-learn grows from the same seed.

Features come as ranks among the training rows, so that a node is sorted by small integers; the
bootstrap and the features tried at each node are drawn from scikit-learn's own streams. Class
sums are integers times two class weights, where scikit-learn adds weights row by row: with equal
weights the arithmetic is the same to the last bit, with balanced ones a tie between two cuts may
be broken differently.
"""

import numba
import numpy as np
from numpy.typing import NDArray

from estimators.table import FloatArray

Ranks = NDArray[np.uint16]
Ints = NDArray[np.int64]
Links = NDArray[np.int32]

# A node this small is sorted by insertion; a larger one is counted into its ranks.
_SMALL = 20
# The position of a lone bit: its product with a de Bruijn sequence is unique in the top six bits.
_ONE = np.uint64(1)
_DE_BRUIJN = np.uint64(0x03F79D71B4CB0A89)
_LOG2 = np.zeros(64, dtype=np.int64)
_LOG2[[(0x03F79D71B4CB0A89 << i & (1 << 64) - 1) >> 58 for i in range(64)]] = np.arange(64)


def node_capacity(n: int, max_depth: int) -> int:
    """Return the most nodes a tree on `n` rows can have."""
    return int(min(2 * n, 2 ** (max_depth + 1)))


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _draw(state: NDArray[np.uint32], n: int) -> np.int64:
    """Draw an integer in [0, n) from the xorshift stream of scikit-learn's splitter."""
    x = state[0]
    x = np.uint32(x ^ (x << np.uint32(13)))
    x = np.uint32(x ^ (x >> np.uint32(17)))
    x = np.uint32(x ^ (x << np.uint32(5)))
    state[0] = x
    return np.int64(x & np.uint32(0x7FFFFFFF)) % n


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _sorted_keys(
    column: Ranks,
    rows: NDArray[np.int32],
    drawn: Ints,
    keys: Ints,
    histogram: Ints,
    occupied: NDArray[np.uint64],
) -> np.int64:
    """Fill `keys` with rank << 32 | correct << 16 | incorrect, by rising rank; return how many.

    Parameters
    ----------
    column : ndarray of uint16
        Rank of every row.
    rows : ndarray of int32
        Rows of the node.
    drawn : ndarray of int64
        How often each row is in the bootstrap, shifted by 16 for correct rows.
    keys : ndarray of int64
        Filled.
    histogram : ndarray of int64
        Zeros, one a rank; left so.
    occupied : ndarray of uint64
        Zeros, one bit a rank; left so.
    """
    n = len(rows)
    if n <= _SMALL:
        for i in range(n):
            row = rows[i]
            key = np.int64(column[row]) << 32 | drawn[row]
            j = i
            while j > 0 and keys[j - 1] > key:
                keys[j] = keys[j - 1]
                j -= 1
            keys[j] = key
        return np.int64(n)
    low, high = np.int64(column[rows[0]]), np.int64(0)
    rank: int | np.int64
    for row in rows:
        rank = np.int64(column[row])
        histogram[rank] += drawn[row]
        low, high = min(low, rank), max(high, rank)
    size = np.int64(0)
    if high - low > 4 * n:
        # Few ranks are occupied: walk the set bits.
        for row in rows:
            rank = np.int64(column[row])
            occupied[rank >> 6] |= _ONE << np.uint64(rank & 63)
        for word in range(low >> 6, (high >> 6) + 1):
            bits = occupied[word]
            occupied[word] = 0
            while bits:
                lowest = bits & (~bits + _ONE)
                bits ^= lowest
                rank = word << 6 | _LOG2[(lowest * _DE_BRUIJN) >> np.uint64(58)]
                keys[size] = rank << 32 | histogram[rank]
                histogram[rank] = 0
                size += 1
        return size
    # Written always and kept if occupied: which ranks are empty cannot be predicted.
    for rank in range(low, high + 1):
        keys[size] = rank << 32 | histogram[rank]
        size += histogram[rank] != 0
        histogram[rank] = 0
    return size


@numba.njit(cache=True, nogil=True, error_model="numpy")
def best_cut(
    keys: Ints,
    size: int,
    n0: int,
    n1: int,
    weights: tuple[float, float],
    cuts: Ints,
    lefts: Ints,
    gains: FloatArray,
) -> tuple[float, int]:
    """Best Gini split of a sorted feature.

    Parameters
    ----------
    keys : ndarray of int64
        Of `_sorted_keys`; the first `size` count.
    size : int
        Number of keys, of more than one rank.
    n0, n1 : int
        Incorrect and correct rows of the node.
    weights : (float, float)
        Class weights.
    cuts, lefts, gains : ndarray
        Scratch of at least `size` entries.

    Returns
    -------
    (float, int)
        Minus the weighted impurity of both children, and the key after which to cut.
    """
    left = np.int64(0)
    n_cuts = 0
    for i in range(size - 1):
        key, following = keys[i], keys[i + 1]
        left += key & 0xFFFFFFFF
        cuts[n_cuts], lefts[n_cuts] = i, left
        # Between two ranks of one class no cut is best (Fayyad and Irani 1992).
        both = key | following
        mixed = (both & 0xFFFF != 0) & (both & 0xFFFF0000 != 0)
        n_cuts += mixed & (key >> 32 != following >> 32)
    w0, w1 = weights
    total0, total1 = w0 * n0, w1 * n1
    for i in range(n_cuts):
        left0, left1 = w0 * (lefts[i] & 0xFFFF), w1 * (lefts[i] >> 16)
        right0, right1 = total0 - left0, total1 - left1
        n_left, n_right = left0 + left1, right0 + right1
        impure_left = 1.0 - (left0 * left0 + left1 * left1) / (n_left * n_left)
        impure_right = 1.0 - (right0 * right0 + right1 * right1) / (n_right * n_right)
        gains[i] = -n_right * impure_right - n_left * impure_left
    best, cut = -np.inf, -1
    for i in range(n_cuts):
        if gains[i] > best:
            best, cut = gains[i], cuts[i]
    return best, cut


@numba.njit(cache=True, nogil=True, error_model="numpy")
def grow(
    ranks: Ranks,
    levels: FloatArray,
    drawn: Ints,
    weights: tuple[float, float],
    max_depth: int,
    min_split: int,
    seed: int,
    links: Links,
    threshold: FloatArray,
    value: FloatArray,
    size: Links,
) -> int:
    """Grow one tree depth first, trying sqrt(d) features a node as scikit-learn draws them.

    Parameters
    ----------
    ranks : ndarray of shape (d, n), uint16
        Rank of each row among the distinct values of a feature.
    levels : ndarray of shape (d, n)
        The value at each rank.
    drawn : ndarray of shape (n,), int64
        How often each row is in the bootstrap, below 2**16 in all; shifted by 16 for correct rows.
    weights : (float, float)
        Class weights of incorrect and correct rows.
    max_depth, min_split : int
        A node at that depth, or of fewer distinct rows, is a leaf.
    seed : int
        Of the splitter's stream.
    links : ndarray of int32
        Filled: left child << 8 | feature. The right child follows the left one; a leaf is its own
        left child.
    threshold : ndarray of float64
        Filled: values up to it go left; infinite in a leaf.
    value : ndarray of float64
        Filled: weighted share of correct rows.
    size : ndarray of int32
        Filled: distinct rows.

    Returns
    -------
    int
        Number of nodes; the root is node 0.
    """
    d, n = ranks.shape
    w0, w1 = weights
    wanted = max(1, int(np.sqrt(d)))
    state = np.array([seed if seed else 1], dtype=np.uint32)
    rows, scratch = np.empty(n, np.int32), np.empty(n, np.int32)
    in_bag = 0
    for row in range(n):
        rows[in_bag] = row
        in_bag += drawn[row] != 0
    keys, best_keys = np.empty(n + 1, np.int64), np.empty(2, np.int64)
    histogram, occupied = np.zeros(n, np.int64), np.zeros(n // 64 + 1, np.uint64)
    cuts, lefts, gains = np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n)
    features, constant = np.arange(d), np.arange(d)
    stack = np.empty((max_depth + 2, 5), np.int64)
    stack[0] = 0, in_bag, 0, 0, 0
    waiting, n_nodes = 1, 1
    while waiting:
        waiting -= 1
        start, stop, depth, node, n_known = stack[waiting]
        here = rows[start:stop]
        total = np.int64(0)
        for row in here:
            total += drawn[row]
        n0, n1 = total & 0xFFFF, total >> 16
        links[node], threshold[node] = node << 8, np.inf
        size[node] = len(here)
        value[node] = w1 * n1 / (w0 * n0 + w1 * n1)
        if depth >= max_depth or len(here) < min_split or n0 == 0 or n1 == 0:
            continue

        # Fisher-Yates over the features, in the order of scikit-learn's node_split_best:
        # known constants, constants found here, the undrawn, the drawn.
        best, feature = -np.inf, -1
        undrawn, visited, drawn_constants, found = d, 0, 0, 0
        while undrawn > n_known + found and (
            visited < wanted or visited <= found + drawn_constants
        ):
            visited += 1
            j = drawn_constants + _draw(state, undrawn - found - drawn_constants)
            if j < n_known:
                features[drawn_constants], features[j] = features[j], features[drawn_constants]
                drawn_constants += 1
                continue
            j += found
            f = features[j]
            n_keys = _sorted_keys(ranks[f], here, drawn, keys, histogram, occupied)
            if keys[0] >> 32 == keys[n_keys - 1] >> 32:
                features[j], features[n_known + found] = features[n_known + found], f
                found += 1
                continue
            undrawn -= 1
            features[j], features[undrawn] = features[undrawn], f
            gain, cut = best_cut(keys, n_keys, n0, n1, weights, cuts, lefts, gains)
            if gain > best:
                best, feature = gain, f
                best_keys[:] = keys[cut : cut + 2]
        features[:n_known] = constant[:n_known]
        constant[n_known : n_known + found] = features[n_known : n_known + found]
        n_known += found
        if feature < 0:
            continue
        last, following = best_keys[0] >> 32, best_keys[1] >> 32
        middle = start + _partition(ranks[feature], here, last, scratch)
        links[node] = n_nodes << 8 | feature
        threshold[node] = levels[feature, last] / 2.0 + levels[feature, following] / 2.0
        stack[waiting] = middle, stop, depth + 1, n_nodes + 1, n_known
        stack[waiting + 1] = start, middle, depth + 1, n_nodes, n_known
        waiting += 2
        n_nodes += 2
    return n_nodes


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _partition(
    column: Ranks, rows: NDArray[np.int32], last: int, scratch: NDArray[np.int32]
) -> int:
    """Put rows of rank up to `last` first, in place and in order; return how many they are."""
    left = right = 0
    # Both writes always happen and one is kept: no branch to mispredict.
    for i in range(len(rows)):
        row = rows[i]
        goes_left = column[row] <= last
        rows[left] = row
        scratch[right] = row
        left += goes_left
        right += not goes_left
    rows[left:] = scratch[:right]
    return left
