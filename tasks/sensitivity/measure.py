"""The numbers of a sensitivity experiment, each variant's beside those of its base."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from entropy.bounds import entropy_bounds
from entropy.profile import FEATURES, profile
from entropy.trace import Ragged
from estimators.baselines import confidence
from estimators.config import EstimatorConfig
from estimators.scores import auroc
from estimators.sweep import Path, Prepared
from estimators.table import FeatureTable, FloatArray
from estimators.transfer import transfer
from tasks.conf import BASE
from tasks.jobs import Job
from tasks.records import KEY, Finish
from tasks.signals.features import label_column
from tasks.storage.store import Store

#: Training data of an estimate: the variant's own answers, or those of the base.
TRAINED = ("own", BASE)


def answers(jobs: Sequence[Job], items: Mapping[str, pa.Table], store: Store) -> dict[str, Any]:
    """How long a variant's responses are, and how many are cut off.

    Returns
    -------
    dict
        ``responses``; ``tokens``, the mean length; ``truncated``, the share cut off at the limit;
        ``refused``, how many prompts the engine would not answer.
    """
    found = pa.concat_tables(_responses(job, items, store, ["finish", "n_tokens"]) for job in jobs)
    finish = found["finish"].to_numpy(zero_copy_only=False)
    return {
        "responses": len(found),
        "tokens": float(pc.mean(found["n_tokens"]).as_py()),
        "truncated": float(np.mean(finish == Finish.LENGTH)),
        "refused": int(np.sum(finish == Finish.ERROR)),
    }


def accuracy(table: FeatureTable) -> float:
    """Mean over benchmarks of the share of right answers, so that large ones do not outweigh."""
    group = table.group
    return float(np.mean(np.bincount(group, weights=table.y) / np.bincount(group)))


def statistics(tables: Mapping[str, FeatureTable]) -> pd.DataFrame:
    """Mean and AUROC of every column of every variant.

    Returns
    -------
    DataFrame
        A row a variant and column: ``variant, statistic, mean, auroc, auroc_within``. AUROC is that
        of right against wrong answers, columns read as in
        :func:`estimators.baselines.confidence`; ``auroc`` over all answers, where it also tells
        easy benchmarks from hard ones, ``auroc_within`` over pairs of one benchmark.
    """
    rows = []
    for variant, table in tables.items():
        for column, name in enumerate(table.features):
            values = table.X[:, column]
            score = confidence(name, values)
            rows.append(
                {
                    "variant": variant,
                    "statistic": name,
                    "mean": float(values.mean()),
                    "auroc": auroc(table.y, score),
                    "auroc_within": within(table, score),
                }
            )
    return pd.DataFrame(rows)


def within(table: FeatureTable, score: FloatArray) -> float:
    """AUROC over the pairs of a right and a wrong answer to the same benchmark; NaN without any."""
    total = weight = 0.0
    for index in range(len(table.benchmarks)):
        rows = table.group == index
        y = table.y[rows]
        pairs = float(y.sum() * (len(y) - y.sum()))
        if pairs:
            total += pairs * auroc(y, score[rows])
            weight += pairs
    return total / weight if weight else float("nan")


def estimates(
    variants: Mapping[str, Prepared], configs: Sequence[EstimatorConfig], path: Path
) -> pd.DataFrame:
    """Estimated accuracy of every benchmark of every variant, by labels of other benchmarks.

    The benchmark that is estimated is left out of the training, with the variant's own answers and
    with those of the base: what an operator has who fitted once and then changes a setting.

    Returns
    -------
    DataFrame
        A row a variant, estimator, kind of training and benchmark: ``variant, estimator, trained``
        (one of ``TRAINED``), ``benchmark, truth, estimate, auroc``.
    """
    rows = []
    for variant, prepared in variants.items():
        for trained in TRAINED:
            source = prepared if trained == "own" else variants[BASE]
            for found in transfer(
                source, prepared.table, configs, scope="unseen", view="source", path=path
            ):
                each = zip(
                    found.benchmarks, found.truth, found.estimate, found.auroc_each, strict=True
                )
                rows += [
                    {
                        "variant": variant,
                        "estimator": found.estimator,
                        "trained": trained,
                        "benchmark": benchmark,
                        "truth": truth,
                        "estimate": estimate,
                        "auroc": area,
                    }
                    for benchmark, truth, estimate, area in each
                ]
    return pd.DataFrame(rows)


def full_vocabulary(
    jobs: Sequence[Job],
    items: Mapping[str, pa.Table],
    store: Store,
    vocabulary: int,
    labels: pa.Table,
) -> dict[str, Any] | None:
    """The entropy over the top k beside that over the whole vocabulary, where it was measured.

    Parameters
    ----------
    vocabulary : int
        Tokens the model knows.
    labels : Table
        From :func:`tasks.signals.features.label_column`.

    Returns
    -------
    dict or None
        ``None`` where no response carries ``full_entropy``. Else ``tokens``; ``top_k`` and
        ``full``, mean entropies; ``tail``, mean mass outside; ``largest``, the largest difference
        of a token; ``within``, the share of tokens between their bounds (less 1e-4 nats, the
        rounding of float32 over a whole vocabulary); ``width``, the mean distance of the bounds;
        ``auroc_FEATURE``, by how much each statistic's AUROC within benchmarks is higher over the
        full vocabulary.
    """
    columns = ["entropy", "tail_mass", "full_entropy"]
    table = pa.concat_tables(_responses(job, items, store, columns) for job in jobs)
    table = table.filter(pc.is_valid(table["full_entropy"]))
    table = _labelled(table.filter(pc.greater(pc.list_value_length(table["entropy"]), 0)), labels)
    if not len(table):
        return None
    top, full = (Ragged.from_arrow(table[name]) for name in ("entropy", "full_entropy"))
    tail = Ragged.from_arrow(table["tail_mass"]).values
    k = jobs[0].experiment.decoding.top_k
    low, high = entropy_bounds(top.values, tail, k, vocabulary)
    held = (low - _ROUNDING <= full.values) & (full.values <= high + _ROUNDING)
    found: dict[str, Any] = {
        "tokens": len(top.values),
        "top_k": float(np.mean(top.values, dtype=np.float64)),
        "full": float(np.mean(full.values, dtype=np.float64)),
        "tail": float(np.mean(tail, dtype=np.float64)),
        "largest": float(np.max(full.values - top.values)),
        "within": float(held.mean()),
        "width": float(np.mean(high - low)),
    }
    names, group = np.unique(table["benchmark"].to_numpy(), return_inverse=True)
    y = table["label"].to_numpy()
    areas = []
    for trace in (full, top):
        X = profile(trace)
        answered = FeatureTable("", tuple(map(str, names)), FEATURES, X, y, group)
        areas.append([within(answered, confidence(n, X[:, i])) for i, n in enumerate(FEATURES)])
    found |= {f"auroc_{n}": a - b for n, a, b in zip(FEATURES, *areas, strict=True)}
    return found


# Entropies in float32, summed over a whole vocabulary on the device.
_ROUNDING = 1e-4


def _labelled(table: pa.Table, labels: pa.Table) -> pa.Table:
    """Rows that have a label, with a column of it. Arrow joins no lists, so rows are numbered."""
    numbered = table.select(list(KEY)).append_column("row", pa.array(np.arange(len(table))))
    joined = numbered.join(labels, keys=list(KEY), join_type="inner")
    joined = joined.filter(pc.is_valid(joined["label"]))
    return table.take(joined["row"]).append_column("label", joined["label"])


def labels_of(jobs: Sequence[Job], store: Store) -> pa.Table:
    """Labels of the stored verdicts of some jobs."""
    stored = [job.verdicts(store).read() for job in jobs]
    return label_column(pa.concat_tables(t for t in stored if t is not None), "verdicts")


def _responses(
    job: Job, items: Mapping[str, pa.Table], store: Store, columns: Sequence[str]
) -> pa.Table:
    """Columns of a job's stored responses to the items asked for."""
    asked = items[job.benchmark.name]["item_id"].combine_chunks()
    stored = job.responses(store).read(columns)
    if stored is None:
        raise FileNotFoundError(f"{job.name} has no responses")
    return stored.filter(pc.is_in(stored["item_id"], value_set=asked))
