"""Evaluate estimators over compositions: arrays in, rows out.

Each composition is evaluated by itself and whatever it draws is seeded by its names, so rows do
not depend on how compositions are dealt to workers.
"""

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from estimators import baselines, calibration, ensemble
from estimators.config import CLASSIFIERS, EstimatorConfig
from estimators.fast import predict as fast
from estimators.fast.ranks import auroc
from estimators.group import Prediction, TrainingGroup
from estimators.results import Scoring, SplitResult
from estimators.splits import HELD_OUT, table_folds
from estimators.table import FeatureTable

__all__ = ["PATHS", "Path", "Prepared", "SplitResult", "evaluate", "prepare", "training_group"]

Path = Literal["fast", "exact", "reference"]


def _reference(configs: Sequence[EstimatorConfig], group: TrainingGroup) -> list[Prediction]:
    return [calibration.predict(config, group) for config in configs]


PATHS: dict[Path, Callable[[Sequence[EstimatorConfig], TrainingGroup], list[Prediction]]] = {
    "fast": fast.predict,
    "exact": partial(fast.predict, exact=True),
    "reference": _reference,
}


@dataclass(frozen=True, eq=False)
class Prepared:
    """What all compositions of one model share; arrays only, so that workers can map it.

    Parameters
    ----------
    table : FeatureTable
        Rows sorted by benchmark, in their given order within each.
    fold : ndarray of shape (n,), int8
        Of `estimators.splits.draw_folds`.
    seed : int
        Of everything drawn.
    """

    table: FeatureTable
    fold: NDArray[np.int8]
    seed: int


def prepare(table: FeatureTable, seed: int = 42) -> Prepared:
    """Draw the splits of one model.

    Raises
    ------
    ValueError
        If there are fewer than two benchmarks, or one has fewer than two rows.
    """
    if len(table.benchmarks) < 2:
        raise ValueError(f"{table.model}: a sweep needs at least 2 benchmarks to leave one unseen")
    order = np.argsort(table.group, kind="stable")
    table = FeatureTable(
        table.model,
        table.benchmarks,
        table.features,
        table.X[order],
        table.y[order],
        table.group[order],
    )
    return Prepared(table, table_folds(table, seed), seed)


def evaluate(
    prepared: Prepared,
    configs: Sequence[EstimatorConfig],
    compositions: Sequence[tuple[str, ...]],
    path: Path = "fast",
) -> list[SplitResult]:
    """Train every estimator on every composition.

    Parameters
    ----------
    prepared : Prepared
        Of one model.
    configs : sequence of EstimatorConfig
        Estimators.
    compositions : sequence of tuple of str
        Training benchmarks; at least one of the table must stay unseen.
    path : {"fast", "exact", "reference"}
        Compiled classifiers; the same with the forest's grid scored on scikit-learn's own draws
        for each point, so that it chooses as scikit-learn does; or scikit-learn itself.

    Returns
    -------
    list of SplitResult
        Composition by composition, configurations in the order given. A row is bit for bit the
        same whichever compositions it is evaluated with.

    Raises
    ------
    ValueError
        If a benchmark or feature is not in the table, or no benchmark is unseen.
    """
    return [row for names in compositions for row in _composition(prepared, configs, names, path)]


def training_group(
    prepared: Prepared, composition: Sequence[str], features: Sequence[str]
) -> TrainingGroup:
    """Return what an estimator that sees `features` is fitted on and scores.

    The rows to score are those outside the training share, in the order of the prepared table.
    """
    fitted, columns = training_rows(prepared, composition), prepared.table.columns(features)
    names = (str(prepared.seed), *sorted(composition))
    return TrainingGroup(
        X=prepared.table.X[np.ix_(fitted, columns)],
        y=prepared.table.y[fitted],
        fold=prepared.fold[fitted],
        X_eval=prepared.table.X[np.ix_(~fitted, columns)],
        seed=zlib.crc32("\0".join(names).encode()),
    )


def training_rows(prepared: Prepared, composition: Sequence[str]) -> NDArray[np.bool_]:
    """Return a mask, shape (n,), of the training shares of a composition's benchmarks.

    Raises
    ------
    ValueError
        If a benchmark is not in the table, or no benchmark is unseen.
    """
    members = prepared.table.indices(composition)
    return np.isin(prepared.table.group, members) & (prepared.fold != HELD_OUT)


def _composition(
    prepared: Prepared, configs: Sequence[EstimatorConfig], names: tuple[str, ...], path: Path
) -> list[SplitResult]:
    names = _checked(prepared.table, names)
    fitted = training_rows(prepared, names)
    y, m = prepared.table.y[fitted], int(np.sum(~fitted))
    if 0 < y.sum() < len(y):
        predictions, status = _predictions(prepared, configs, names, path), "ok"
    else:
        flat = Prediction(baselines.constant(y, m), np.full(m, np.nan), {})
        predictions, status = [flat] * len(configs), "single_class"
    scoring = Scoring(prepared.table, names, ~fitted, len(y), status)
    return scoring.results(configs, predictions, auroc)


def _checked(table: FeatureTable, names: tuple[str, ...]) -> tuple[str, ...]:
    table.indices(names)
    if not names or len(set(names)) != len(names) or len(names) == len(table.benchmarks):
        raise ValueError(
            f"{table.model}: a composition is one or more distinct benchmarks and leaves at least "
            f"one unseen, got {names}"
        )
    return tuple(sorted(names))


def _predictions(
    prepared: Prepared, configs: Sequence[EstimatorConfig], names: tuple[str, ...], path: Path
) -> list[Prediction]:
    found: dict[EstimatorConfig, Prediction] = {}
    for features in dict.fromkeys(config.features for config in configs):
        group = training_group(prepared, names, features)
        alike = [config for config in configs if config.features == features]
        trained = [config for config in alike if config.family in CLASSIFIERS]
        found |= {c: _baseline(c, group) for c in alike if c.family not in CLASSIFIERS}
        found |= zip(trained, PATHS[path](trained, group), strict=True)
    return [found[config] for config in configs]


def _baseline(config: EstimatorConfig, group: TrainingGroup) -> Prediction:
    if config.family == "constant":
        p = baselines.constant(group.y, len(group.X_eval))
        return Prediction(p, np.full(len(p), np.nan), {})
    if config.family == "ensemble":
        return Prediction(*ensemble.predict(group.X, group.y, group.X_eval, config.features), {})
    # Entropy is uncertainty: its negative ranks the likely correct first.
    confidence, scored = -group.X[:, 0], -group.X_eval[:, 0]
    return Prediction(baselines.atc(confidence, group.y, scored), scored, {})
