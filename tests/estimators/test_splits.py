"""Splits are stratified, disjoint and drawn from nothing but seed, name and labels."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from estimators.splits import HELD_OUT, N_FOLDS, draw_folds, table_folds, trainable_folds
from estimators.table import FeatureTable

labels = st.lists(st.integers(0, 1), min_size=2, max_size=300).map(lambda y: np.array(y, float))


@given(labels)
@example(np.repeat([0.0, 1.0, 0.0], [100, 90, 110]))
def test_shares_are_stratified_to_within_a_row(y):
    fold = draw_folds(y, "b", 1)
    n = len(y)
    assert np.sum(fold == HELD_OUT) == max(1, n // 5)
    for part, share in [(HELD_OUT, 0.2), *((f, 0.16) for f in range(N_FOLDS))]:
        assert abs(y[fold == part].sum() - share * y.sum()) < 2


@pytest.mark.parametrize("seed", [0, 42])
def test_draw_repeats_and_depends_on_the_seed_and_name(seed):
    y = np.repeat([0.0, 1.0], 50)
    assert np.array_equal(draw_folds(y, "b", seed), draw_folds(y, "b", seed))
    assert not np.array_equal(draw_folds(y, "b", seed), draw_folds(y, "b", seed + 1))
    assert not np.array_equal(draw_folds(y, "b", seed), draw_folds(y, "c", seed))


def test_a_benchmark_keeps_its_folds_whatever_else_is_in_the_table(table):
    whole = table_folds(table, 42)
    kept = table.group >= 3
    part = FeatureTable(
        "part",
        table.benchmarks[3:],
        table.features,
        table.X[kept],
        table.y[kept],
        table.group[kept] - 3,
    )
    assert np.array_equal(whole[kept], table_folds(part, 42))


def test_one_row_cannot_be_split():
    with pytest.raises(ValueError, match="lonely has 1 scored response"):
        draw_folds(np.ones(1), "lonely", 42)


def test_folds_that_cannot_train_are_named():
    y = np.array([1.0, 0, 0, 0, 0, 0])
    fold = np.array([0, 0, 1, 2, 3, 3], dtype=np.int8)
    # Outside fold 0 there is no correct row left, and fold 4 is empty.
    assert trainable_folds(y, fold) == [1, 2, 3]
