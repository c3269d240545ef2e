"""Generation of one model's responses to one benchmark: only what is missing, part by part."""

from __future__ import annotations

import contextvars
import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

import pyarrow as pa

from tasks.endpoint import Quoting
from tasks.engines.contract import Batch, Prompt, to_generation_table
from tasks.engines.pool import EnginePool
from tasks.errors import EndpointError
from tasks.jobs import Job
from tasks.store import Artefact, Store
from tasks.verdicts import settle, without_text

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Generated:
    """What a job did: items there in all, added by this call, their tokens and seconds."""

    items: int
    added: int
    tokens: int
    seconds: float


def missing(job: Job, items: pa.Table, store: Store) -> list[Prompt]:
    """Prompts of the items that have no stored response, in the items' order."""
    done = job.responses(store).done()
    digest, decoding = job.request_digest, job.experiment.decoding
    return [
        Prompt(
            job.benchmark.name,
            item_id,
            job.prompt.replace("{question}", question),
            digest,
            decoding,
        )
        for item_id, question in zip(
            items["item_id"].to_pylist(), items["question"].to_pylist(), strict=True
        )
        if item_id not in done
    ]


def generate(
    job: Job, items: pa.Table, pool: EnginePool, store: Store, progress: Progress | None = None
) -> Generated:
    """Answer the missing items and store each batch as it completes.

    Parameters
    ----------
    progress : callable, optional
        Called with (items done, items in all) after each stored batch.

    Raises
    ------
    Exception
        The first problem of a batch, usually a :class:`tasks.errors.SentinelError`. What was
        answered is stored first, and the other batches in flight are finished and stored as well.
    """
    start = time.monotonic()
    prompts = missing(job, items, store)
    done = len(items) - len(prompts)
    tokens = 0
    problem: Exception | None = None
    responses = job.responses(store)
    for batch in _in_flight(prompts, job.experiment.batch_items, pool, responses):
        if batch is None:
            done = len(items) - len(missing(job, items, store))
        elif len(batch.table):
            _keep(job, items, batch.table, store)
            done += len(batch.table)
            tokens += sum(batch.table["n_tokens"].to_pylist())
            if progress:
                progress(done, len(items))
        problem = problem or (batch.problem if batch else None)
    if problem is not None:
        raise _public(problem, job)
    return Generated(len(items), len(prompts), tokens, time.monotonic() - start)


def _keep(job: Job, items: pa.Table, table: pa.Table, store: Store) -> None:
    """Store a batch of responses; without their text if no word of them is to be kept.

    A text that is not kept has to be judged now. The verdicts added are those of the part that is
    stored, which may be another run's.
    """
    if job.quiet:
        table = without_text(job, items, table, store)
    name = job.responses(store).append(table, once=True)
    if job.quiet:
        settle(job, store, name)


def _public(problem: Exception, job: Job) -> Exception:
    """The problem without a server's words where they may quote what must not be kept."""
    if not (job.quiet and isinstance(problem, Quoting)):
        return problem
    return EndpointError(
        f"{job.name}: the server failed; its message may quote an item and is not shown",
        problem.remedy,
    )


def _in_flight(
    prompts: list[Prompt], size: int, pool: EnginePool, responses: Artefact
) -> Iterator[Batch | None]:
    """Batches as they complete, one in flight for each of the pool's engines.

    ``None`` stands for a batch that another run has stored meanwhile. From then on batches are
    taken in any order, so that two runs of one experiment share the work instead of doing the same
    batch at the same time. After a batch with a problem no new one is sent: the rest would most
    likely fail as well.
    """
    waiting = [prompts[i : i + size] for i in range(0, len(prompts), size)]
    alone = True
    with ThreadPoolExecutor(max_workers=pool.width) as threads:
        running: dict[Future[Batch], list[Prompt]] = {}
        healthy = True
        while running or (waiting and healthy):
            while waiting and healthy and len(running) < pool.width:
                chunk = waiting.pop(0 if alone else random.randrange(len(waiting)))  # noqa: S311
                if _holds(responses, chunk):
                    alone = False
                    yield None
                else:
                    # What is logged there belongs to the run that asks.
                    here = contextvars.copy_context()
                    running[threads.submit(here.run, _attempt, pool, chunk)] = chunk
            finished, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                batch = future.result()
                asked = running.pop(future)
                alone = alone and not _holds(responses, asked)
                healthy = healthy and batch.problem is None
                yield batch


def _holds(responses: Artefact, prompts: list[Prompt]) -> bool:
    return responses.holds((p.benchmark, p.item_id) for p in prompts)


def _attempt(pool: EnginePool, prompts: list[Prompt]) -> Batch:
    """A batch's answers; a failure becomes the batch's problem.

    Whatever it is, it is raised only after the other batches in flight have been stored.
    """
    try:
        return pool.generate(prompts)
    except Exception as problem:
        return Batch(to_generation_table([], []), problem)
