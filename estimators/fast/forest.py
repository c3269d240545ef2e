"""Random forests of one training group, tree by tree those of scikit-learn's seed.

A tree limited to a smaller depth or to larger nodes is a draw of the deep tree, pruned: so one
forest, grown to the loosest limits, scores the whole grid, and only the point chosen is then grown
from its own draws. scikit-learn scores each point with draws of its own, so near ties of the grid
may fall the other way, as they do under another of its seeds.
"""

from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import ParameterGrid

from estimators.classifiers import GRIDS
from estimators.fast.members import Members, best_point
from estimators.fast.mersenne import below, seeded
from estimators.fast.tree import Ints, Links, Ranks, grow, node_capacity
from estimators.group import TrainingGroup
from estimators.table import FloatArray

N_TREES = 100
GRID = list(ParameterGrid(GRIDS["forest"]))
Limits = tuple[int, int]
LIMITS: list[Limits] = [(p["max_depth"], p["min_samples_split"]) for p in GRID]
LOOSEST: Limits = max(depth for depth, _ in LIMITS), min(split for _, split in LIMITS)
_MOST_ROWS = 2**16
# Upper bound of the seeds scikit-learn draws for trees and splitters.
_SEEDS = 2**31 - 1
# scikit-learn's trees see single precision, and values this close as one.
_RESOLUTION = np.float32(1e-7)
# Rows that go down a tree together: their independent steps hide the latency of each.
_BLOCK = 256

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Forest:
    """Trees end to end: nodes of tree t are offset[t]:offset[t + 1]. Fields of `tree.grow`."""

    offset: Ints
    links: Links
    threshold: FloatArray
    value: FloatArray
    size: Links

    def predict(self, X: Floats, max_depth: int, min_split: int) -> FloatArray:
        """Return P(correct) of each row of `X`, shape (m, d), with the trees pruned to limits."""
        return _predict(
            np.ascontiguousarray(X), self.offset, self.links, self.threshold, self.value,
            self.size, max_depth, min_split,
        )  # fmt: skip


def fit(
    X: Floats, y: FloatArray, balanced: bool, max_depth: int, min_split: int, seed: int
) -> Forest:
    """Grow the forest that scikit-learn's RandomForestClassifier grows.

    Parameters
    ----------
    X : ndarray of shape (n, d), float32
        Features.
    y : ndarray of shape (n,)
        Labels.
    balanced : bool
        Weigh the classes of each bootstrap equally (``balanced_subsample``).
    max_depth, min_split : int
        A node at that depth, or of fewer distinct rows, is a leaf.
    seed : int
        ``random_state``.

    Raises
    ------
    ValueError
        If there are 2**16 rows or more: ranks and counts are kept in 16 bits.
    """
    if len(y) >= _MOST_ROWS:
        raise ValueError(
            f"{len(y)} training rows: the compiled forest takes fewer than {_MOST_ROWS}; "
            "use the reference path"
        )
    ranks, levels = rank(X)
    room = N_TREES * node_capacity(len(y), max_depth)
    links, size = np.empty(room, np.int32), np.empty(room, np.int32)
    threshold, value = np.empty(room), np.empty(room)
    offset = _grow_all(
        ranks, levels, y == 1, balanced, max_depth, min_split, seed, links, threshold, value, size
    )
    used = slice(0, offset[-1])
    return Forest(offset, links[used], threshold[used], value[used], size[used])


def rank(X: Floats) -> tuple[Ranks, FloatArray]:
    """Return each value's rank in its column and the value at each rank, both (d, n).

    Neighbours closer than scikit-learn's resolution share a rank.
    """
    order = np.argsort(X.T, axis=1)
    ordered = np.take_along_axis(X.T, order, axis=1)
    steps = np.zeros(ordered.shape, dtype=np.uint16)
    steps[:, 1:] = ordered[:, 1:] > ordered[:, :-1] + _RESOLUTION
    level = np.cumsum(steps, axis=1, dtype=np.uint16)
    ranks, levels = np.empty_like(level), np.zeros(ordered.shape)
    np.put_along_axis(ranks, order, level, axis=1)
    np.put_along_axis(levels, level.astype(np.int64), ordered, axis=1)
    return ranks, levels


