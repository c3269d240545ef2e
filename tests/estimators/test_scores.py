"""Scores against hand-computed cases and their symmetries."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from estimators.baselines import atc, atc_threshold, constant
from estimators.scores import aee, auroc, calibration_error, spearman

CASES = Path(__file__).parent / "cases"
SCORES = json.loads((CASES / "scores.json").read_text())
ATC = json.loads((CASES / "atc.json").read_text())

FUNCTIONS = {
    "aee": lambda c: aee(c["estimate"], c["truth"]),
    "spearman": lambda c: spearman(c["estimate"], c["truth"]),
    "auroc": lambda c: auroc(np.array(c["y"]), np.array(c["score"])),
    "calibration_error": lambda c: calibration_error(np.array(c["y"]), np.array(c["p"])),
}


@pytest.mark.parametrize(
    ("name", "case"),
    [pytest.param(name, c, id=f"{name}: {c['why']}") for name in SCORES for c in SCORES[name]],
)
def test_score_by_hand(name, case):
    expected = np.nan if case["expected"] is None else case["expected"]
    assert FUNCTIONS[name](case) == pytest.approx(expected, abs=1e-12, nan_ok=True)


@pytest.mark.parametrize("case", ATC, ids=lambda c: c["why"])
def test_atc_by_hand(case):
    confidence, y = np.array(case["confidence"], float), np.array(case["y"], float)
    assert atc_threshold(confidence, y) == float(case["threshold"])
    assert atc(confidence, y, np.array(case["scored"], float)).tolist() == case["expected"]


def test_constant_is_the_training_accuracy():
    assert constant(np.array([1.0, 0, 0, 0]), 3).tolist() == [0.25] * 3


labelled = st.lists(
    st.tuples(st.integers(0, 1), st.integers(-3, 3)), min_size=2, max_size=40
).filter(lambda rows: len({y for y, _ in rows}) == 2)


@given(labelled)
def test_auroc_is_the_share_of_pairs_won(rows):
    y, score = np.array(rows, float).T
    gap = score[y == 1][:, None] - score[y == 0][None, :]
    assert auroc(y, score) == pytest.approx(np.mean((gap > 0) + 0.5 * (gap == 0)))


@given(labelled)
def test_auroc_is_antisymmetric_and_bounded(rows):
    y, score = np.array(rows, float).T
    assert 0 <= auroc(y, score) <= 1
    assert auroc(y, score) + auroc(y, -score) == pytest.approx(1)


def test_auroc_of_an_unranked_estimator_is_nan():
    assert np.isnan(auroc(np.array([0.0, 1.0]), np.array([np.nan, 1.0])))


@given(st.lists(st.floats(0, 1), min_size=2, max_size=12))
def test_spearman_ignores_monotone_maps(values):
    values = np.round(values, 6)
    expected = 1.0 if len(set(values)) > 1 else np.nan
    assert spearman(values, 3 * values + 1) == pytest.approx(expected, nan_ok=True)
