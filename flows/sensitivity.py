"""The sensitivity flow: the variants of one experiment answered, measured and put side by side."""

from __future__ import annotations

import json
from contextlib import nullcontext

from prefect import flow, get_run_logger, task
from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_table_artifact,
)
from prefect.task_runners import ThreadPoolTaskRunner

from flows.experiment import answer
from flows.pages import show_figures
from tasks.benchmarks.questions import Questions, load_questions
from tasks.cluster.joining import ray_cluster
from tasks.conf import Sensitivity, load_sensitivity
from tasks.engines.pool import EnginePool
from tasks.host.workspace import Workspace
from tasks.jobs import jobs_of
from tasks.problems import Problems
from tasks.sensitivity.results import Found, found
from tasks.signals.features import join_jobs
from tasks.tracking.track import Tracker

_STEPS_AT_ONCE = 4


@flow(
    name="sensitivity",
    flow_run_name="sensitivity {path}",
    task_runner=ThreadPoolTaskRunner(max_workers=_STEPS_AT_ONCE),  # type: ignore[arg-type]
)
def sensitivity(path: str) -> Found:
    """Run an experiment and its variants, and say what moves; what is stored is reused.

    Variants that differ in sampling, prompt or stop share one loaded model; those that read fewer
    of the recorded candidates generate nothing.

    Parameters
    ----------
    path : str
        A sensitivity file, such as ``conf/sensitivity/demo.yaml``.

    Returns
    -------
    Found
        Tables and figures, as they went to MLflow and to the results folder.
    """
    settings = load_sensitivity(path)
    workspace = Workspace.from_environment()
    questions = load_questions(settings.base)
    problems = Problems(questions.problems)
    (model,) = settings.base.models
    with ray_cluster():
        for group in settings.by_engine():
            first = next(iter(group.values()))
            with EnginePool(model, first) as pool:
                kept = nullcontext(pool)
                for variant, experiment in group.items():
                    get_run_logger().info("variant %s", variant)
                    answer(experiment, model, questions, workspace.store, problems, kept)
    problems.none_or_raise(settings)
    return publish(settings, questions, workspace)


@task(task_run_name="publish {settings.name}")
def publish(settings: Sensitivity, questions: Questions, workspace: Workspace) -> Found:
    """Measure the stored answers; results go to their folder, to MLflow and to the run's page."""
    logger = get_run_logger()
    store, items = workspace.store, questions.items
    joined = {
        name: join_jobs(jobs_of(one, one.models[0]), items, store)
        for name, one in settings.experiments.items()
    }
    results = found(settings, joined, items, store)
    logger.info("tables and figures: %s", results.write(store))
    create_markdown_artifact(
        results.text(), key="sensitivity", description=f"What moves in {settings.name}"
    )
    rows = json.loads(results.overview.to_json(orient="records", double_precision=3))
    create_table_artifact(rows, key="variants", description=results.caption)
    show_figures(results.figures, settings.name)
    tracker = Tracker(
        settings.name, workspace.tracking_uri, workspace.artifacts, workspace.mlflow_page
    )
    tracked = tracker.log_variants(settings.name, results.overview, results.files(), results.text())
    create_link_artifact(
        tracked.url, "MLflow run", key="mlflow", description=f"Variants of {settings.name}"
    )
    logger.info("MLflow: %s", tracked.url)
    return results
