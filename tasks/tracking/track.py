"""Sweeps in MLflow: a parent run a sweep, a child run a model x estimator.

A sweep that is logged again finds its runs by their tags. What is unchanged stays as it is; what
changed is replaced (:mod:`tasks.tracking.runs`). Several drivers may log the same sweep at the same
moment.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from mlflow.exceptions import MlflowException

from tasks.conf.choices import Request
from tasks.errors import SentinelError
from tasks.signals.features import Joined
from tasks.storage.keys import digest
from tasks.sweeps.shared import over, shared_benchmarks
from tasks.sweeps.summary import SCORES, by_size, named_compositions, split_of
from tasks.sweeps.sweep import estimator_configs
from tasks.tracking.estimator import TrainedEstimator
from tasks.tracking.labels import (
    IDENTIFYING,
    compared_tags,
    estimator_tags,
    metrics_of,
    shared_metrics_of,
    short_number,
    sweep_name,
    sweep_tags,
    trained_on,
)
from tasks.tracking.registry import register
from tasks.tracking.runs import Runs, Wanted, connect, experiment_id
from tasks.tracking.told import public, told

# MLflow's pages open on chat traces, and list no runs, unless an address asks for the other half.
_RUNS_AND_CHARTS = "?workflowType=machine_learning"


@dataclass(frozen=True)
class TrackedSweep:
    """Where a sweep is seen in MLflow."""

    experiment_id: str
    run_id: str
    page: str

    @property
    def url(self) -> str:
        """Page of its parent run."""
        return self._run + _RUNS_AND_CHARTS

    @property
    def report(self) -> str:
        """Page of the report among the run's artifacts."""
        return f"{self._run}/artifacts/report.html{_RUNS_AND_CHARTS}"

    @property
    def all_runs(self) -> str:
        """List of the experiment's runs."""
        return self._experiment + _RUNS_AND_CHARTS

    @property
    def _run(self) -> str:
        return f"{self._experiment}/runs/{self.run_id}"

    @property
    def _experiment(self) -> str:
        return f"{self.page}/#/experiments/{self.experiment_id}"


class Tracker:
    """Writes the runs of one MLflow experiment.

    Parameters
    ----------
    experiment : str
        Name of the experiment, created at the first use.
    uri : str
        MLflow tracking URI: a server, or ``sqlite:///...`` for a single host.
    artifacts : str
        Folder for artifacts where the URI is a database (a server has its own place).
    page : str
        Address of the MLflow pages, for links.

    Raises
    ------
    SentinelError
        If the database or server cannot be reached, or the experiment is in its trash.
    """

    def __init__(self, experiment: str, uri: str, artifacts: str, page: str) -> None:
        self._page, self._uri = page, uri
        with _usable(uri):
            client = connect(uri)
            # Beside a database, artifacts would otherwise land in the working folder.
            location = None if uri.startswith("http") else f"{artifacts}/{experiment}"
            self._runs = Runs(client, experiment_id(client, experiment, location))

    def log_sweep(
        self,
        asked: Request,
        joined: Mapping[str, Joined],
        splits: Mapping[str, pa.Table],
        figures: Mapping[str, bytes],
        notes: Mapping[str, tuple[str, ...]],
        description: str,
        report: str = "",
    ) -> TrackedSweep:
        """Create or replace the runs of one sweep, and register the estimators of its rows.

        Parameters
        ----------
        asked : Request
            Its experiment's name and sweep, and its label, tell this sweep from others. Estimators
            are registered for runs of the experiment as its file has it, without a label.
        joined, splits : mappings of model name to feature table and split table
            One a model. Models may lack benchmarks; scores to compare them by are then over those
            that all have (:mod:`tasks.sweeps.shared`).
        figures : mapping of file name to PNG
            Logged to the parent.
        notes : mapping of model name to notes
            What was left out and why; logged as a text.
        description : str
            Markdown shown on the parent's page.
        report : str
            HTML page, logged to the parent as ``report.html``; none where it is empty.

        Raises
        ------
        SentinelError
            If MLflow went away, or others kept changing the same runs.
        """
        name, settings = asked.experiment.name, asked.experiment.sweep
        labelled = [asked.label] * bool(asked.label)
        sweep = {"sweep": digest([name, dataclasses.asdict(settings), *labelled])}
        number = short_number(sweep["sweep"])
        tables = {model: by_size(table) for model, table in splits.items()}
        shared = shared_benchmarks(joined)
        compared = tables if shared is None else _compared(splits, shared)
        children = [
            child
            for model, table in splits.items()
            for child in _children(
                asked, number, joined[model], table, tables[model], compared, shared
            )
        ]

        def files(folder: Path) -> None:
            pq.write_table(pa.concat_tables(splits.values()), folder / "splits.parquet")
            summary = pd.concat(tables.values(), ignore_index=True)
            summary.to_csv(folder / "summary.csv", index=False)
            (folder / "notes.txt").write_text(
                "\n".join(f"{m}: {n}" for m, ns in notes.items() for n in ns) or "nothing to note"
            )
            if report:
                (folder / "report.html").write_text(report, encoding="utf-8")
            (folder / "figures").mkdir()
            for file, png in figures.items():
                (folder / "figures" / file).write_bytes(png)

        # A score of the parent is the median over models of the first estimator's.
        first = estimator_configs(settings.estimators)[0].name
        # Parameters of a run cannot change, but a sweep may gain a model or another judge.
        tags = sweep_tags(asked, joined) | compared_tags(asked, joined, shared)
        tags |= {"models": ", ".join(splits), "estimator": first}
        parent = Wanted(
            identity={"kind": "sweep"},
            name=sweep_name(asked, number),
            tags=tags,
            params={"label": "as in the file"} | {k: tags[k] for k in IDENTIFYING if k in tags},
            metrics=metrics_of(_over_models(compared, first)),
            note=description,
            files=files,
            seen=digest(
                [_hash(figures.values(), report), dict(notes), [c.content for c in children]]
            ),
        )
        tracked = self._settle(sweep, parent, children)
        if not asked.label:
            with _usable(self._uri):
                for model, table in joined.items():
                    about = trained_on(asked.experiment, table.table.benchmarks)
                    register(self._runs, f"{name}-{model}", TrainedEstimator.of(table, about))
                self._runs.nest({"kind": "training"}, tracked.run_id)
        return tracked

    def log_variants(
        self, name: str, rows: pd.DataFrame, files: Mapping[str, bytes], description: str
    ) -> TrackedSweep:
        """Create or replace a run of a sensitivity experiment, with a child run a variant.

        Parameters
        ----------
        name : str
            Of the experiment; tells it from others.
        rows : DataFrame
            One row a variant, named by the column ``variant``; its numbers become metrics.
        files : mapping of file name to content
            Logged to the parent.
        description : str
            Markdown shown on the parent's page.
        """
        children = []
        for row in rows.to_dict("records"):
            variant = str(row.pop("variant"))
            points = [(str(k).lower().replace(" ", "_"), float(v), 0) for k, v in row.items()]
            finite = [point for point in points if point[1] == point[1]]
            identity = {"kind": "variant", "variant": variant}
            children.append(Wanted(identity, variant, metrics=finite))

        def write(folder: Path) -> None:
            for file, content in files.items():
                (folder / file).write_bytes(content)

        parent = Wanted(
            identity={"kind": "sensitivity"},
            name=name,
            note=description,
            files=write,
            seen=digest([_hash(files.values()), [c.content for c in children]]),
        )
        group = {"sensitivity": digest(["sensitivity", name])}
        return self._settle(group, parent, children)

    def log_report(self, name: str, estimator: str | None, page: Path) -> TrackedSweep:
        """Create or replace the run that keeps a report written by itself.

        Parameters
        ----------
        name : str
            Of the experiment.
        estimator : str or None
            The one shown benchmark by benchmark, where another than the first was asked for.
        page : Path
            The report, logged as ``report.html``.
        """
        html = page.read_text(encoding="utf-8")

        def files(folder: Path) -> None:
            (folder / "report.html").write_text(html, encoding="utf-8")

        run = Wanted(
            identity={"kind": "report"},
            name=" ".join([name, "report", *([f"({estimator})"] if estimator else [])]),
            files=files,
            seen=digest([html]),
        )
        return self._settle({"report": digest([name, estimator])}, run, [])

    def _settle(
        self, group: Mapping[str, str], parent: Wanted, children: Sequence[Wanted]
    ) -> TrackedSweep:
        with _usable(self._uri):
            run_id = self._runs.settle(group, parent, children).info.run_id
        return TrackedSweep(self._runs.experiment_id, run_id, self._page)


