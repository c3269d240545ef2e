"""A registered estimator on files: estimated accuracy of every slice of someone's own responses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from tasks.errors import SentinelError
from tasks.records import KEY
from tasks.signals.profile import check_profiles, profile_file
from tasks.tables import read_rows
from tasks.tracking.estimator import ABOUT, TrainedEstimator
from tasks.tracking.registry import CHAMPION, load_registered

_REGISTERED = "models:/"
_RENAMED = {
    "slice": "benchmark",
    "slice_responses": "n",
    "slice_accuracy": "estimate",
    "slice_low": "low",
    "slice_high": "high",
}


@dataclass(frozen=True)
class Estimates:
    """What an estimator says of a file.

    Parameters
    ----------
    slices : DataFrame
        ``benchmark, n, estimate, low, high``, a row a slice in the order of their names.
    model : str
        The language model whose labelled responses the estimator was trained on.
    about : mapping
        What else is known of its training.
    level : float
        Of the intervals.
    without_tokens : int
        Responses that have no statistics and do not count.
    """

    slices: pd.DataFrame
    model: str
    about: Mapping[str, Any]
    level: float
    without_tokens: int

    def document(self) -> dict[str, Any]:
        """For programs."""
        return {
            "model": self.model,
            "trained_on": dict(self.about),
            "level": self.level,
            "without_tokens": self.without_tokens,
            "slices": self.slices.to_dict("records"),
        }

    def table(self) -> pa.Table:
        """For a file; every row with the level of its interval."""
        return pa.Table.from_pandas(self.slices.assign(level=self.level), preserve_index=False)


def open_estimator(where: str, tracking_uri: str) -> TrainedEstimator:
    """The estimator that ``models:/NAME@ALIAS``, ``models:/NAME/VERSION`` or a folder holds.

    Parameters
    ----------
    where : str
        ``models:/NAME`` alone is the version in use. A folder is that of
        :meth:`tasks.tracking.estimator.TrainedEstimator.save`, or a downloaded version that has it
        inside.
    tracking_uri : str
        MLflow server or database of registered ones.

    Raises
    ------
    SentinelError
        If there is none.
    """
    if where.startswith(_REGISTERED):
        name = where.removeprefix(_REGISTERED)
        name, _, alias = name.partition("@" if "@" in name else "/")
        return load_registered(tracking_uri, name, alias or CHAMPION)
    folder = Path(where)
    if not folder.is_dir():
        raise SentinelError(
            f"{where} is no folder of an estimator",
            "give models:/NAME@champion, or the folder that holds its files",
        )
    return TrainedEstimator.load(next(folder.rglob(ABOUT), folder / ABOUT).parent)


def estimate_file(
    estimator: TrainedEstimator,
    profiles: Path | None = None,
    traces: Path | None = None,
    level: float = 0.9,
) -> Estimates:
    """Estimate the accuracy of each slice (``benchmark``) of a file.

    Parameters
    ----------
    profiles, traces : path
        One of the two, as ``docs/files.md`` describes them. Statistics of traces are taken over as
        many candidates a token as those that the estimator was trained on.

    Raises
    ------
    SentinelError
        For a file that cannot be read or has no rows, a missing column, a statistic that is not a
        finite number (with its row), a slice without any token, or an impossible level.
    """
    if (profiles is None) == (traces is None):
        raise SentinelError("neither or both of --profiles and --traces", "give one of the two")
    if not 0 < level < 1:
        raise SentinelError(f"--level {level:g} is no probability", "give one such as 0.9")
    if profiles is not None:
        table = check_profiles(read_rows(profiles), str(profiles))
    else:
        table = profile_file(str(traces), estimator.top_k)
    frame = table.to_pandas()
    counted = frame[frame["n_tokens"] > 0]
    _check_finite(counted, estimator.training.features, str(profiles or traces))
    if empty := sorted(set(frame["benchmark"]) - set(counted["benchmark"])):
        raise SentinelError(
            f"{profiles or traces}: no response of {', '.join(empty)} has tokens",
            "leave that out: nothing can be said of it",
        )
    estimates = estimator.estimate(counted.rename(columns={"benchmark": "slice"}), level)
    slices = estimates.drop_duplicates("slice")[list(_RENAMED)].rename(columns=_RENAMED)
    return Estimates(
        slices.sort_values("benchmark", ignore_index=True),
        estimator.training.model,
        estimator.about,
        level,
        len(frame) - len(counted),
    )


def _check_finite(frame: pd.DataFrame, features: tuple[str, ...], source: str) -> None:
    bad = ~np.isfinite(frame[list(features)].to_numpy(np.float64))
    if bad.any():
        at, column = (int(i[0]) for i in np.nonzero(bad))
        row = frame.iloc[at]
        raise SentinelError(
            f"{source}, row {frame.index[at]} ({' / '.join(row[n] for n in KEY)}): "
            f"{features[column]} is {row[features[column]]}",
            "compute the profiles anew with `sentinel profile`, or drop that row",
        )
