"""Profiles: the numbers each response is described by, of stored traces and of traces in files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from entropy.bounds import BOUNDS, statistic_bounds
from entropy.features import AS_RELEASED, LIKELIHOOD
from entropy.profile import FEATURES, profile
from entropy.uncertainty import uncertainty
from tasks.errors import SentinelError
from tasks.jobs import Job
from tasks.records import KEY, SCHEMA_VERSION
from tasks.signals.traces import Traces, check_traces, read_traces
from tasks.storage.store import Store
from tasks.tables import check_unique

#: Columns of a profile that a trace may not give: null in a row without chosen log-probabilities.
OPTIONAL: tuple[str, ...] = (*LIKELIHOOD, *AS_RELEASED)

PROFILE_SCHEMA = pa.schema(
    [
        *(pa.field(name, pa.string(), nullable=False) for name in KEY),
        pa.field("n_tokens", pa.int64(), nullable=False),
        *(pa.field(name, pa.float64(), nullable=False) for name in FEATURES),
        *(pa.field(name, pa.float64()) for name in OPTIONAL),
    ],
    metadata={"record": "profile", "schema_version": str(SCHEMA_VERSION)},
)


def profile_artefact(job: Job, store: Store) -> int:
    """Profile a job's stored parts that have no profiles yet; returns how many rows were added."""
    responses, profiles = job.responses(store), job.profiles(store)
    columns = [*KEY, "entropy", "chosen_logprob", "top_k"]
    if job.profile_k < job.experiment.decoding.top_k:
        columns.append("top_logprobs")
    added = 0
    for name in profiles.lacking(responses):
        part = f"{responses.address}/{name}"
        table = store.read_parquet(part, columns)
        profiles.follow(profile_table(table, part, job.profile_k), name, table)
        added += len(table)
    return added


def profile_file(path: str | Path, top_k: int, vocabulary: int | None = None) -> pa.Table:
    """Profiles of every trace in a file.

    Parameters
    ----------
    path : path
        Parquet or JSONL, in one of the shapes of :mod:`tasks.signals.traces`.
    top_k : int
        Candidates a token that the statistics are over.
    vocabulary : int, optional
        Tokens the model knows. With it the columns ``BOUNDS`` are added: what mean, maximum and sum
        over the whole vocabulary lie between.

    Raises
    ------
    SentinelError
        For a missing file or column, duplicate keys, or a trace that cannot be used; the message
        names the file, row, item and token.
    """
    table = pa.concat_tables(
        profile_table(rows, str(path), top_k, first, vocabulary)
        for first, rows in read_traces(path, top_k)
    )
    check_unique(table, str(path))
    return table


def profile_table(
    table: pa.Table,
    source: str,
    top_k: int = 20,
    first_row: int = 0,
    vocabulary: int | None = None,
) -> pa.Table:
    """Profiles of a table of traces; ``source`` and ``first_row`` place errors."""
    traces = check_traces(table, source, top_k, first_row)
    columns: list[Any] = [*traces.keys, pa.array(traces.entropies.lengths)]
    columns += [pa.array(s) for s in profile(traces.entropies).T]
    columns += _optional(traces)
    profiles = pa.Table.from_arrays(columns, schema=PROFILE_SCHEMA)
    if vocabulary is not None:
        for name, values in zip(BOUNDS, _bounds(traces, source, top_k, vocabulary), strict=True):
            profiles = profiles.append_column(pa.field(name, pa.float64()), pa.array(values))
    return profiles


def _optional(traces: Traces) -> list[pa.Array]:
    if traces.chosen is None:
        return [pa.nulls(len(traces.entropies.lengths), pa.float64())] * len(OPTIONAL)
    missing = (traces.chosen.lengths == 0) & (traces.entropies.lengths > 0)
    return [pa.array(column, mask=missing) for column in uncertainty(traces.chosen).T]


def _bounds(traces: Traces, source: str, top_k: int, vocabulary: int) -> NDArray[np.float64]:
    if traces.tail_mass is None:
        raise SentinelError(
            f"{source}: the traces hold no `tail_mass`, so the entropy has no bounds",
            "give the top-k log-probabilities, or leave out --vocabulary",
        )
    try:
        return statistic_bounds(traces.entropies, traces.tail_mass, top_k, vocabulary).T
    except ValueError as error:
        raise SentinelError(str(error), "give the size of the model's vocabulary") from None


def check_profiles(table: pa.Table, source: str) -> pa.Table:
    """Profiles from a file, with the columns of ``PROFILE_SCHEMA`` in its types and unique keys.

    Columns of ``OPTIONAL`` that the file lacks are null.

    Raises
    ------
    SentinelError
        For a missing column, one that holds no numbers, or duplicate keys.
    """
    for field in PROFILE_SCHEMA:
        if field.name not in table.column_names:
            if not field.nullable:
                raise SentinelError(
                    f"{source}: column `{field.name}` is missing",
                    "write it with `sentinel profile`",
                )
            table = table.append_column(field, pa.nulls(len(table), field.type))
    try:
        table = table.select(PROFILE_SCHEMA.names).cast(PROFILE_SCHEMA)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError) as error:
        raise SentinelError(f"{source}: {error}", "write it with `sentinel profile`") from None
    check_unique(table, source)
    return table
