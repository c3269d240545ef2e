"""The steps of the flows as Prefect tasks: seen, cached by content, retried where it can help.

A task's cache key is the hash of everything that determines its artefact, and its result is the
artefact's address. Prefect's record is trusted only while the artefact is whole: each step says so
when it is submitted, and a step whose artefact was deleted runs again.

Steps have no tags: Prefect asks the server for a slot of each tag before a step starts, and over
SQLite waits two seconds whenever another step is writing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
from prefect import get_run_logger, task
from prefect.client.schemas.objects import State, TaskRun
from prefect.context import TaskRunContext
from prefect.futures import PrefectFuture
from prefect.tasks import Task

from flows.plainly import tell_plainly
from flows.progress import Progress
from flows.slots import GPU_JOBS, JUDGE_JOBS, slot
from tasks.conf import Sweep
from tasks.engines.pool import EnginePool
from tasks.errors import EngineDied, SentinelError
from tasks.generation.generate import generate
from tasks.jobs import Job, items_digest
from tasks.signals.features import Joined
from tasks.signals.profile import profile_artefact
from tasks.storage.keys import digest
from tasks.storage.store import Artefact, Store
from tasks.sweeps.sweep import remarks, sweep
from tasks.sweeps.transfer import transfer, write_transfer
from tasks.verdicts.stored import judge_artefact

tell_plainly()


def _key(context: TaskRunContext, parameters: dict[str, Any]) -> str:
    """Cache key of a task: the parameter of that name."""
    return f"{context.task.name}-{parameters['key']}"


# Results are addresses: text, that is not executed when it is read.
_TEXT = "json"


async def _engine_died(task: Task[..., Any], run: TaskRun, state: State[Any]) -> bool:
    """Retry when an engine broke down; bad input stays bad."""
    error = await state.aresult(raise_on_failure=False)
    return isinstance(error, EngineDied)


@task(
    task_run_name="generate {job.name}",
    cache_key_fn=_key,
    persist_result=True,
    result_serializer=_TEXT,
    retries=2,
    retry_delay_seconds=[5, 30],
    retry_condition_fn=_engine_died,
)
def generate_responses(key: str, job: Job, items: pa.Table, pool: EnginePool, store: Store) -> str:
    """Answer the items of one benchmark that have no response yet."""
    logger = get_run_logger()
    with (
        slot(GPU_JOBS, job.model.resources.gpus > 0),
        Progress(f"Responses of {job.name}") as report,
    ):
        did = generate(job, items, pool, store, report)
    logger.info(
        "%s: %d responses, %d of them new, %d tokens in %.0f s",
        job.name,
        did.items,
        did.added,
        did.tokens,
        did.seconds,
    )
    for note in did.notes:
        logger.warning("%s: %s", job.name, note)
    return job.responses(store).address


@task(
    task_run_name="judge {job.name}",
    cache_key_fn=_key,
    persist_result=True,
    result_serializer=_TEXT,
)
def judge_responses(key: str, job: Job, items: pa.Table, store: Store) -> str:
    """Score the responses that have no verdict yet."""
    with (
        slot(JUDGE_JOBS, job.experiment.judge.llm is not None),
        Progress(f"Verdicts on {job.name}") as report,
    ):
        did = judge_artefact(job, items, store, report)
    get_run_logger().info("%s: %s", job.name, did)
    return job.verdicts(store).address


@task(
    task_run_name="profile {job.name}",
    cache_key_fn=_key,
    persist_result=True,
    result_serializer=_TEXT,
)
def profile_responses(key: str, job: Job, store: Store) -> str:
    """Compute the statistics of the traces that have none yet."""
    added = profile_artefact(job, store)
    get_run_logger().info("%s: %d traces profiled", job.name, added)
    return job.profiles(store).address


@task(task_run_name="sweep {joined.table.model}")
def sweep_model(joined: Joined, settings: Any, store: Store) -> pa.Table:
    """Train every estimator on every composition of one model's benchmarks."""
    logger = get_run_logger()
    model = joined.table.model
    for note in joined.notes:
        logger.warning("%s: %s", model, note)
    with Progress(f"Sweep of {model}") as report:
        splits = sweep(joined, settings, store, report)
    for remark in remarks(splits):
        logger.info("%s: %s", model, remark)
    logger.info("%s: %d splits", model, len(splits))
    return splits


@task(task_run_name="transfer between models")
def transfer_models(
    joined: Mapping[str, Joined], settings: Sweep, store: Store, folder: str
) -> pa.Table:
    """Train on each model's labels, score on every other model, and write the results."""
    with Progress("Transfer between models") as report:
        rows = transfer(joined, settings, store, report)
    get_run_logger().info("%d rows of transfer: %s", len(rows), write_transfer(rows, store, folder))
    return rows


def submit_generate(
    job: Job, items: pa.Table, pool: EnginePool, store: Store
) -> PrefectFuture[str]:
    """Submit a generation; cached where Prefect has seen these items done and they still are."""
    whole = False
    with contextlib.suppress(SentinelError):  # A damaged part: the step itself tells of it.
        whole = set(items["item_id"].to_pylist()) <= job.responses(store).done()
    step = generate_responses.with_options(refresh_cache=not whole)
    return step.submit(digest([job.key, items_digest(items)]), job, items, pool, store)


def submit_judge(job: Job, items: pa.Table, store: Store) -> PrefectFuture[str]:
    """Submit the judging of a job whose responses are there."""
    responses, verdicts = job.responses(store), job.verdicts(store)
    step = judge_responses.with_options(refresh_cache=not _follows(verdicts, responses))
    return step.submit(digest([verdicts.address, responses.digest()]), job, items, store)


def submit_profile(job: Job, store: Store) -> PrefectFuture[str]:
    """Submit the profiling of a job whose responses are there."""
    responses, profiles = job.responses(store), job.profiles(store)
    step = profile_responses.with_options(refresh_cache=not _follows(profiles, responses))
    return step.submit(digest([profiles.address, responses.digest()]), job, store)


def _follows(made: Artefact, responses: Artefact) -> bool:
    """Whether verdicts or profiles are there of all responses as they are now."""
    with contextlib.suppress(SentinelError):  # A damaged part: the step itself tells of it.
        return made.digest() == responses.digest()
    return False
