"""Sweeps small enough to be logged many times, and what MLflow then shows of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from mlflow import MlflowClient
from mlflow.entities import Run

from entropy.profile import FEATURES
from estimators.config import parse
from estimators.results import SplitResult
from estimators.sweep import evaluate, prepare
from estimators.table import FeatureTable
from tasks.conf import Benchmark, Experiment, File
from tasks.conf.choices import Request
from tasks.records import to_table
from tasks.signals.features import Joined
from tasks.sweeps.sweep import sweep_compositions
from tasks.tracking.track import TrackedSweep, Tracker

NAMES = ("atc-max", "constant")


def joined(model: str, seed: int = 0, benchmarks: Sequence[str] = ("a", "b", "c")) -> Joined:
    """Twenty random responses a benchmark."""
    n = 20 * len(benchmarks)
    rng = np.random.default_rng(seed)
    X = rng.random((n, len(FEATURES)))
    y = (X[:, 2] < rng.random(n)).astype(float)
    group = np.arange(n) % len(benchmarks)
    return Joined(FeatureTable(model, tuple(benchmarks), FEATURES, X, y, group), ())


def splits(one: Joined, sizes: Sequence[int] = (1, 2), names: Sequence[str] = NAMES) -> pa.Table:
    """Every composition of these sizes."""
    combos = sweep_compositions(one.table.benchmarks, sizes)
    rows = evaluate(prepare(one.table, 42), [parse(n) for n in names], combos)
    return to_table(rows, SplitResult)


def benchmarks(names: Sequence[str] = ("a", "b", "c")) -> tuple[Benchmark, ...]:
    return tuple(Benchmark(name, 1, File(f"{name}.jsonl")) for name in names)


def log(
    base: Experiment,
    uri: str,
    folder: Path,
    *models: Joined,
    label: str = "",
    seed: int = 42,
    sizes: Sequence[int] = (1, 2),
    names: Sequence[str] = NAMES,
    experiment: str = "e",
) -> TrackedSweep:
    """Log a sweep of these models as a run of an experiment would."""
    settings = dataclasses.replace(base.sweep, seed=seed, sizes=sizes, estimators=names)
    changed = dataclasses.replace(base, sweep=settings)
    tables = {j.table.model: j for j in models}
    tracker = Tracker(experiment, uri, folder.as_uri(), "http://page")
    rows = {m: splits(j, sizes, names) for m, j in tables.items()}
    return tracker.log_sweep(
        Request(changed, changed.models, label), tables, rows, {}, {}, "text", "<p>page</p>"
    )


def active(client: MlflowClient, kind: str, experiment: str = "e") -> dict[str, Run]:
    """Runs of one kind by their name, without its sweep's number; fails where two have the same."""
    found = client.get_experiment_by_name(experiment).experiment_id
    runs = client.search_runs([found], f"tags.`sentinel.kind` = '{kind}'")
    by_name = {unnumbered(run): run for run in runs}
    assert len(by_name) == len(runs), sorted(run.info.run_name for run in runs)
    return by_name


def unnumbered(run: Run) -> str:
    """Its name without the first digits of its sweep, which have to stand there if it has one."""
    name, sweep = str(run.info.run_name), run.data.tags.get("sentinel.sweep")
    assert sweep is None or f" {sweep[:4]}" in name
    return name.replace(f" {sweep[:4]}", "") if sweep else name


def points(client: MlflowClient, run: Run, metric: str = "aee") -> list[tuple[int, float]]:
    """What the chart of a metric shows: (k, value)."""
    return [(p.step, p.value) for p in client.get_metric_history(run.info.run_id, metric)]


def medians(one: Joined, estimator: str, sizes: Sequence[int] = (1, 2)) -> list[tuple[int, float]]:
    """What it ought to show."""
    table = splits(one, sizes).to_pandas()
    table = table[table["estimator"] == estimator]
    return [(k, table[table["k"] == k]["aee_unseen"].median()) for k in sizes]


def whole(client: MlflowClient, models: Mapping[str, Joined], experiment: str = "e") -> None:
    """Assert that one finished sweep of exactly these models is there, with their values."""
    (parent,) = active(client, "sweep", experiment).values()
    children = active(client, "estimator", experiment)
    assert set(children) == {f"{m} {n}" for m in models for n in NAMES}
    for run in (parent, *children.values()):
        assert run.info.status == "FINISHED"
    for run in children.values():
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        one = models[run.data.tags["model"]]
        assert points(client, run) == medians(one, run.data.tags["estimator"])
    assert parent.data.tags["models"] == ", ".join(models)
    shown = points(client, parent)
    assert [k for k, _ in shown] == [1, 2]
    each = [medians(one, NAMES[0]) for one in models.values()]
    for at, (_, value) in enumerate(shown):
        assert value == np.median([m[at][1] for m in each])


Log = Callable[..., TrackedSweep]
