"""Generation of one model's responses to one benchmark: only what is missing, part by part."""

from __future__ import annotations

import contextlib
import contextvars
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

import pyarrow as pa

from tasks.endpoint import Quoting
from tasks.engines.contract import Batch, Prompt, to_generation_table
from tasks.engines.pool import EnginePool
from tasks.errors import EndpointError
from tasks.generation.claims import Line
from tasks.jobs import Job
from tasks.storage.store import Artefact, Store
from tasks.verdicts.stored import settle, without_text

Progress = Callable[[int, int], None]

# Between two looks whether other runs have stored what they have in hand.
_LOOK_S = 0.5


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
        The first problem of a batch, usually a :class:`tasks.errors.SentinelError`. What was
        answered is stored first, and the other batches in flight are finished and stored as well.
    """
    start = time.monotonic()
    prompts = missing(job, items, store)
    if prompts:
        _drop_what_lost_its_responses(job, store)
    done = len(items) - len(prompts)
    tokens = 0
    problem: Exception | None = None
    responses = job.responses(store)
    versions: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    for batch in _in_flight(prompts, job.experiment.batch_items, pool, responses):
        if batch is None:
            done = len(items) - len(missing(job, items, store))
        elif len(batch.table):
            _keep(job, items, batch.table, store)
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


def _drop_what_lost_its_responses(job: Job, store: Store) -> None:
    """Delete verdicts and profiles of parts whose responses were deleted, as damaged ones are.

    Such a part is answered anew under its old name, and what was said of the old answers must not
    be taken for what is said of the new ones.
    """
    made = [job.profiles(store), job.verdicts(store)]
    if job.experiment.judge.rules is not None:
        made.append(job.rule_verdicts(store))
    for artefact in made:
        # Listed before the responses, which are stored first: another run's are not dropped.
        there = artefact.names()
        kept = set(job.responses(store).names())
        for name in there:
            if name not in kept:
                artefact.delete(name)


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

    ``None`` stands for batches that another run has stored meanwhile. Two runs of one experiment
    share its batches (:mod:`tasks.generation.claims`). After a batch with a problem no new one is
    sent: the rest would most likely fail as well.
    """
    line = Line([prompts[i : i + size] for i in range(0, len(prompts), size)], responses)
    running: dict[Future[Batch], list[Prompt]] = {}
    healthy = True
    with contextlib.closing(line), ThreadPoolExecutor(max_workers=pool.width) as threads:
        while running or (line and healthy):
            while healthy and len(running) < pool.width:
                chunk = line.take(idle=not running)
                if chunk is None:
                    break
                # What is logged there belongs to the run that asks.
                here = contextvars.copy_context()
                running[threads.submit(here.run, _attempt, pool, chunk)] = chunk
            if line.overtaken():
                yield None
            if not running:
                time.sleep(_LOOK_S if line else 0)
                continue
            finished, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                batch, chunk = future.result(), running.pop(future)
                healthy = healthy and batch.problem is None
                yield batch
                line.done(chunk)


def _attempt(pool: EnginePool, prompts: list[Prompt]) -> Batch:
    """A batch's answers; a failure becomes the batch's problem.

    Whatever it is, it is raised only after the other batches in flight have been stored.
    """
    try:
        return pool.generate(prompts)
    except Exception as problem:
        return Batch(to_generation_table([], []), problem)
