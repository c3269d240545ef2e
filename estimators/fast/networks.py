"""The networks of one training group: every shape of the grid on every fold, and one on all."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from estimators.classifiers import GRIDS, can_stop_early, classifier, oversample
from estimators.fast import network
from estimators.fast.members import Members, best_point
from estimators.group import TrainingGroup
from estimators.table import FloatArray

_SHAPES: list[tuple[int, ...]] = GRIDS["mlp"]["hidden_layer_sizes"]

# P(correct) of features of shape (d, m), a feature a row.
Predictor = Callable[[network.Floats], FloatArray]


def fit_members(group: TrainingGroup, balanced: bool, refit: bool, exact: bool) -> Members:
    """Tune and fit the networks of a training group; see `Members`. Scores are P(correct).

    Always exact.
    """
    X, X_eval = (np.ascontiguousarray(side.T, dtype=np.float32) for side in group.scaled)
    nets = _Trainer(group, balanced, X)
    fitted = {
        f: [nets.fit(group.fold != f, s) for s in range(len(_SHAPES))] for f in group.trainable
    }
    held = {f: np.array([p(X[:, group.fold == f]) for p in nets_f]) for f, nets_f in fitted.items()}
    best = best_point(group, held, len(_SHAPES))
    scored = [nets_f[best](X_eval) for nets_f in fitted.values()]
    whole = nets.fit(np.ones(len(group.y), dtype=bool), best)(X_eval) if refit else None
    return Members(
        params={"hidden_layer_sizes": _SHAPES[best]},
        held_out=[held[f][best] for f in fitted],
        scored=scored,
        probability=scored,
        whole=whole,
    )


class _Trainer:
    """Trains any shape on any rows of one group; starting weights are drawn once a shape."""

    def __init__(self, group: TrainingGroup, balanced: bool, X: network.Floats) -> None:
        self.group, self.balanced, self.X = group, balanced, X
        self.units = [np.array([len(X), *shape, 1]) for shape in _SHAPES]
        self.start = [network.initial(units, group.seed) for units in self.units]

    def fit(self, rows: NDArray[np.bool_], shape: int) -> Predictor:
        """Train shape number `shape` of the grid on `rows`, a mask over the group."""
        chosen = np.flatnonzero(rows)
        if self.balanced:
            chosen = chosen[oversample(self.group.y[chosen], self.group.seed)]
        y = self.group.y[chosen]
        if not can_stop_early(y):
            return self._reference(rows, shape)
        X = np.ascontiguousarray(self.X[:, chosen])
        weights = network.train(X, y.astype(np.float32), self.units[shape], *self.start[shape])

        def predict(side: network.Floats) -> FloatArray:
            p = network.predict(weights, self.units[shape], np.ascontiguousarray(side))
            return p.astype(np.float64)

        return predict

    def _reference(self, rows: NDArray[np.bool_], shape: int) -> Predictor:
        # A handful of rows, trained without early stopping: not worth a compiled twin.
        model = classifier("mlp", self.balanced, self.group.seed)
        model.set_params(hidden_layer_sizes=_SHAPES[shape])
        model.fit(self.X[:, rows].T.astype(np.float64), self.group.y[rows])
        return lambda side: model.predict_proba(side.T.astype(np.float64))[:, 1]
