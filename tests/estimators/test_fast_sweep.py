"""The compiled sweep against the readable one, configuration by configuration."""

import numpy as np
import pytest

from estimators.compositions import compositions
from estimators.config import V1_GRID, parse
from estimators.sweep import SplitResult, evaluate, prepare

NAMES = [
    f"{family}-{calibration}{balance}"
    for family in ("logistic", "mlp")
    for calibration in ("isotonic", "sigmoid", "none")
    for balance in ("", "-balanced")
]


def pairs(table, names, groups, path="fast") -> list[tuple[SplitResult, SplitResult]]:
    prepared, configs = prepare(table), [parse(name) for name in names]
    both = (evaluate(prepared, configs, groups, path) for path in (path, "reference"))
    return list(zip(*both, strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_logistic_and_networks_agree_fit_by_fit(table, name):
    for fast, reference in pairs(table, [name], [("bench01",), ("bench00", "bench03")]):
        assert fast.best_params == reference.best_params
        assert fast.note == reference.note
        assert fast.estimate == pytest.approx(reference.estimate, abs=2e-3)
        assert fast.auroc == pytest.approx(reference.auroc, abs=2e-3, nan_ok=True)
        assert fast.truth == reference.truth


def test_exact_forest_chooses_and_estimates_as_scikit_learns(table):
    [(fast, reference)] = pairs(table, ["forest-isotonic"], [("bench01", "bench03")], "exact")
    assert fast.best_params == reference.best_params
    assert fast.estimate == pytest.approx(reference.estimate, abs=5e-3)
    assert fast.auroc == pytest.approx(reference.auroc, abs=5e-3)


def test_fast_forest_estimates_as_scikit_learns_but_for_near_ties_of_the_grid(table):
    [(fast, reference)] = pairs(table, ["forest-none"], [("bench01", "bench03")])
    same = fast.best_params == reference.best_params
    assert fast.estimate == pytest.approx(reference.estimate, abs=5e-3 if same else 0.05)
    assert fast.auroc_unseen == pytest.approx(reference.auroc_unseen, abs=0.02)


@pytest.mark.slow
def test_whole_grid_agrees_on_shared_traces(shared_table):
    groups = compositions(shared_table.benchmarks, [1, 2, 3])[::60]
    names = [config.name for config in V1_GRID]
    error = [a.aee_unseen - b.aee_unseen for a, b in pairs(shared_table, names, groups)]
    assert np.median(np.abs(error)) <= 0.005
    assert abs(np.median(error)) <= 0.001
