"""Tables of a sensitivity experiment, for people and for files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa

from entropy.features import AS_RELEASED
from estimators.sweep import Prepared, prepare
from tasks.conf import BASE, Sensitivity
from tasks.errors import SentinelError
from tasks.jobs import jobs_of
from tasks.sensitivity import measure
from tasks.sensitivity.figure import sensitivity_figure
from tasks.signals.features import Joined
from tasks.storage.store import Store
from tasks.sweeps.summary import markdown
from tasks.sweeps.sweep import estimator_configs

#: Statistics whose AUROC stands in the first table; all are in ``statistics.csv``.
SHOWN = ("max", "sum", "mean", "nll_sum")


@dataclass(frozen=True)
class Found:
    """What a sensitivity experiment says, ready to print, to draw and to log.

    Parameters
    ----------
    estimator : str
        Whose estimates are shown: the first of the sweep's.
    overview : DataFrame
        A row a variant: accuracy, length, truncation, AUROC of ``SHOWN`` and of the estimator
        within benchmarks, and the estimator's AEE, trained on the variant itself and on the base.
    statistics : DataFrame
        As :func:`tasks.sensitivity.measure.statistics`.
    estimates : DataFrame
        As :func:`tasks.sensitivity.measure.estimates`.
    full : DataFrame
        Top-k entropy beside the full vocabulary's, a row a variant that measured it; may be empty.
    notes : mapping of variant to notes
    """

    name: str
    estimator: str
    overview: pd.DataFrame
    statistics: pd.DataFrame
    estimates: pd.DataFrame
    full: pd.DataFrame
    figures: Mapping[str, bytes]
    notes: Mapping[str, tuple[str, ...]]

    def text(self) -> str:
        """The tables as Markdown."""
        parts = [
            f"### {self.name}: what moves\n\n{self.caption}\n\n{markdown(self.overview)}",
            "### Means of the statistics, as multiples of the base's\n\n" + markdown(self.ratios),
        ]
        if len(self.full):
            parts.append(
                "### Entropy over the top k and over the whole vocabulary\n\n"
                + markdown(self.full, digits=4)
            )
        return "\n\n".join(parts) + "\n"

    @property
    def caption(self) -> str:
        """What the columns of the overview mean."""
        return (
            "AUROC is of right against wrong answers to the same benchmark; AEE is that of "
            f"{self.estimator} over the benchmarks, each estimated from labels of the others: of "
            "the variant's own answers, or of the base's."
        )

    @property
    def brief(self) -> pd.DataFrame:
        """The columns of the overview that fit a terminal."""
        return self.overview.drop(
            columns=["responses", "refused", "AUROC mean", "AUROC nll_sum", "bias own"]
        )

    @property
    def ratios(self) -> pd.DataFrame:
        """Mean of each statistic over that of the base, a row a variant; all but AS_RELEASED."""
        means = self.statistics.pivot_table(
            index="variant", columns="statistic", values="mean", sort=False
        )
        means = means.loc[self.overview["variant"]].drop(columns=list(AS_RELEASED), errors="ignore")
        return (means / means.loc[BASE]).reset_index()

    def files(self) -> dict[str, bytes]:
        """Tables and figures by the name of their file."""
        tables = {
            "overview": self.overview,
            "statistics": self.statistics,
            "estimates": self.estimates,
            "full": self.full,
        }
        csv = {f"{name}.csv": t.to_csv(index=False).encode() for name, t in tables.items()}
        return {"sensitivity.md": self.text().encode(), **csv, **self.figures}

    def write(self, store: Store) -> str:
        """Write the files under ``results/NAME``; returns that folder for a person."""
        folder = f"results/{self.name}"
        for file, content in self.files().items():
            store.write_bytes(f"{folder}/{file}", content)
        return store.local_path(folder)


def found(
    settings: Sensitivity,
    joined: Mapping[str, Joined],
    items: Mapping[str, pa.Table],
    store: Store,
) -> Found:
    """Measure the stored answers of all variants.

    Parameters
    ----------
    joined : mapping of variant to feature table
        From :func:`tasks.signals.features.join_jobs`, the base first.
    items : mapping of benchmark to items
        Those that were asked.

    Raises
    ------
    SentinelError
        If a benchmark of some variant is too small to train on.
    """
    sweep = settings.base.sweep
    configs = estimator_configs(sweep.estimators)
    shown = configs[0].name
    variants = {name: _prepared(name, one, sweep.seed) for name, one in joined.items()}
    statistics = measure.statistics({n: p.table for n, p in variants.items()})
    estimates = measure.estimates(variants, configs, sweep.path)
    rows, full = [], []
    for name, experiment in settings.experiments.items():
        jobs = jobs_of(experiment, experiment.models[0])
        table = variants[name].table
        row = {"variant": name, "accuracy": measure.accuracy(table)}
        row |= measure.answers(jobs, items, store)
        own = statistics[statistics["variant"] == name].set_index("statistic")["auroc_within"]
        row |= {f"AUROC {s}": own.get(s, np.nan) for s in SHOWN}
        row |= _scores(estimates, name, shown)
        rows.append(row)
        if settings.vocabulary and not experiment.keep_top_logprobs:
            labels = measure.labels_of(jobs, store)
            whole = measure.full_vocabulary(jobs, items, store, settings.vocabulary, labels)
            full += [{"variant": name, **whole}] if whole else []
    overview = pd.DataFrame(rows)
    return Found(
        settings.name,
        shown,
        overview,
        statistics,
        estimates,
        pd.DataFrame(full),
        {"sensitivity.png": sensitivity_figure(overview, statistics, shown)},
        {name: one.notes for name, one in joined.items()},
    )


def _prepared(name: str, joined: Joined, seed: int) -> Prepared:
    try:
        return prepare(joined.table, seed)
    except ValueError as error:
        raise SentinelError(f"variant {name!r}: {error}", "raise `limit`") from None


def _scores(estimates: pd.DataFrame, variant: str, estimator: str) -> dict[str, float]:
    """AUROC, AEE and mean signed error of one estimator on one variant, by kind of training."""
    part = estimates[(estimates["variant"] == variant) & (estimates["estimator"] == estimator)]
    found: dict[str, float] = {}
    for trained, rows in part.groupby("trained", sort=False):
        error = rows["estimate"] - rows["truth"]
        if trained == measure.TRAINED[0]:
            found["AUROC estimator"] = float(rows["auroc"].mean())
        found[f"AEE {trained}"] = float(error.abs().mean())
        found[f"bias {trained}"] = float(error.mean())
    return found
