"""Compiled calibrators and ranks against hand-computed cases and scikit-learn."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from estimators import scores
from estimators.fast import ranks
from estimators.fast.calibrate import isotonic, isotonic_fit, sigmoid

PAVA = json.loads((Path(__file__).parent / "cases" / "pava.json").read_text())

scored_rows = st.lists(
    st.tuples(st.integers(-8, 8).map(lambda v: v / 4), st.integers(0, 1)), min_size=1, max_size=60
).map(lambda rows: np.array(rows, dtype=float).T)


@pytest.mark.parametrize("case", PAVA, ids=lambda c: c["why"])
def test_isotonic_by_hand(case):
    knots, fit = isotonic_fit(np.array(case["x"], float), np.array(case["y"], float))
    assert knots.tolist() == case["knots"]
    assert fit.tolist() == pytest.approx(case["fit"])


@settings(deadline=None)
@given(scored_rows)
def test_isotonic_rises_and_is_idempotent_and_keeps_the_mean(rows):
    x, y = rows
    knots, fit = isotonic_fit(x, y)
    assert np.all(np.diff(fit) >= 0)
    assert np.allclose(isotonic_fit(knots, fit)[1], fit)
    assert isotonic(x, y, x).mean() == pytest.approx(y.mean())


@settings(deadline=None)
@given(scored_rows, st.lists(st.floats(-3, 3), min_size=1, max_size=20))
def test_isotonic_is_scikit_learns(rows, scored):
    x, y = rows
    oracle = IsotonicRegression(out_of_bounds="clip").fit(x, y).predict(scored)
    assert np.allclose(isotonic(x, y, np.array(scored)), oracle, atol=1e-9)


@pytest.mark.parametrize("share", [0.5, 0.05])
def test_sigmoid_is_scikit_learns(share):
    rng = np.random.default_rng(0)
    y = (rng.random(300) < share).astype(float)
    x = (y + rng.normal(size=300))[:, None]
    model = LogisticRegression().fit(x, y)
    oracle = CalibratedClassifierCV(FrozenEstimator(model), method="sigmoid").fit(x, y)
    expected = oracle.predict_proba(x)[:, 1]
    score = model.decision_function(x)
    assert np.allclose(sigmoid(score, y, score), expected, atol=1e-4)


@pytest.mark.parametrize("x", [[1.0, 2.0, 3.0, 4.0], [2.0, 2.0, 2.0, 2.0]])
@pytest.mark.parametrize("y", [[0.0, 0.0, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0]])
def test_sigmoid_stays_finite_where_classes_separate_or_miss(x, y):
    p = sigmoid(np.array(x), np.array(y), np.array([-9.0, 2.0, 9.0]))
    assert np.all(np.isfinite(p) & (p >= 0) & (p <= 1))


@settings(deadline=None)
@given(scored_rows)
def test_compiled_auroc_is_the_readable_one(rows):
    score, y = rows
    assert ranks.auroc(y, score) == pytest.approx(scores.auroc(y, score), nan_ok=True)


def test_compiled_auroc_of_an_unranked_estimator_is_nan():
    assert np.isnan(ranks.auroc(np.array([0.0, 1.0]), np.array([np.nan, 1.0])))