def fit_members(group: TrainingGroup, balanced: bool, refit: bool, exact: bool) -> Members:
    """Tune and fit the forests of a training group; see `Members`. Scores are P(correct).

    With `exact`, every point of the grid is grown from its own draws, as scikit-learn does.
    """
    X, X_eval = (np.ascontiguousarray(side, dtype=np.float32) for side in group.scaled)

    def grown(rows: NDArray[np.bool_], limits: Limits) -> Forest:
        return fit(X[rows], group.y[rows], balanced, *limits, group.seed)

    held, tried = {}, {}
    for f in group.trainable:
        out = group.fold == f
        forests = {limits: grown(~out, limits) for limits in (LIMITS if exact else [LOOSEST])}
        read = {limits: forests.get(limits, forests[LOOSEST]) for limits in LIMITS}
        held[f] = np.array([forest.predict(X[out], *limits) for limits, forest in read.items()])
        tried[f] = forests
    best = best_point(group, held, len(GRID))
    limits = LIMITS[best]
    chosen = {
        f: forests[limits] if limits in forests else grown(group.fold != f, limits)
        for f, forests in tried.items()
    }
    scored = [forest.predict(X_eval, *limits) for forest in chosen.values()]
    whole = None
    if refit:
        whole = grown(np.ones(len(X), dtype=bool), limits).predict(X_eval, *limits)
    return Members(
        params=dict(GRID[best]),
        held_out=[forest.predict(X[group.fold == f], *limits) for f, forest in chosen.items()],
        scored=scored,
        probability=scored,
        whole=whole,
    )


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _grow_all(
    ranks: Ranks,
    levels: FloatArray,
    correct: NDArray[np.bool_],
    balanced: bool,
    max_depth: int,
    min_split: int,
    seed: int,
    links: Links,
    threshold: FloatArray,
    value: FloatArray,
    size: Links,
) -> Ints:
    n = len(correct)
    offset = np.zeros(N_TREES + 1, np.int64)
    drawn = np.empty(n, np.int64)
    forest = seeded(seed)
    for t in range(N_TREES):
        tree_seed = below(forest, _SEEDS)
        stream = seeded(tree_seed)
        drawn[:] = 0
        n1 = 0
        for _ in range(n):
            row = below(stream, n)
            drawn[row] += 1 << 16 if correct[row] else 1
            n1 += correct[row]
        weights = (1.0, 1.0)
        if balanced:
            weights = (n / (2.0 * max(n - n1, 1)), n / (2.0 * max(n1, 1)))
        splitter = below(seeded(tree_seed), _SEEDS)
        a = offset[t]
        offset[t + 1] = a + grow(
            ranks, levels, drawn, weights, max_depth, min_split, splitter,
            links[a:], threshold[a:], value[a:], size[a:],
        )  # fmt: skip
    return offset


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _predict(
    X: Floats,
    offset: Ints,
    links: Links,
    threshold: FloatArray,
    value: FloatArray,
    size: Links,
    max_depth: int,
    min_split: int,
) -> FloatArray:
    m = len(X)
    total = np.zeros(m)
    node = np.empty(_BLOCK, np.int32)
    most = np.max(offset[1:] - offset[:-1])
    depth, pruned, cut = np.empty(most, np.int32), np.empty(most, np.int32), np.empty(most)
    for t in range(len(offset) - 1):
        a = offset[t]
        levels, depth[0] = 0, 0
        for i in range(offset[t + 1] - a):
            pruned[i], cut[i] = links[a + i], threshold[a + i]
            child = links[a + i] >> 8
            if child == i:
                continue
            depth[child] = depth[child + 1] = depth[i] + 1
            # Both limits only tighten downwards, so whatever still splits is reached.
            if depth[i] >= max_depth or size[a + i] < min_split:
                pruned[i], cut[i] = i << 8, np.inf
            else:
                levels = max(levels, depth[i] + 1)
        for first in range(0, m, _BLOCK):
            block = min(_BLOCK, m - first)
            node[:] = 0
            for _ in range(levels):
                for r in range(block):
                    link = pruned[node[r]]
                    x = X[first + r, link & 255]
                    node[r] = (link >> 8) + (x > cut[node[r]])
            for r in range(block):
                total[first + r] += value[a + node[r]]
    return total / (len(offset) - 1)
