"""The trained estimator as MLflow serves it. MLflow names this module as the model's loader.

The loader reads two plain files. A model from elsewhere may name any loader of its own, which
MLflow would run, so ``sentinel`` reads registered estimators by
:mod:`tasks.tracking.estimator` instead.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from tasks.tracking.estimator import TrainedEstimator


class Served:
    """What ``mlflow.pyfunc.load_model`` wraps."""

    def __init__(self, estimator: TrainedEstimator) -> None:
        self._estimator = estimator

    def predict(
        self, responses: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Estimates as :meth:`tasks.tracking.estimator.TrainedEstimator.estimate` gives them."""
        given = responses.dropna(axis="columns", how="all")
        return self._estimator.estimate(given, float((params or {}).get("level", 0.9)))


def _load_pyfunc(path: str) -> Served:
    """Called by MLflow with the folder of the model's data."""
    return Served(TrainedEstimator.load(Path(path)))
