"""Flows over what is stored, without generating: other judges, other sweeps, the report."""

from __future__ import annotations

from pathlib import Path

from prefect import flow, get_run_logger
from prefect.artifacts import create_link_artifact
from prefect.runtime import flow_run
from prefect.task_runners import ThreadPoolTaskRunner

from flows.compare import compare
from flows.experiment import experiment_name, run_name
from flows.offered import offered
from flows.pages import show_plan
from flows.report import report_experiment
from flows.steps import submit_judge
from tasks.benchmarks.questions import load_questions
from tasks.cluster.joining import ray_cluster
from tasks.conf import load_experiment
from tasks.conf.choices import Changes, request
from tasks.host.workspace import Workspace
from tasks.jobs import jobs_of
from tasks.planning.plan import COMPARISON, answered, plan
from tasks.problems import Problems
from tasks.sweeps.results import Results
from tasks.tracking.track import Tracker

# Judges think for themselves; the API's own limit is `endpoint.concurrency` of the judge.
_AT_ONCE = 4


@flow(
    name="rejudge",
    flow_run_name=run_name,
    task_runner=ThreadPoolTaskRunner(max_workers=_AT_ONCE),  # type: ignore[arg-type]
)
def rejudge(
    path: str,
    judge: str | None = None,
    models: tuple[str, ...] = (),
    benchmarks: tuple[str, ...] = (),
    limit: int | None = None,
) -> Results:
    """Judge stored responses, by another judge if one is named, and compare again.

    Nothing is generated: a job without all its responses is left out, with a line in the log.
    """
    asked = request(offered(path), Changes(models, benchmarks, limit, judge))
    store = (workspace := Workspace.from_environment()).store
    questions = load_questions(asked.experiment)
    problems = Problems(questions.problems)
    show_plan(plan(asked, questions, store, ("judge", *COMPARISON)))
    judging = {}
    for model in asked.chosen:
        for job in jobs_of(asked.experiment, model):
            if answered(job, questions, store):
                judging[job.name] = submit_judge(job, questions.items[job.benchmark.name], store)
            else:
                get_run_logger().warning("%s lacks responses and is not judged", job.name)
    for name, step in judging.items():
        problems.failed(name, step.result(raise_on_failure=False))
    with ray_cluster():
        results = compare(asked, questions, workspace, problems)
    return problems.none_or_raise(results)


@flow(name="sweep", flow_run_name=run_name)
def sweep(
    path: str,
    estimators: tuple[str, ...] = (),
    sizes: tuple[int, ...] = (),
    benchmarks: tuple[str, ...] = (),
    limit: int | None = None,
) -> Results:
    """Sweep the stored responses of an experiment, with other estimators or sizes if named."""
    asked = request(offered(path), Changes((), benchmarks, limit, None, estimators, sizes))
    workspace = Workspace.from_environment()
    questions = load_questions(asked.experiment)
    problems = Problems(questions.problems)
    show_plan(plan(asked, questions, workspace.store, COMPARISON))
    with ray_cluster():
        results = compare(asked, questions, workspace, problems)
    return problems.none_or_raise(results)


def report_name() -> str:
    """What a run of ``report`` is called: it is about all models, with one estimator in detail."""
    estimator = flow_run.parameters.get("estimator")
    return f"{experiment_name()}{f' ({estimator})' if estimator else ''}"


@flow(name="report", flow_run_name=report_name)
def report(path: str, estimator: str | None = None) -> str:
    """Write the report on what is stored of an experiment into MLflow; returns its address there.

    Parameters
    ----------
    path : str
        The experiment's YAML.
    estimator : str, optional
        Shown benchmark by benchmark; the first that was swept where none is named.
    """
    path = offered(path)
    logger = get_run_logger()
    workspace = Workspace.from_environment()
    name = load_experiment(path).name
    out = workspace.state / "reports" / f"{name}.html"
    out.parent.mkdir(parents=True, exist_ok=True)
    for note in report_experiment(Path(path), out, estimator):
        logger.warning(note)
    tracker = Tracker(name, workspace.tracking_uri, workspace.artifacts, workspace.mlflow_page)
    kept = tracker.log_report(name, estimator, out)
    create_link_artifact(kept.report, "Report", key="report", description=f"Report on {name}")
    logger.info("report: %s, and in the file %s", kept.report, out)
    return kept.report
