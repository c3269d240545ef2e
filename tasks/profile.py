"""Profiles of traces: stored ones part by part, and files in any of the accepted shapes.

A trace comes as a list of entropies a token (``entropy``, optionally ``chosen_logprob``), as
flattened top-k log-probabilities (``top_logprobs``, or a column named ``topK`` such as ``top20``),
or as OpenAI chat completions in JSONL. Files are streamed, so memory holds one slice of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from entropy.chat import candidates
from entropy.profile import FEATURES, profile
from entropy.trace import (
    Ragged,
    TraceError,
    check_entropies,
    clean_logprobs,
    reduce_topk,
    reshape_topk,
)
from tasks.errors import SentinelError
from tasks.records import KEY, SCHEMA_VERSION
from tasks.store import Artefact
from tasks.tables import check_unique, key_columns, read_json_lines, rows_table

# Rows read at once from a file: at a thousand tokens each, tens of megabytes.
_SLICE = 4096

PROFILE_SCHEMA = pa.schema(
    [
        *(pa.field(name, pa.string(), nullable=False) for name in KEY),
        pa.field("n_tokens", pa.int64(), nullable=False),
        *(pa.field(name, pa.float64(), nullable=False) for name in FEATURES),
    ],
    metadata={"record": "profile", "schema_version": str(SCHEMA_VERSION)},
)


def profile_artefact(responses: Artefact, profiles: Artefact) -> int:
    """Profile the stored parts that have no profiles yet; returns how many rows were added."""
    have = {p.rsplit("/", 1)[-1] for p in profiles.parts()}
    added = 0
    for part in responses.parts():
        if part.rsplit("/", 1)[-1] not in have:
            table = responses.store.read_parquet(part, [*KEY, "entropy"])
            profiles.append(profile_table(table, part))
            added += len(table)
    return added


def profile_file(path: str | Path, top_k: int) -> pa.Table:
    """Profiles of every trace in a file.

    Parameters
    ----------
    path : path
        Parquet or JSONL, in one of the shapes of this module.
    top_k : int
        Log-probabilities a token that the file must hold, where it holds log-probabilities.

    Raises
    ------
    SentinelError
        For a missing file or column, duplicate keys, or a trace that cannot be used; the message
        names the file, row, item and token.
    """
    table = pa.concat_tables(
        profile_table(rows, str(path), top_k, first) for first, rows in _slices(Path(path), top_k)
    )
    check_unique(table, str(path))
    return table


def profile_table(traces: pa.Table, source: str, top_k: int = 20, first_row: int = 0) -> pa.Table:
    """Profiles of a table of traces; ``source`` and ``first_row`` place errors."""
    try:
        entropies = _entropies(traces, source, top_k)
        statistics = profile(entropies)
    except TraceError as error:
        key = {name: traces[name][error.row].as_py() for name in KEY}
        raise SentinelError(
            f"{source}, row {first_row + error.row} (benchmark {key['benchmark']!r}, item "
            f"{key['item_id']!r}), token {error.token}: {error.problem}",
            error.remedy,
        ) from None
    columns: list[Any] = key_columns(traces, source)
    columns += [pa.array(entropies.lengths), *(pa.array(s) for s in statistics.T)]
    return pa.Table.from_arrays(columns, schema=PROFILE_SCHEMA)


def _entropies(traces: pa.Table, source: str, top_k: int) -> Ragged:
    flat = _flat_column(traces)
    try:
        if "entropy" in traces.column_names:
            entropies = Ragged.from_arrow(traces["entropy"])
            check_entropies(entropies)
            if "chosen_logprob" in traces.column_names:
                clean_logprobs(Ragged.from_arrow(traces["chosen_logprob"]))
            return entropies
        if flat is not None:
            k = _declared_k(traces, flat, top_k)
            return _reduce(clean_logprobs(Ragged.from_arrow(traces[flat])), k, top_k)
    except TypeError as error:
        raise SentinelError(f"{source}: {error}", "store one list of numbers a response") from None
    raise SentinelError(
        f"{source}: no trace among the columns {', '.join(traces.column_names)}",
        "give `entropy` (a list a response), `top_logprobs` (flattened) or OpenAI completions",
    )


def _flat_column(traces: pa.Table) -> str | None:
    """Name of the column of flattened log-probabilities, if there is one."""
    return next((c for c in traces.column_names if re.fullmatch(r"top(\d+|_logprobs)", c)), None)


def _declared_k(traces: pa.Table, flat: str, top_k: int) -> int:
    """How many log-probabilities a token the table says it has; at least what was asked for."""
    declared = [top_k]
    if flat != "top_logprobs":
        declared = [int(flat.removeprefix("top"))]
    elif "k" in traces.column_names and len(traces):
        declared = traces["k"].to_pylist()
    for row, k in enumerate(declared):
        if k is None or k < top_k:
            raise TraceError(
                row,
                0,
                f"{k or 'an unknown number of'} log-probabilities a token, {top_k} are expected",
                f"collect {top_k}, or pass a smaller --top-k (not comparable across k)",
            )
        if k != declared[0]:
            raise TraceError(
                row,
                0,
                f"{k} log-probabilities a token, {declared[0]} in the rows before",
                "give each k a file of its own",
            )
    return int(declared[0])


def _reduce(logprobs: Ragged, k: int, top_k: int) -> Ragged:
    matrix, offsets = reshape_topk(logprobs, k)
    if k > top_k:
        # Entropies over more candidates would not be comparable with those over top_k.
        matrix = -np.sort(-matrix, axis=1)[:, :top_k]
    try:
        return Ragged(reduce_topk(matrix).entropy, offsets)
    except ValueError as error:
        token = int(re.findall(r"token (\d+)", str(error))[0])
        row, within = Ragged(matrix[:, 0], offsets).locate(token)
        problem, remedy = str(error).split(": ", 1)[1].split("; ", 1)
        raise TraceError(row, within, problem, remedy) from None


def _slices(path: Path, top_k: int) -> Iterator[tuple[int, pa.Table]]:
    """(number of the first row, rows) of consecutive slices of a file."""
    if not path.exists():
        raise SentinelError(f"{path} does not exist", "check the path")
    if path.suffix in (".jsonl", ".ndjson"):
        yield 0, _from_json(path, top_k)
        return
    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise SentinelError(
            f"{path} is not a readable Parquet file: {error}", "give .parquet or .jsonl"
        ) from None
    with file:
        if file.metadata.num_rows == 0:
            raise SentinelError(f"{path} holds no rows", "check what wrote it")
        for name in KEY:
            if name not in file.schema_arrow.names:
                raise SentinelError(
                    f"{path}: column `{name}` is missing",
                    f"rename or add it (found: {', '.join(file.schema_arrow.names)})",
                )
        wanted = [
            c
            for c in file.schema_arrow.names
            if c in (*KEY, "entropy", "chosen_logprob", "k")
            or re.fullmatch(r"top(\d+|_logprobs)", c)
        ]
        first = 0
        for batch in file.iter_batches(_SLICE, columns=wanted):
            yield first, pa.Table.from_batches([batch])
            first += batch.num_rows


def _from_json(path: Path, top_k: int) -> pa.Table:
    """Entropies of OpenAI chat completions, or of rows that hold lists already."""
    rows = read_json_lines(path)
    if not rows:
        raise SentinelError(f"{path} holds no rows", "check what wrote it")
    for number, row in enumerate(rows):
        for name in KEY:
            if name not in row:
                raise SentinelError(
                    f"{path}, row {number}: `{name}` is missing",
                    "every row needs benchmark and item_id",
                )
        completion = _completion(row)
        if completion is not None:
            row["entropy"], row["chosen_logprob"] = _from_completion(
                completion, path, number, top_k
            )
    known = (*KEY, "entropy", "chosen_logprob", "top_logprobs", "k")
    return rows_table([{c: r[c] for c in known if c in r} for r in rows], str(path))


def _completion(row: dict[str, Any]) -> dict[str, Any] | None:
    """The chat completion in a row: the row itself, or the body of a batch API's line."""
    if "choices" in row:
        return row
    body = (row.get("response") or {}) if isinstance(row.get("response"), dict) else {}
    body = body.get("body", body)
    return body if "choices" in body else None


