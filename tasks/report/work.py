"""What became of the responses and what they cost, counted a model and benchmark."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from tasks.jobs import Job
from tasks.records import SCORED, Finish, Status
from tasks.storage.store import Store

#: Columns of responses that say what was run and what it took; no text among them.
COLUMNS = (
    "finish", "n_tokens", "engine", "engine_version", "logprobs_mode", "seconds", "tokens_in",
    "tokens_out", "cost",
)  # fmt: skip
_SUMS = ("tokens_in", "tokens_out", "seconds", "cost")


def counts(table: pa.Table) -> dict[str, Any]:
    """Counts over responses, labels or both: whatever of the columns is there.

    Parameters
    ----------
    table : Table
        With any of ``finish``, ``status``, ``correct``, and the sums of :data:`COLUMNS`.

    Returns
    -------
    dict
        ``responses``, and ``cut_off, failed, no_answer, unscorable, tokens_in, tokens_out, seconds,
        cost`` as far as they can be told.
    """
    found: dict[str, Any] = {"responses": len(table)}
    if "finish" in table.column_names:
        found["cut_off"] = _count(table["finish"], {Finish.LENGTH})
        found["failed"] = _count(table["finish"], {Finish.ERROR})
    if "status" in table.column_names:
        found["no_answer"] = _count(table["status"], {Status.NO_ANSWER})
        found["unscorable"] = _count(table["status"], set(Status) - set(SCORED))
    elif "correct" in table.column_names:
        found["unscorable"] = pc.sum(pc.is_null(table["correct"], nan_is_null=True)).as_py() or 0
    for name in _SUMS:
        if name in table.column_names:
            found[name] = pc.sum(table[name]).as_py()
    return found


def _count(column: pa.ChunkedArray, values: set[Any]) -> int:
    return int(pc.sum(pc.is_in(column, pa.array(sorted(map(str, values))))).as_py() or 0)


def counts_by_benchmark(model: str, table: pa.Table, benchmarks: list[str]) -> pd.DataFrame:
    """:func:`counts` of each of these benchmarks in one file."""
    parts = {b: table.filter(pc.equal(table["benchmark"], b)) for b in benchmarks}
    rows = [{"model": model, "benchmark": b, **counts(part)} for b, part in parts.items()]
    return pd.DataFrame(rows)


def counts_of_job(job: Job, items: pa.Table, store: Store) -> tuple[dict[str, Any], pa.Table]:
    """:func:`counts` of a stored job over the items asked for, and its responses without text."""
    asked = items["item_id"].combine_chunks()
    row: dict[str, Any] = {"model": job.model.name, "benchmark": job.benchmark.name}
    responses = job.responses(store).read(COLUMNS)
    verdicts = job.verdicts(store).read(("status",))
    if responses is None or verdicts is None:
        return row | {"responses": 0}, pa.table({})
    kept = responses.filter(pc.is_in(responses["item_id"], value_set=asked))
    judged = verdicts.filter(pc.is_in(verdicts["item_id"], value_set=asked))
    return row | counts(judged) | counts(kept), kept