@contextmanager
def _usable(uri: str) -> Iterator[None]:
    """Tell what MLflow says as an error with a remedy."""
    try:
        yield
    except (MlflowException, OSError, ImportError) as error:
        raise SentinelError(
            f"MLflow at {public(uri)} cannot be used: {told(uri, error)}",
            "start the server or check MLFLOW_TRACKING_URI; the sweep itself is stored",
        ) from None


def _compared(splits: Mapping[str, pa.Table], shared: tuple[str, ...]) -> dict[str, pd.DataFrame]:
    """Medians over the shared benchmarks, of the models that have any composition of them."""
    restricted = {model: over(table, shared) for model, table in splits.items()}
    return {model: by_size(table) for model, table in restricted.items() if len(table)}


def _over_models(tables: Mapping[str, pd.DataFrame], estimator: str) -> pd.DataFrame:
    """Median over models of one estimator's scores, a row a k; empty where nothing is compared."""
    if not tables:
        return pd.DataFrame()
    rows = pd.concat(tables.values(), ignore_index=True)
    rows = rows[rows["estimator"] == estimator]
    return rows.groupby("k", as_index=False).median(numeric_only=True)


def _children(
    asked: Request,
    number: str,
    joined: Joined,
    splits: pa.Table,
    table: pd.DataFrame,
    compared: Mapping[str, pd.DataFrame],
    shared: tuple[str, ...] | None,
) -> Iterable[Wanted]:
    """The run of each estimator of one model."""
    model = joined.table.model
    pairs = named_compositions(splits)
    tags = sweep_tags(asked, {model: joined}) | compared_tags(asked, {model: joined}, shared)
    tags |= {f"composition.{n}": " + ".join(c) for n, c in pairs.items()}
    # A model that lacks benchmarks may have no split of the larger sizes.
    tags["k"] = ", ".join(map(str, sorted(set(table["k"]))))
    for estimator in dict.fromkeys(table["estimator"]):
        metrics = metrics_of(table[table["estimator"] == estimator])
        if shared is not None and model in compared:
            same = compared[model]
            metrics += shared_metrics_of(same[same["estimator"] == estimator])
        for pair, composition in pairs.items():
            split = split_of(splits, estimator, composition)
            scores = {score: split[f"{score}_unseen"] for score in SCORES}
            metrics += [(f"{s}.{pair}", v, 0) for s, v in scores.items() if v == v]
        described = estimator_tags(model, estimator)
        yield Wanted(
            identity={"kind": "estimator", "model": model, "estimator": estimator},
            name=f"{model} {estimator} {number}",
            tags=tags | described,
            params=described,
            metrics=metrics,
        )


def _hash(contents: Iterable[bytes], text: str = "") -> str:
    return hashlib.sha256(b"".join(contents) + text.encode()).hexdigest()