def _from_completion(
    completion: dict[str, Any], path: Path, number: int, top_k: int
) -> tuple[list[float], list[float]]:
    try:
        content = completion["choices"][0]["logprobs"]["content"]
        top, chosen = candidates(content, top_k)
        return reduce_topk(top).entropy.tolist(), chosen.tolist()
    except (KeyError, IndexError, TypeError, AttributeError):
        raise SentinelError(
            f"{path}, row {number}: the completion has no logprobs.content",
            f"request logprobs=true and top_logprobs={top_k}",
        ) from None
    except TraceError as error:
        raise SentinelError(
            f"{path}, row {number}, token {error.token}: {error.problem}", error.remedy
        ) from None
    except ValueError as error:
        raise SentinelError(
            f"{path}, row {number}, {error}", "give natural logarithms of probabilities"
        ) from None


def check_profiles(table: pa.Table, source: str) -> pa.Table:
    """Profiles from a file, with the columns of ``PROFILE_SCHEMA`` in its types and unique keys.

    Raises
    ------
    SentinelError
        For a missing column, one that holds no numbers, or duplicate keys.
    """
    for field in PROFILE_SCHEMA:
        if field.name not in table.column_names:
            raise SentinelError(
                f"{source}: column `{field.name}` is missing", "write it with `sentinel profile`"
            )
    try:
        table = table.select(PROFILE_SCHEMA.names).cast(PROFILE_SCHEMA)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError) as error:
        raise SentinelError(f"{source}: {error}", "write it with `sentinel profile`") from None
    check_unique(table, source)
    return table
