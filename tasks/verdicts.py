"""Verdicts on stored responses, part by part: a changed judge re-judges and never regenerates."""

from __future__ import annotations

import pyarrow as pa

from tasks.errors import SentinelError
from tasks.jobs import Job
from tasks.judge import judge_table
from tasks.records import KEY
from tasks.store import Store


def judge_artefact(job: Job, items: pa.Table, store: Store) -> int:
    """Judge the stored parts that have no verdicts yet; returns how many rows were added.

    Raises
    ------
    SentinelError
        If the experiment keeps no text: its responses were judged when they were generated, and
        cannot be judged again by other settings.
    """
    responses, verdicts = job.responses(store), job.verdicts(store)
    have = {p.rsplit("/", 1)[-1] for p in verdicts.parts()}
    added = 0
    for part in responses.parts():
        if part.rsplit("/", 1)[-1] not in have:
            if not job.experiment.store_text:
                raise SentinelError(
                    f"{job.name}: the texts of {part} were not kept, so they cannot be judged anew",
                    "put back the judge's settings, or generate again with store_text: true",
                )
            table = store.read_parquet(part, [*KEY, "text", "finish"])
            verdicts.append(judge_batch(job, items, table))
            added += len(table)
    return added


def judge_batch(job: Job, items: pa.Table, responses: pa.Table) -> pa.Table:
    """Verdicts on a table of responses, in their order."""
    return judge_table(
        items,
        responses,
        tolerance=job.benchmark.tolerance,
        deadline_s=job.experiment.judge.deadline_s,
    )
