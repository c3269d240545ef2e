"""Publishing a sweep: MLflow, a folder of tables and figures, and the flow run's own page."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pyarrow as pa
from prefect import get_run_logger, task
from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_table_artifact,
)

from flows.pages import show_figures
from tasks.conf.choices import Request
from tasks.host.workspace import Workspace
from tasks.report.page import report
from tasks.report.stored import gather
from tasks.signals.features import Joined
from tasks.sweeps.results import Results, results
from tasks.tracking.track import Tracker


@task(task_run_name="publish {asked.title}")
def publish(
    asked: Request,
    joined: Mapping[str, Joined],
    splits: Mapping[str, pa.Table],
    items: Mapping[str, pa.Table],
    workspace: Workspace,
    left_out: Mapping[str, tuple[str, ...]],
) -> Results:
    """Log a sweep to MLflow, write its results folder and report, link them from the flow run.

    ``left_out`` says of models that are not compared why.
    """
    logger = get_run_logger()
    name, title, settings = asked.experiment.name, asked.title, asked.experiment.sweep
    found = results(splits, joined, settings.estimators[0], settings.seed)
    inputs = gather(
        asked.experiment, items, joined, splits, workspace.store, left_out, folder=asked.folder
    )
    page = report(inputs)
    folder = found.write(workspace.store, asked.folder, page)
    logger.info("report, tables and figures: %s", folder)
    create_markdown_artifact(found.text(), key="results", description=f"Results of {title}")
    rows = json.loads(found.estimates.to_json(orient="records", double_precision=3))
    create_table_artifact(rows, key="estimates", description=found.caption)
    show_figures(found.figures, title)
    tracker = Tracker(name, workspace.tracking_uri, workspace.artifacts, workspace.mlflow_page)
    tracked = tracker.log_sweep(
        asked, joined, splits, found.figures, {**found.notes, **left_out}, found.text(), page
    )
    create_link_artifact(
        tracked.url,
        "MLflow run",
        key="mlflow",
        description=f"Sweep of {title}, among [all of the experiment]({tracked.all_runs})",
    )
    create_link_artifact(tracked.report, "Report", key="report", description=f"Report on {title}")
    logger.info("MLflow: %s, among %s", tracked.url, tracked.all_runs)
    return found
