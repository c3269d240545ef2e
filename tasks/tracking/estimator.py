"""The trained default estimator as plain files: rows in Parquet, their description in JSON.

The default estimator is a function of its training rows (:mod:`estimators.intervals`), so these are
stored and it is fitted when it is loaded, in milliseconds. Nothing is pickled, so a file from a
stranger can be refused but cannot run code.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from estimators import baselines, ensemble
from estimators.config import DEFAULT
from estimators.intervals import estimate_slices
from estimators.table import FeatureTable
from tasks.errors import SentinelError
from tasks.signals.features import Joined
from tasks.signals.profile import profile_table
from tasks.storage.keys import digest

ROWS, ABOUT = "training.parquet", "estimator.json"
FORMAT = 1

#: Columns that hold a trace instead of its statistics, as in ``docs/files.md``.
TRACES = ("entropy", "top_logprobs")

#: Columns of an estimate, a row a response; those of the slice repeat in each of its rows.
OUTPUT = ("slice", "p_correct", "slice_accuracy", "slice_low", "slice_high", "slice_responses")


@dataclass(frozen=True, eq=False)
class TrainedEstimator:
    """The default estimator, trained on all labelled responses of one model.

    Parameters
    ----------
    training : FeatureTable
        Its features are those of the default estimator.
    about : dict
        What it was trained on, for people: experiment, judge, versions. ``top_k`` is how many
        candidates a token its statistics are over; 20 where it is not said.
    """

    training: FeatureTable
    about: dict[str, Any]

    @classmethod
    def of(cls, joined: Joined, about: dict[str, Any]) -> TrainedEstimator:
        """Train on every labelled row of a feature table."""
        table = joined.table
        columns = table.columns(DEFAULT.features)
        training = dataclasses.replace(table, features=DEFAULT.features, X=table.X[:, columns])
        return cls(training, about)

    @property
    def digest(self) -> str:
        """Digest of what determines its estimates."""
        return digest([FORMAT, DEFAULT.name, Joined(self.training, ()).digest])

    @property
    def top_k(self) -> int:
        """Candidates a token that its statistics are over."""
        return int(self.about.get("top_k", 20))

    def describe(self) -> str:
        """Markdown for the pages: what it was trained on, and what it can be asked."""
        t = self.training
        rows = np.bincount(t.group)
        rates = np.bincount(t.group, weights=t.y) / rows
        lines = [
            f"| {b} | {n} | {r:.3f} |" for b, n, r in zip(t.benchmarks, rows, rates, strict=True)
        ]
        facts = [f"- {key.replace('_', ' ')}: {value}" for key, value in self.about.items()]
        return "\n".join(
            [
                f"Estimates the accuracy of **{t.model}** on unlabelled responses from their "
                f"decoding entropy: the `{DEFAULT.name}` estimator on {len(t.y)} labelled "
                "responses. It holds for this model and for tasks like these.",
                "",
                *facts,
                "",
                "| trained on | responses | accuracy |",
                "|---|---|---|",
                *lines,
            ]
        )

    def save(self, folder: Path) -> None:
        """Write both files into ``folder``, which is made if need be."""
        folder.mkdir(parents=True, exist_ok=True)
        t = self.training
        names = [t.benchmarks[g] for g in t.group]
        columns = {"benchmark": pa.array(names), "correct": pa.array(t.y)}
        columns |= {f: pa.array(t.X[:, i]) for i, f in enumerate(t.features)}
        pq.write_table(pa.table(columns), folder / ROWS, compression="zstd")
        about = {"format": FORMAT, "estimator": DEFAULT.name, "model": t.model, "about": self.about}
        (folder / ABOUT).write_text(json.dumps(about, indent=2, sort_keys=True))

    @classmethod
    def load(cls, folder: Path) -> TrainedEstimator:
        """Read what :meth:`save` wrote.

        Raises
        ------
        SentinelError
            If a file is missing, damaged, of another format, or holds rows that cannot be used.
        """
        try:
            about = json.loads((folder / ABOUT).read_text())
            known = (about["format"], about["estimator"])
            if known != (FORMAT, DEFAULT.name):
                raise ValueError(f"format and estimator are {known}")
            table = pq.read_table(folder / ROWS)
            names, group = np.unique(table["benchmark"].to_pylist(), return_inverse=True)
            X = np.column_stack([table[f].to_numpy() for f in DEFAULT.features])
            y = table["correct"].to_numpy()
            benchmarks = tuple(map(str, names))
            training = FeatureTable(about["model"], benchmarks, DEFAULT.features, X, y, group)
            return cls(training, dict(about["about"]))
        except (OSError, KeyError, TypeError, ValueError, pa.ArrowException) as error:
            raise SentinelError(
                f"{folder} holds no estimator of this version: {error}",
                "register it anew: run its experiment again",
            ) from None

    def estimate(self, responses: pd.DataFrame, level: float = 0.9) -> pd.DataFrame:
        """Estimate single responses and the slices that they are from.

        Parameters
        ----------
        responses : DataFrame
            A row a response: the eleven statistics by name, or ``entropy`` (a list of nats a row),
            or ``top_logprobs`` (flattened, with their number a token in ``k``, if that is more than
            ``top_k``). ``slice`` names the slice of each row; without it all rows are one.
        level : float
            Of the intervals.

        Returns
        -------
        DataFrame
            Columns ``OUTPUT`` in the rows' order. ``p_correct`` averages to the slice's accuracy;
            for one answer it is a vote of six members. A response without tokens has none and does
            not count in its slice.

        Raises
        ------
        SentinelError
            For missing columns, a bad trace, a value that is not finite, or a slice without tokens.
        """
        X, kept = _features(responses, self.top_k)
        names = (
            responses["slice"].astype(str)
            if "slice" in responses
            else pd.Series(["all"] * len(responses))
        )
        slices, slice_of = np.unique(names.to_numpy()[kept], return_inverse=True)
        lost = sorted(set(names) - set(slices))
        if lost or not len(slices):
            raise SentinelError(
                f"slice {', '.join(lost) or 'all'} holds no response with tokens",
                "leave it out: nothing can be said of it",
            )
        try:
            found = estimate_slices(self.training, X[kept], slice_of, level)
        except ValueError as error:
            raise SentinelError(str(error), "mend the rows or the level") from None
        whole = dict(zip(slices, found, strict=True))
        p = np.full(len(responses), np.nan)
        p[kept] = self._votes(X[kept])
        of_slice = ("estimate", "low", "high", "n")
        repeated = [[getattr(whole[name], what) for name in names] for what in of_slice]
        columns = [names.to_numpy(), p, *repeated]
        return pd.DataFrame(dict(zip(OUTPUT, columns, strict=True)), index=responses.index)

    def _votes(self, X: NDArray[np.float64]) -> NDArray[np.float64]:
        t = self.training
        if not 0 < t.y.sum() < len(t.y):
            return baselines.constant(t.y, len(X))
        return ensemble.predict(t.X, t.y, X, t.features)[0]


def _features(responses: pd.DataFrame, top_k: int) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Statistics of each row over ``top_k`` candidates a token, and which rows have tokens."""
    given = [name for name in TRACES if name in responses and responses[name].notna().any()]
    if given:
        columns = [*given, *(name for name in ("k",) if name in responses)]
        table = pa.Table.from_pandas(responses[columns], preserve_index=False)
        keys = {
            "benchmark": ["traces"] * len(table),
            "item_id": [str(i) for i in range(len(table))],
        }
        for name, values in keys.items():
            table = table.append_column(name, pa.array(values))
        profiles = profile_table(table, "the traces given", top_k).to_pandas()
        return profiles[list(DEFAULT.features)].to_numpy(np.float64), (
            profiles["n_tokens"].to_numpy() > 0
        )
    missing = [name for name in DEFAULT.features if name not in responses]
    if missing:
        raise SentinelError(
            f"neither `entropy` nor `top_logprobs`, and no {', '.join(missing)}",
            "give traces, or the eleven statistics that `sentinel profile` writes",
        )
    X = responses[list(DEFAULT.features)].to_numpy(np.float64)
    return X, np.ones(len(X), dtype=bool)
