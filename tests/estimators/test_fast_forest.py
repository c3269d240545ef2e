"""Compiled forests are scikit-learn's, tree by tree, when grown from the same seed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import RandomForestClassifier

from estimators.fast.forest import GRID, LIMITS, LOOSEST, Forest, fit, rank
from estimators.fast.mersenne import below, seeded
from estimators.fast.tree import best_cut


@given(st.lists(st.integers(-50, 50), min_size=1, max_size=200))
def test_ranks_keep_order_and_levels_keep_values(values):
    x = np.array(values, np.float32)
    ranks, levels = rank(x[:, None])
    assert np.array_equal(levels[0][ranks[0]], x)
    assert ranks.max() == len(np.unique(x)) - 1


def test_values_below_scikit_learns_resolution_share_a_rank():
    assert rank(np.array([[0.0], [5e-8], [1.0]], np.float32))[0].tolist() == [[0, 0, 1]]


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 3000))
def test_bootstrap_is_numpys(seed, n):
    state = seeded(seed)
    expected = np.random.RandomState(seed).randint(0, n, 700)
    assert [below(state, n) for _ in range(700)] == expected.tolist()


counts = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 4)).filter(any), min_size=2, max_size=12
).filter(lambda bins: np.all(np.sum(bins, axis=0) > 0))


@settings(deadline=None)
@given(counts, st.sampled_from([1.0, 3.5]))
def test_best_cut_is_the_best_of_all_cuts(bins, w1):
    size = len(bins)
    keys = np.array([i << 32 | n1 << 16 | n0 for i, (n0, n1) in enumerate(bins)])
    n0, n1 = (int(n) for n in np.sum(bins, axis=0))
    scratch = np.empty(size, np.int64)
    gain, cut = best_cut(keys, size, n0, n1, (1.0, w1), scratch, scratch.copy(), np.empty(size))
    weight = np.array(bins) * [1.0, w1]

    def impurity(part):
        return part.sum() - (part.sum(axis=0) ** 2).sum() / part.sum()

    every = [-impurity(weight[:i]) - impurity(weight[i:]) for i in range(1, size)]
    assert gain == pytest.approx(max(every))
    assert every[cut] == pytest.approx(max(every))


def pair(table, balanced: bool, point: int) -> tuple[np.ndarray, RandomForestClassifier, Forest]:
    train, test = np.arange(0, len(table.y), 2), np.arange(1, len(table.y), 2)
    X = table.X.astype(np.float32)
    oracle = RandomForestClassifier(
        **GRID[point], class_weight="balanced_subsample" if balanced else None, random_state=11
    ).fit(X[train], table.y[train])
    return X[test], oracle, fit(X[train], table.y[train], balanced, *LIMITS[point], 11)


@pytest.mark.parametrize("point", range(len(GRID)))
def test_forest_is_scikit_learns(table, point):
    X, oracle, forest = pair(table, False, point)
    expected = oracle.predict_proba(X)[:, 1]
    p = forest.predict(X, *LIMITS[point])
    nodes = [tree.tree_.node_count for tree in oracle.estimators_]
    # Cuts that tie but for rounding are rare where classes weigh the same.
    assert np.mean(np.diff(forest.offset) == nodes) > 0.95
    assert np.median(np.abs(p - expected)) < 1e-6
    assert np.corrcoef(p, expected)[0, 1] > 0.998


@pytest.mark.parametrize(("point", "least"), [(0, 0.999), (4, 0.99), (6, 0.97)])
def test_balanced_forest_is_scikit_learns_but_for_ties(table, point, least):
    X, oracle, forest = pair(table, True, point)
    p = forest.predict(X, *LIMITS[point])
    assert np.corrcoef(p, oracle.predict_proba(X)[:, 1])[0, 1] > least


def test_pruned_reading_is_a_tree_of_tighter_limits(table):
    X = table.X.astype(np.float32)
    forest = fit(X, table.y, False, *LOOSEST, 3)
    root = fit(X, table.y, False, 0, 2, 3)
    assert np.array_equal(forest.predict(X, 0, 2), root.predict(X, *LOOSEST))
    assert np.array_equal(forest.predict(X, 10, len(X)), root.predict(X, *LOOSEST))
    stump = fit(X, table.y, False, 1, 2, 3)
    assert np.array_equal(forest.predict(X, 1, 2), stump.predict(X, *LOOSEST))
    assert not np.array_equal(forest.predict(X, 1, 2), forest.predict(X, *LOOSEST))


def test_constant_features_are_passed_over(table):
    X = table.X.astype(np.float32).copy()
    X[:, [0, 3, 4, 7]] = 1.0
    oracle = RandomForestClassifier(max_depth=5, random_state=2).fit(X, table.y)
    p = fit(X, table.y, False, 5, 2, 2).predict(X, 5, 2)
    assert np.corrcoef(p, oracle.predict_proba(X)[:, 1])[0, 1] > 0.998


def test_too_many_rows_are_refused():
    with pytest.raises(ValueError, match="65536 training rows"):
        fit(np.zeros((2**16, 1), np.float32), np.zeros(2**16), False, 3, 2, 1)
