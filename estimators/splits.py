"""The training share and the folds of each benchmark.

They are drawn once a benchmark from its name, its labels and the seed, never from the composition,
so a row is in the same fold whatever it is trained with and whichever worker asks.
"""

import zlib

import numpy as np
from numpy.typing import NDArray

from estimators.table import FeatureTable, FloatArray

N_FOLDS = 5
HELD_OUT = -1


def draw_folds(y: FloatArray, benchmark: str, seed: int) -> NDArray[np.int8]:
    """Hold out a fifth of a benchmark and deal the rest into five folds, stratified by label.

    Rows are put in random order, then in label order; every fifth is held out and the others are
    dealt in turn (systematic sampling), so each share has the benchmark's accuracy to within a row.

    Parameters
    ----------
    y : ndarray of shape (n,)
        Labels, 0 or 1.
    benchmark : str
        Seeds the draw together with `seed` and n.
    seed : int
        Non-negative.

    Returns
    -------
    ndarray of shape (n,), int8
        `HELD_OUT` or the fold 0..4. With 1 < n < 5 one row is held out.

    Raises
    ------
    ValueError
        If n < 2: a benchmark needs a row to train on and one to hold out.
    """
    n = len(y)
    if n < 2:
        raise ValueError(
            f"{benchmark} has {n} scored response(s); a sweep needs at least 2 to train on one "
            "and hold one out"
        )
    rng = np.random.default_rng([seed, zlib.crc32(benchmark.encode()), n])
    order = np.lexsort((rng.random(n), y))
    held_out = np.arange(n) % 5 == min(4, n - 1)
    fold = np.full(n, HELD_OUT, dtype=np.int8)
    fold[order[~held_out]] = np.arange(n - held_out.sum()) % N_FOLDS
    return fold


def table_folds(table: FeatureTable, seed: int) -> NDArray[np.int8]:
    """Return `draw_folds` of every benchmark, as one array of shape (n,)."""
    fold = np.empty(len(table.y), dtype=np.int8)
    for index, benchmark in enumerate(table.benchmarks):
        rows = table.group == index
        fold[rows] = draw_folds(table.y[rows], benchmark, seed)
    return fold


def trainable_folds(y: FloatArray, fold: NDArray[np.int8]) -> list[int]:
    """Return the non-empty folds whose complement holds both classes.

    Parameters
    ----------
    y : ndarray of shape (n,)
        Labels of a training group.
    fold : ndarray of shape (n,)
        Fold of each row, 0..4.
    """
    return [f for f in range(N_FOLDS) if np.any(fold == f) and len(np.unique(y[fold != f])) == 2]
