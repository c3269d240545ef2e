"""What every family hands to calibration: classifiers fitted outside each fold, and on all rows."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from estimators.fast.ranks import auroc
from estimators.group import TrainingGroup
from estimators.table import FloatArray


@dataclass(frozen=True, eq=False)
class Members:
    """Fitted classifiers of one family, as the scores they give; lists follow `group.trainable`.

    Parameters
    ----------
    params : dict
        Chosen point of the grid.
    held_out : list of ndarray
        Score of each fold's own rows by the classifier fitted outside it: what a calibrator is
        fitted on.
    scored : list of ndarray of shape (m,)
        Score of the rows to estimate by each of those classifiers, in the calibrators' scale.
    probability : list of ndarray of shape (m,)
        The same as uncalibrated P(correct).
    whole : ndarray of shape (m,) or None
        Uncalibrated P(correct) by the classifier fitted on all rows, where it was asked for.
    """

    params: dict[str, object]
    held_out: list[FloatArray]
    scored: list[FloatArray]
    probability: list[FloatArray]
    whole: FloatArray | None


def best_point(group: TrainingGroup, held: Mapping[int, FloatArray], n_points: int) -> int:
    """Return the grid point of highest mean AUROC over the folds where it is defined.

    Parameters
    ----------
    group : TrainingGroup
        Gives labels and folds.
    held : mapping of int to ndarray of shape (n_points, rows of the fold)
        Scores of each trainable fold's rows at every point.
    n_points : int
        Size of the grid.

    Returns
    -------
    int
        The first such point; 0 where no fold has an AUROC.
    """
    total = np.zeros(n_points)
    for f in group.scorable:
        y = group.y[group.fold == f]
        total += [auroc(y, score) for score in held[f]]
    return int(np.argmax(total))
