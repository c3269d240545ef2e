"""What a feature table, a composition and a configuration refuse, and how they say it."""

from math import comb

import numpy as np
import pytest

from entropy.profile import FEATURES
from estimators.compositions import compositions, named
from estimators.config import NAMES, V1_GRID, parse
from estimators.table import FeatureTable

GOOD = {
    "model": "m",
    "benchmarks": ("a", "b"),
    "features": ("mean", "max"),
    "X": np.ones((3, 2)),
    "y": np.array([0, 1, 1]),
    "group": np.array([0, 0, 1]),
}


def bad(**change):
    return FeatureTable(**{**GOOD, **change})


def test_table_normalises_its_arrays():
    table = FeatureTable(**GOOD)
    assert table.y.dtype == np.float64
    assert table.columns(["max", "mean"]).tolist() == [1, 0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"X": np.array([[1, 1], [1, np.nan], [1, 1]])}, "m: max of a is nan at row 1"),
        ({"y": np.array([0, 1, 0.5])}, "label of b is 0.5 at row 2"),
        ({"group": np.array([0, 0, 0])}, "no scored response in b"),
        ({"group": np.array([0, 0, 2])}, "group must index the 2 benchmarks"),
        ({"benchmarks": ("b", "a")}, "must be sorted"),
        ({"benchmarks": ("a", "a")}, "duplicate benchmark names: a"),
        ({"features": ("max", "max")}, "duplicate feature names: max"),
        ({"X": np.ones((3, 1))}, r"X has shape \(3, 1\), expected \(3, 2\)"),
        ({"y": np.ones(2)}, "shape"),
    ],
)
def test_table_names_what_is_wrong(change, message):
    with pytest.raises(ValueError, match=message):
        bad(**change)


def test_unknown_column_names_what_there_is():
    with pytest.raises(ValueError, match="no feature sum; the table has mean, max"):
        FeatureTable(**GOOD).columns(["sum"])


def test_compositions_are_exhaustive_and_sorted():
    names = [f"b{i}" for i in range(9)]
    found = compositions(reversed(names), [1, 2, 3, 4])
    assert len(found) == len(set(found)) == sum(comb(9, k) for k in (1, 2, 3, 4)) == 255
    assert all(list(group) == sorted(group) for group in found)
    assert found[:2] == [("b0",), ("b1",)]


@pytest.mark.parametrize("k", [0, -1, 3, 4])
def test_composition_size_must_leave_one_unseen(k):
    with pytest.raises(ValueError, match=rf"k = {k} with 3 benchmarks"):
        compositions("abc", [1, k])


def test_named_pairs():
    accuracy = {"a": 0.9, "b": 0.1, "c": 0.5, "d": 0.4}
    assert named("abcd", accuracy) == {"extremes": ("a", "b"), "intermediate": ("c", "d")}
    published = {"GSM8K": 0.5, "OlympiadBench": 0.4, "a": 0.9, "b": 0.1}
    assert named(published, published)["extremes"] == ("GSM8K", "OlympiadBench")
    with pytest.raises(ValueError, match="two benchmarks"):
        named("a", accuracy)


def test_every_name_parses_to_itself():
    assert all(parse(name).name == name for name in NAMES)
    assert len(NAMES) == 3 * 3 * 2 + len(FEATURES) + 2


def test_grid_is_the_twelve_of_the_study():
    assert len(set(V1_GRID)) == 12
    assert {c.calibration for c in V1_GRID} == {"isotonic", "none"}
    assert parse("forest-isotonic-balanced") in V1_GRID


def test_unknown_estimator_lists_near_matches_and_all():
    with pytest.raises(ValueError, match="did you mean forest-isotonic") as error:
        parse("forest-isotonik")
    assert all(name in str(error.value) for name in NAMES)
