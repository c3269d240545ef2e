"""Publishing a sweep: MLflow, a folder of tables and figures, and the flow run's own page."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa
from prefect import get_run_logger, task
from prefect.artifacts import create_link_artifact, create_markdown_artifact

from tasks.conf import Sweep
from tasks.features import Joined
from tasks.results import Results, results
from tasks.track import Tracker
from tasks.workspace import Workspace


@task(task_run_name="publish {name}", tags=["publish"])
def publish(
    name: str,
    settings: Sweep,
    joined: Mapping[str, Joined],
    splits: Mapping[str, pa.Table],
    workspace: Workspace,
) -> Results:
    """Log a sweep to MLflow, write its results folder and link both from the flow run."""
    logger = get_run_logger()
    found = results(splits, joined, settings.estimators[0], settings.seed)
    folder = found.write(workspace.store, name)
    logger.info("tables and figures: %s", folder)
    create_markdown_artifact(found.text(), key="results", description=f"Results of {name}")
    tracker = Tracker(name, workspace.tracking_uri, workspace.artifacts, workspace.mlflow_page)
    tracked = tracker.log_sweep(name, settings, splits, found.figures, found.notes, found.text())
    create_link_artifact(tracked.url, "MLflow run", key="mlflow", description=f"Sweep of {name}")
    logger.info("MLflow: %s", tracked.url)
    return found
