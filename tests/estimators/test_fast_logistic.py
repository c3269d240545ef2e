"""Compiled L1 logistic regression against liblinear and against its optimality conditions."""

import numpy as np
import pytest
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from estimators.fast.logistic import class_weights, fit_path

COSTS = np.array([0.5, 2.0, 10.0])


def problem(n: int, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Standardised features, correlated as summaries of one trace are."""
    rng = np.random.default_rng(seed)
    y = (rng.random(n) < share).astype(float)
    X = 0.7 * rng.normal(size=(n, 1)) + 0.5 * rng.normal(size=(n, 11)) - 0.4 * y[:, None]
    return (X - X.mean(axis=0)) / X.std(axis=0), y


@pytest.mark.parametrize("balanced", [False, True])
@pytest.mark.parametrize(("n", "share"), [(60, 0.5), (500, 0.1), (500, 0.02)])
def test_probabilities_are_liblinears(n, share, balanced):
    X, y = problem(n, share, seed=n)
    with_intercept = np.vstack([X.T, np.ones(n)])
    path = fit_path(with_intercept, y, class_weights(y, balanced), COSTS)
    for cost, w in zip(COSTS, path, strict=True):
        oracle = LogisticRegression(
            solver="liblinear",
            l1_ratio=1.0,
            C=cost,
            tol=1e-8,
            max_iter=10_000,
            class_weight="balanced" if balanced else None,
        ).fit(X, y)
        assert np.allclose(expit(w @ with_intercept), oracle.predict_proba(X)[:, 1], atol=1e-4)


@pytest.mark.parametrize("seed", range(4))
def test_weights_are_optimal(seed):
    X, y = problem(300, 0.2, seed)
    X = np.vstack([X.T, np.ones(300)])
    for cost, w in zip(COSTS, fit_path(X, y, np.ones(300), COSTS), strict=True):
        gradient = cost * X @ (expit(w @ X) - y)
        zero = w == 0
        assert np.allclose(gradient[~zero], -np.sign(w[~zero]), atol=1e-3)
        assert np.all(np.abs(gradient[zero]) <= 1 + 1e-3)


def test_start_of_the_path_does_not_matter():
    X, y = problem(300, 0.2, 9)
    X = np.vstack([X.T, np.ones(300)])
    warm = fit_path(X, y, np.ones(300), COSTS)[-1]
    cold = fit_path(X, y, np.ones(300), COSTS[-1:])[0]
    assert np.allclose(expit(warm @ X), expit(cold @ X), atol=1e-5)


def test_feature_that_vanishes_gets_no_weight():
    X, y = problem(100, 0.5, 3)
    X[:, 4] = 0.0
    w = fit_path(np.vstack([X.T, np.ones(100)]), y, np.ones(100), COSTS)
    assert np.all(w[:, 4] == 0)
    assert np.all(np.isfinite(w))


def test_balanced_classes_weigh_the_same():
    y = np.array([1.0, 0, 0, 0])
    weight = class_weights(y, balanced=True)
    assert weight[y == 1].sum() == pytest.approx(weight[y == 0].sum())
    assert weight.sum() == pytest.approx(len(y))
