"""Intervals on the unseen benchmarks of a sweep."""

import pytest

from estimators.config import DEFAULT
from estimators.intervals import unseen
from estimators.sweep import evaluate, prepare
from tests.estimators import tables


@pytest.mark.parametrize("composition", [("b0",), ("b1", "b3"), ("b0", "b2", "b4")])
def test_estimates_are_those_of_the_sweep_and_lie_in_their_intervals(composition):
    table = tables.synthetic()
    composition = tuple(table.benchmarks[int(name[1])] for name in composition)
    prepared = prepare(table)
    (row,) = evaluate(prepared, [DEFAULT], [composition])
    found = unseen(prepared, composition)
    assert set(found) == set(table.benchmarks) - set(composition)
    for name, estimate in zip(row.benchmarks, row.estimate, strict=True):
        if name in found:
            assert found[name].estimate == pytest.approx(estimate, abs=1e-12)
            assert 0 <= found[name].low <= estimate <= found[name].high <= 1


def test_an_unknown_benchmark_is_named():
    with pytest.raises(ValueError, match="nowhere"):
        unseen(prepare(tables.synthetic()), ("nowhere",))
