"""The results of an experiment: tables and figures for people, from the splits of its models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
import pyarrow as pa

from estimators.config import DEFAULT
from estimators.intervals import unseen
from estimators.sweep import prepare
from tasks.signals.features import Joined
from tasks.storage.store import Store
from tasks.sweeps.figures import accuracy_figure, density_figure, size_figure
from tasks.sweeps.shared import over, shared_benchmarks
from tasks.sweeps.summary import SHOWN, by_size, estimates, markdown, named_compositions, split_of

#: Columns of the comparison: AUROC and calibration error are pooled over a model's own benchmarks.
_COMPARED = tuple(name for name in SHOWN if not name.startswith(("auroc", "ece")))


@dataclass(frozen=True)
class Results:
    """What a sweep says, ready to print, to draw and to log.

    Parameters
    ----------
    estimates : DataFrame
        Estimated beside true accuracy a model and benchmark, for ``estimator`` trained on the
        model's ``composition``; columns as :func:`tasks.sweeps.summary.estimates`.
    summary : DataFrame
        Medians by estimator and k, as :func:`tasks.sweeps.summary.by_size`.
    figures : mapping of file name to PNG
    notes : mapping of model to notes
    shared : tuple of str, optional
        Benchmarks that all models have, where some lack any; ``None`` where all have the same.
    compared : DataFrame
        Medians as in ``summary`` over the shared benchmarks; empty where ``shared`` is ``None`` or
        leaves nothing to compare.
    """

    estimator: str
    compositions: Mapping[str, tuple[str, ...]]
    estimates: pd.DataFrame
    summary: pd.DataFrame
    figures: Mapping[str, bytes]
    notes: Mapping[str, tuple[str, ...]]
    shared: tuple[str, ...] | None = None
    compared: pd.DataFrame = field(default_factory=pd.DataFrame)

    def text(self) -> str:
        """The tables as Markdown, and what is missing."""
        parts = [f"### Estimated and true accuracy\n\n{self.caption}\n\n{markdown(self.estimates)}"]
        parts += [f"### Sweep: medians over compositions\n\n{markdown(self.medians)}"]
        if self.shared is not None:
            parts += [f"### Compared over what all models have\n\n{self._comparison()}"]
        return "\n\n".join(parts) + "\n"

    def _comparison(self) -> str:
        """Scores over the shared benchmarks; the others are each model's own."""
        if self.compared.empty:
            return "No two benchmarks are shared by all models, so their scores are not comparable."
        first = (
            "Some models lack benchmarks, so the scores above are over different ones. Over "
            f"{', '.join(self.shared or ())}, which all models have:"
        )
        return f"{first}\n\n{markdown(self.compared[list(_COMPARED)])}"

    @property
    def caption(self) -> str:
        """What the estimates come from."""
        trained = "; ".join(f"{' + '.join(c)} ({m})" for m, c in self.compositions.items())
        return f"{self.estimator} trained on {trained}"

    @property
    def medians(self) -> pd.DataFrame:
        """The columns of the summary that people compare first."""
        return self.summary[list(SHOWN)]

    def write(self, store: Store, name: str, report: str) -> str:
        """Write tables, figures and the report's HTML under ``results/NAME``; returns that folder.

        It is named as a person would open it.
        """
        folder = f"results/{name}"
        store.write_bytes(f"{folder}/results.md", self.text().encode())
        store.write_bytes(f"{folder}/estimates.csv", self.estimates.to_csv(index=False).encode())
        store.write_bytes(f"{folder}/summary.csv", self.summary.to_csv(index=False).encode())
        store.write_bytes(f"{folder}/report.html", report.encode())
        for file, png in self.figures.items():
            store.write_bytes(f"{folder}/{file}", png)
        return store.local_path(folder)


def results(
    splits: Mapping[str, pa.Table], joined: Mapping[str, Joined], estimator: str, seed: int
) -> Results:
    """Tables and figures of a sweep.

    Parameters
    ----------
    splits, joined : mappings of model name to split table and feature table
    estimator : str
        Whose estimates are shown benchmark by benchmark, trained on the model's extremes: its
        easiest and its hardest benchmark. Where no pair was swept, the first composition stands in.
        The default estimator comes with its 90 % interval on each unseen benchmark.
    seed : int
        Of the sweep, which fixes the training shares.
    """
    shown, chosen = {}, {}
    for model, table in splits.items():
        pairs = named_compositions(table)
        first = tuple(table["composition"][0].as_py())
        chosen[model] = pairs.get("extremes", first)
        shown[model] = split_of(table, estimator, chosen[model])
    frames = []
    for model, split in shown.items():
        bounds = _bounds(joined[model], split, seed) if estimator == DEFAULT.name else {}
        frames.append(estimates(split, bounds).assign(model=model))
        shown[model] = {**split, "bounds": bounds}
    listed = pd.concat(frames, ignore_index=True)
    listed.insert(0, "model", listed.pop("model"))
    summary = pd.concat([by_size(t) for t in splits.values()], ignore_index=True)
    shared = shared_benchmarks(joined)
    restricted = [] if shared is None else [over(table, shared) for table in splits.values()]
    medians = [by_size(table) for table in restricted if len(table)]
    compared = pd.concat(medians, ignore_index=True) if medians else pd.DataFrame()
    largest = {
        model: (j.table.X[:, j.table.columns(["max"])[0]], j.table.y) for model, j in joined.items()
    }
    figures = {
        "accuracy.png": accuracy_figure(shown),
        "max_entropy.png": density_figure(largest),
        "sizes.png": size_figure(summary),
    }
    notes = {model: j.notes for model, j in joined.items()}
    return Results(estimator, chosen, listed, summary, figures, notes, shared, compared)


def _bounds(joined: Joined, split: Mapping[str, Any], seed: int) -> dict[str, tuple[float, float]]:
    """Interval of the default estimator on each unseen benchmark of a split."""
    found = unseen(prepare(joined.table, seed), split["composition"])
    return {name: (one.low, one.high) for name, one in found.items()}
