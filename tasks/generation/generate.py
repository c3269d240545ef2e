"""Generation of one model's responses to one benchmark: only what is missing, part by part."""

from __future__ import annotations

import contextlib
import contextvars
import time
from collections import Counter
from collections.abc import Callable, Generator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

import pyarrow as pa

from tasks.endpoint import Quoting
from tasks.engines.contract import Batch, Prompt, to_generation_table
from tasks.engines.pool import EnginePool
from tasks.errors import EndpointError, SentinelError
from tasks.jobs import Job
from tasks.storage import claims
from tasks.storage.store import Artefact, Store, part_name
from tasks.verdicts.stored import settle, without_text

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Generated:
    """What a job did: items there in all, added by this call, their tokens and seconds.

    ``notes`` say what a person should know of the added ones; they quote no item.
    """

    items: int
    added: int
    tokens: int
    seconds: float
    notes: tuple[str, ...] = ()


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
        The first problem of a batch, usually a :class:`tasks.errors.SentinelError`; that it could
        not be stored is one too. What was answered is stored first, and the other batches in
        flight are finished and stored as well.
    """
    start = time.monotonic()
    prompts = missing(job, items, store)
    done = len(items) - len(prompts)
    tokens = 0
    problem: Exception | None = None
    responses = job.responses(store)
    versions: Counter[str] = Counter()
    refused: Counter[str] = Counter()

    def keep(table: pa.Table) -> None:
        _keep(job, items, table, store)

    answered = _in_flight(prompts, job.experiment.batch_items, pool, responses, keep)
    with contextlib.closing(answered):
        for batch in answered:
            if batch is None:
                with contextlib.suppress(SentinelError):  # It only tells how far we are.
                    done = len(items) - len(missing(job, items, store))
            elif len(batch.table):
                done += len(batch.table)
                tokens += sum(batch.table["n_tokens"].to_pylist())
                for row in batch.table.select(["error", "engine_version"]).to_pylist():
                    if row["error"] is not None:
                        refused[row["error"]] += 1
                    else:
                        versions[row["engine_version"]] += 1
                if progress:
                    progress(done, len(items))
            problem = problem or (batch.problem if batch else None)
    if problem is not None:
        raise _public(problem, job)
    notes = _notes(refused, versions, quiet=job.quiet)
    return Generated(len(items), len(prompts), tokens, time.monotonic() - start, notes)


def _notes(
    refused: Counter[str], versions: Counter[str], *, quiet: bool = False
) -> tuple[str, ...]:
    """Prompts that the engine refused, and responses whose numbers came another way."""
    notes = []
    if refused:
        why = "" if quiet else f": {refused.most_common(1)[0][0]}"
        notes.append(f"{refused.total()} prompts refused by the engine{why}")
    if len(versions) > 1:
        by = ", ".join(f"{count} by {version}" for version, count in versions.most_common())
        notes.append(f"numbers obtained in several ways: {by}")
    return tuple(notes)


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
    prompts: list[Prompt],
    size: int,
    pool: EnginePool,
    responses: Artefact,
    keep: Callable[[pa.Table], None],
) -> Generator[Batch | None, None, None]:
    """Batches as they complete and are stored, one in flight for each of the pool's engines.

    ``None`` stands for batches that another run has stored meanwhile. Two runs of one experiment
    share its batches (:mod:`tasks.storage.claims`). After a batch with a problem no new one is
    sent: the rest would most likely fail as well.
    """
    chunks = (prompts[i : i + size] for i in range(0, len(prompts), size))
    batches = {part_name(_keys(chunk)): chunk for chunk in chunks}
    line = claims.Line(
        batches,
        responses,
        stored=lambda name: responses.holds(_keys(batches[name])),
        working=lambda: pool.seated,
    )
    running: dict[Future[Batch], str] = {}
    healthy = True
    with line, ThreadPoolExecutor(max_workers=pool.width) as threads:
        while running or (line and healthy):
            while healthy and len(running) < pool.width:
                name = line.take()
                if name is None:
                    break
                # What is logged there belongs to the run that asks.
                here = contextvars.copy_context()
                running[threads.submit(here.run, _attempt, pool, batches[name])] = name
            if line.overtaken():
                yield None
            if not running:
                time.sleep(claims.LOOK_S if line else 0)
                continue
            # Now and then a look whether there is something for an engine that has nothing to do.
            finished, _ = wait(running, claims.HEARTBEAT_S, return_when=FIRST_COMPLETED)
            for future in finished:
                batch = _kept(future.result(), keep)
                healthy = healthy and batch.problem is None
                line.done(running.pop(future))
                yield batch


def _keys(prompts: list[Prompt]) -> list[tuple[str, str]]:
    return [(prompt.benchmark, prompt.item_id) for prompt in prompts]


def _kept(batch: Batch, keep: Callable[[pa.Table], None]) -> Batch:
    """A batch after it was stored; a failure to store it becomes its problem."""
    if not len(batch.table):
        return batch
    try:
        keep(batch.table)
    except Exception as problem:
        return Batch(to_generation_table([], []), batch.problem or problem)
    return batch


def _attempt(pool: EnginePool, prompts: list[Prompt]) -> Batch:
    """A batch's answers; a failure becomes the batch's problem.

    Whatever it is, it is raised only after the other batches in flight have been stored.
    """
    try:
        return pool.generate(prompts)
    except Exception as problem:
        return Batch(to_generation_table([], []), problem)
