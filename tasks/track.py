"""The one writer of MLflow: a parent run a sweep, a child run a model x estimator.

Re-running a sweep finds its runs by their tags and updates them; runs whose content is unchanged
are not touched. Only the driver imports this module, so MLflow's database has a single writer.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunTag, ViewType
from mlflow.exceptions import MlflowException

from estimators.config import parse
from tasks.conf import Sweep
from tasks.errors import SentinelError
from tasks.keys import digest
from tasks.summary import SCOPES, SCORES, by_size, named_compositions, split_of

_TAG = "sentinel."

# Opens the experiment on its runs and charts; MLflow's default is a page for chat traces.
_KIND = {"mlflow.experimentKind": "custom_model_development"}


@dataclass(frozen=True)
class TrackedSweep:
    """Where a sweep is seen in MLflow."""

    experiment_id: str
    run_id: str
    url: str


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
        If the database or server cannot be reached.
    """

    def __init__(self, experiment: str, uri: str, artifacts: str, page: str) -> None:
        # A server that is away makes MLflow retry for minutes; a person should know sooner.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
        self._page = page
        try:
            self._client = MlflowClient(uri)
            found = self._client.get_experiment_by_name(experiment)
            if found is None:
                # Beside a database, artifacts would otherwise land in the working folder.
                location = None if uri.startswith("http") else f"{artifacts}/{experiment}"
                self._id = self._client.create_experiment(experiment, location, tags=_KIND)
            else:
                self._id = found.experiment_id
        except (MlflowException, OSError) as error:
            raise SentinelError(
                f"MLflow at {_public(uri)} cannot be used: {error}",
                "start the server or check MLFLOW_TRACKING_URI; the sweep itself is stored",
            ) from None

    def log_sweep(
        self,
        name: str,
        settings: Sweep,
        splits: Mapping[str, pa.Table],
        figures: Mapping[str, bytes],
        notes: Mapping[str, tuple[str, ...]],
        description: str,
    ) -> TrackedSweep:
        """Create or update the runs of one sweep.

        Parameters
        ----------
        name : str
            Of the experiment's conf; with ``settings`` it tells this sweep from others.
        splits : mapping of model name to split table
            Complete tables, one a model.
        figures : mapping of file name to PNG
            Logged to the parent.
        notes : mapping of model name to notes
            What was left out and why; logged as a text.
        description : str
            Markdown shown on the parent's page.
        """
        sweep = digest([name, dataclasses.asdict(settings)])
        tables = {model: by_size(table) for model, table in splits.items()}
        parent = self._run({"sweep": sweep, "kind": "sweep"}, f"{name} sweep", None)
        shown = hashlib.sha256(b"".join(figures.values()) + description.encode()).hexdigest()
        content = digest([shown, *(f.to_json(double_precision=15) for f in tables.values())])
        if parent.data.tags.get(_TAG + "content") != content:
            self._log_parent(parent, settings, splits, tables, figures, notes)
            self._client.set_tag(parent.info.run_id, "mlflow.note.content", description)
            for model, table in splits.items():
                self._log_children(parent, sweep, model, table, tables[model])
            self._finish(parent, content)
        return TrackedSweep(
            self._id,
            parent.info.run_id,
            f"{self._page}/#/experiments/{self._id}/runs/{parent.info.run_id}",
        )

    def _log_parent(
        self,
        parent: Run,
        settings: Sweep,
        splits: Mapping[str, pa.Table],
        tables: Mapping[str, pd.DataFrame],
        figures: Mapping[str, bytes],
        notes: Mapping[str, tuple[str, ...]],
    ) -> None:
        run = parent.info.run_id
        params = {
            "models": ", ".join(splits),
            "sizes": ", ".join(map(str, settings.sizes)),
            "estimators": ", ".join(settings.estimators),
            "seed": str(settings.seed),
            "path": settings.path,
        }
        # Parameters of a run cannot change, but a sweep may gain a model: hence tags.
        self._client.log_batch(run, tags=[RunTag(k, v[:5000]) for k, v in params.items()])
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            pq.write_table(pa.concat_tables(splits.values()), folder / "splits.parquet")
            summary = pd.concat(tables.values(), ignore_index=True)
            summary.to_csv(folder / "summary.csv", index=False)
            (folder / "notes.txt").write_text(
                "\n".join(f"{m}: {n}" for m, ns in notes.items() for n in ns) or "nothing to note"
            )
            (folder / "figures").mkdir()
            for file, png in figures.items():
                (folder / "figures" / file).write_bytes(png)
            self._client.log_artifacts(run, scratch)

    def _log_children(
        self, parent: Run, sweep: str, model: str, splits: pa.Table, table: pd.DataFrame
    ) -> None:
        pairs = named_compositions(splits)
        for estimator in dict.fromkeys(table["estimator"]):
            identity = {"sweep": sweep, "kind": "estimator", "model": model, "estimator": estimator}
            child = self._run(identity, f"{model} {estimator}", parent.info.run_id)
            config = parse(estimator)
            now = int(time.time() * 1000)
            metrics = [
                Metric(name, value, now, step)
                for name, value, step in _metrics(table[table["estimator"] == estimator])
            ]
            for pair, composition in pairs.items():
                split = split_of(splits, estimator, composition)
                metrics += [
                    Metric(f"{score}.{pair}", split[f"{score}_unseen"], now, 0)
                    for score in SCORES
                    if split[f"{score}_unseen"] == split[f"{score}_unseen"]
                ]
            described = {
                "model": model,
                "estimator": estimator,
                "family": config.family,
                "calibration": config.calibration,
                "balanced": str(config.balanced).lower(),
                "features": ",".join(config.features)[:5000],
            }
            tags = [RunTag(k, v) for k, v in described.items()]
            params = [Param(k, v) for k, v in described.items() if k != "features"]
            content = digest(
                [[m.key, m.value, m.step] for m in metrics if m.value == m.value] + [described]
            )
            if child.data.tags.get(_TAG + "content") != content:
                self._client.log_batch(child.info.run_id, metrics, params, tags)
            self._finish(child, content)

    def _run(self, identity: Mapping[str, str], name: str, parent: str | None) -> Run:
        """The run with these tags, or a new one."""
        wanted = {_TAG + k: v for k, v in identity.items()}
        query = " and ".join(f"tags.`{k}` = '{v}'" for k, v in wanted.items())
        found = self._client.search_runs([self._id], query, ViewType.ACTIVE_ONLY, max_results=1)
        if found:
            return found[0]
        tags = dict(wanted)
        if parent is not None:
            tags["mlflow.parentRunId"] = parent
        return self._client.create_run(self._id, tags=tags, run_name=name)

    def _finish(self, run: Run, content: str) -> None:
        """Mark a run complete; an interrupted one keeps its old content tag and is redone."""
        self._client.set_tag(run.info.run_id, _TAG + "content", content)
        self._client.set_terminated(run.info.run_id)


def _metrics(table: pd.DataFrame) -> list[tuple[str, float, int]]:
    """(name, value, k) of an estimator's medians and ranges; what is undefined is left out."""
    rows: list[tuple[str, float, int]] = []
    for row in table.to_dict("records"):
        for scope in SCOPES:
            suffix = "" if scope == SCOPES[0] else f".{scope}"
            for score in SCORES:
                column = f"{score}_{scope}"
                iqr = row[f"{column}_q75"] - row[f"{column}_q25"]
                for name, value in ((score, row[column]), (f"{score}_iqr", iqr)):
                    if value == value:
                        rows.append((f"{name}{suffix}", float(value), int(row["k"])))
    return rows


def _public(uri: str) -> str:
    """A URI without the password it may hold."""
    head, at, tail = uri.rpartition("@")
    return f"{head.split('://')[0]}://***@{tail}" if at else uri
