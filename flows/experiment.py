"""The main flow: questions, responses, verdicts and profiles, a sweep, and results to compare."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa
from prefect import flow, get_run_logger
from prefect.futures import PrefectFuture, as_completed
from prefect.task_runners import ThreadPoolTaskRunner

from flows.report import publish
from flows.steps import submit_generate, submit_judge, submit_profile, sweep_model
from tasks.benchmarks import load_items
from tasks.cluster import ray_cluster
from tasks.conf import Experiment, Model, load_experiment
from tasks.engines.pool import EnginePool
from tasks.errors import SentinelError
from tasks.features import Joined, join_jobs
from tasks.jobs import jobs_of
from tasks.results import Results
from tasks.store import Store
from tasks.workspace import Workspace

# Steps of one model that run side by side. Benchmarks share the model's engine, whose scheduler
# does the batching; more threads than this only add requests to its queue.
_STEPS_AT_ONCE = 4


@flow(
    name="experiment",
    flow_run_name="experiment {path}",
    task_runner=ThreadPoolTaskRunner(max_workers=_STEPS_AT_ONCE),  # type: ignore[arg-type]
)
def experiment(path: str) -> Results:
    """Run an experiment: what is stored is reused, and only what is missing is computed.

    Parameters
    ----------
    path : str
        The experiment's YAML, such as ``conf/experiments/demo.yaml``.

    Returns
    -------
    Results
        Tables and figures, as they went to MLflow and to the results folder.
    """
    settings = load_experiment(path)
    workspace = Workspace.from_environment()
    items = {b.name: load_items(b, settings.limit) for b in settings.benchmarks}
    joined, splits = {}, {}
    with ray_cluster():
        for model in settings.models:
            joined[model.name] = answer(settings, model, items, workspace.store)
            splits[model.name] = sweep_model(joined[model.name], settings.sweep, workspace.store)
    return publish(settings.name, settings.sweep, joined, splits, workspace)


def answer(
    settings: Experiment, model: Model, items: Mapping[str, pa.Table], store: Store
) -> Joined:
    """Responses, verdicts and profiles of one model; its engine is started if any is missing.

    Raises
    ------
    SentinelError
        If some benchmark could not be answered. The others are complete and stored.
    """
    jobs = jobs_of(settings, model)
    scoring: list[PrefectFuture[str]] = []
    problems: list[BaseException] = []
    with EnginePool(model, settings) as pool:
        answering = {submit_generate(j, items[j.benchmark.name], pool, store): j for j in jobs}
        for future in as_completed(list(answering)):
            job = answering[future]
            outcome = future.result(raise_on_failure=False)
            if isinstance(outcome, BaseException):
                problems.append(outcome)
                get_run_logger().error("%s: %s", job.name, outcome)
                continue
            scoring.append(submit_judge(job, items[job.benchmark.name], store))
            scoring.append(submit_profile(job, store))
    for step in scoring:
        step.result()
    if problems:
        first = problems[0]
        raise first if isinstance(first, SentinelError) else RuntimeError(str(first))
    return join_jobs(jobs, items, store)
