"""The main flow: questions, responses, verdicts and profiles, a sweep, and results to compare."""

from __future__ import annotations

from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

from prefect import flow, get_run_logger
from prefect.futures import PrefectFuture
from prefect.runtime import flow_run
from prefect.task_runners import ThreadPoolTaskRunner

from flows.agreement import show_agreement
from flows.compare import compare
from flows.offered import offered
from flows.pages import show_plan
from flows.side_by_side import completed, side_by_side
from flows.steps import submit_generate, submit_judge, submit_profile
from tasks.benchmarks.questions import Questions, load_questions
from tasks.cluster.joining import ray_cluster
from tasks.conf import Experiment, Model
from tasks.conf.choices import Changes, request
from tasks.engines.pool import EnginePool
from tasks.host.workspace import Workspace
from tasks.jobs import jobs_of
from tasks.planning.plan import plan
from tasks.problems import Problems
from tasks.storage.store import Store
from tasks.sweeps.results import Results

# Steps of one model that run side by side. Benchmarks share the model's engine, whose scheduler
# does the batching; more threads than this only add requests to its queue.
_STEPS_AT_ONCE = 4

# Steps of all models together; generations above, and the judging and profiling that follow them.
_THREADS = 32


def run_name() -> str:
    """What a run is called in Prefect: the flow, the experiment, its models and all else chosen."""
    given = flow_run.parameters
    models = ", ".join(name or "no name" for name in given.get("models") or ()) or "all models"
    chosen = Changes(**{k: given[k] for k in Changes.__dataclass_fields__ if k in given}).label
    return f"{experiment_name()}: {models}{f' ({chosen})' if chosen else ''}"


def experiment_name() -> str:
    """The flow and the experiment in the name of a run."""
    path = flow_run.parameters["path"]
    return f"{flow_run.flow_name} {Path(path).stem or 'without an experiment'}"


@flow(
    name="experiment",
    flow_run_name=run_name,
    task_runner=ThreadPoolTaskRunner(max_workers=_THREADS),  # type: ignore[arg-type]
)
def experiment(
    path: str,
    models: tuple[str, ...] = (),
    benchmarks: tuple[str, ...] = (),
    limit: int | None = None,
    estimators: tuple[str, ...] = (),
    sizes: tuple[int, ...] = (),
    judge: str | None = None,
) -> Results:
    """Run an experiment: what is stored is reused, and only what is missing is computed.

    A run of some models alone ends with the comparison of all models of the experiment whose
    responses are stored. A job that fails leaves the others alone and is named at the end.

    Parameters
    ----------
    path : str
        The experiment's YAML, such as ``conf/experiments/demo.yaml``.
    models, benchmarks, limit, estimators, sizes, judge : optional
        Chosen for this run instead of what the file says, as in
        :class:`tasks.conf.choices.Changes`.

    Returns
    -------
    Results
        Tables and figures, as they went to MLflow and to the results folder.
    """
    asked = request(offered(path), Changes(models, benchmarks, limit, judge, estimators, sizes))
    workspace = Workspace.from_environment()
    questions = load_questions(asked.experiment)
    problems = Problems(questions.problems)
    show_plan(plan(asked, questions, workspace.store))
    with ray_cluster(), ExitStack() as open_engines:
        pools = {
            model.name: open_engines.enter_context(EnginePool(model, asked.experiment))
            for model in asked.chosen
        }

        # A cancelled run leaves here at once and closes all engines, which ends what asks them.
        side_by_side(
            lambda model: answer(
                asked.experiment, model, questions, workspace.store, problems, pools[model.name]
            ),
            asked.chosen,
            asked.experiment.models_at_once,
        )
        show_agreement(asked, workspace)
        results = compare(asked, questions, workspace, problems)
    return problems.none_or_raise(results)


def answer(
    settings: Experiment,
    model: Model,
    questions: Questions,
    store: Store,
    problems: Problems,
    engines: AbstractContextManager[EnginePool],
) -> None:
    """Responses, verdicts and profiles of one model; its engine is started if any is missing.

    ``engines`` is left when all is generated: the pool itself, which that closes, or a null
    context of one that answers other experiments too. A benchmark that cannot be answered becomes
    a problem; the others are completed and stored.
    """
    items = questions.items
    jobs = [job for job in jobs_of(settings, model) if job.benchmark.name in items]
    scoring: list[tuple[str, PrefectFuture[str]]] = []
    with engines as pool:
        for job, future in completed(
            lambda job: submit_generate(job, items[job.benchmark.name], pool, store),
            jobs,
            _STEPS_AT_ONCE,
        ):
            if problems.failed(job.name, future.result(raise_on_failure=False)):
                get_run_logger().error("%s has no responses; the others go on", job.name)
                continue
            scoring.append((job.name, submit_judge(job, items[job.benchmark.name], store)))
            scoring.append((job.name, submit_profile(job, store)))
    for name, step in scoring:
        problems.failed(name, step.result(raise_on_failure=False))
