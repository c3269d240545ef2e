"""What an estimator is, and the names it goes by."""

from dataclasses import dataclass
from difflib import get_close_matches
from itertools import product
from typing import Literal, get_args

from entropy.profile import FEATURES

Family = Literal["forest", "logistic", "mlp", "atc", "constant", "ensemble"]
Calibration = Literal["isotonic", "sigmoid", "none"]

CLASSIFIERS: tuple[Family, ...] = ("forest", "logistic", "mlp")


@dataclass(frozen=True)
class EstimatorConfig:
    """One estimator of P(correct).

    Parameters
    ----------
    name : str
        As `parse` reads it.
    family : {"forest", "logistic", "mlp", "atc", "constant", "ensemble"}
        A classifier tuned on the paper's grid, a baseline, or the mean of both kinds.
    calibration : {"isotonic", "sigmoid", "none"}
        Map from the classifier's scores to probabilities; baselines take none.
    balanced : bool
        Whether both classes weigh the same in training.
    features : tuple of str
        Columns of the feature table that a classifier sees.
    score : str or None
        The one feature ATC thresholds; None for the other families.
    """

    name: str
    family: Family
    calibration: Calibration = "none"
    balanced: bool = False
    features: tuple[str, ...] = FEATURES
    score: str | None = None


def _classifier(family: Family, calibration: Calibration, balanced: bool) -> EstimatorConfig:
    name = f"{family}-{calibration}" + "-balanced" * balanced
    return EstimatorConfig(name, family, calibration, balanced)


_PUBLISHED: tuple[Calibration, ...] = ("isotonic", "none")
V1_GRID: tuple[EstimatorConfig, ...] = tuple(
    _classifier(*choice) for choice in product(CLASSIFIERS, _PUBLISHED, (False, True))
)

_BASELINES = (
    EstimatorConfig("constant", "constant", features=()),
    *(EstimatorConfig(f"atc-{f}", "atc", features=(f,), score=f) for f in FEATURES),
)
# Of `estimators.ensemble`: chosen as the platform's default, see docs/estimator.md.
DEFAULT = EstimatorConfig("ensemble", "ensemble")
_BY_NAME: dict[str, EstimatorConfig] = {
    config.name: config
    for config in (
        *(_classifier(*c) for c in product(CLASSIFIERS, get_args(Calibration), (False, True))),
        *_BASELINES,
        DEFAULT,
    )
}
NAMES: tuple[str, ...] = tuple(_BY_NAME)


def parse(name: str) -> EstimatorConfig:
    """Return the estimator called `name`.

    Classifiers are ``{forest,logistic,mlp}-{isotonic,sigmoid,none}[-balanced]``; baselines are
    ``atc-FEATURE`` and ``constant``; ``ensemble`` is the default of the platform.

    Raises
    ------
    ValueError
        If there is no such estimator; the message lists near matches and all names.
    """
    if name in _BY_NAME:
        return _BY_NAME[name]
    near = get_close_matches(name, NAMES, n=3, cutoff=0.5)
    hint = f"; did you mean {' or '.join(near)}?" if near else "."
    raise ValueError(f"unknown estimator {name!r}{hint} All names: {', '.join(NAMES)}")
