"""Traces in every shape that people bring them in, as entropies and what lies beside them.

A trace comes as a list of entropies a token (``entropy``, optionally ``chosen_logprob`` and
``tail_mass``), as flattened top-k log-probabilities (``top_logprobs``, or a column named ``topK``
such as ``top20``), or as OpenAI chat completions in JSONL. Files are streamed, so memory holds one
slice of them.

Entropies over different k are not comparable. A table that says how many candidates its entropies
are over (``top_k``, or flattened log-probabilities beside them) is read over the number asked for:
from the log-probabilities where that is smaller, never where it is larger.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from entropy.chat import candidates
from entropy.trace import (
    Floats,
    Ragged,
    TraceError,
    check_entropies,
    clean_logprobs,
    reduce_topk,
    reshape_topk,
)
from tasks.errors import SentinelError
from tasks.records import KEY
from tasks.tables import key_columns, read_json_lines, rows_table

# Rows read at once from a file: at a thousand tokens each, tens of megabytes.
_SLICE = 4096

# Columns of a table of traces besides its key and its flattened log-probabilities.
_BESIDE = ("entropy", "chosen_logprob", "tail_mass", "k", "top_k")


@dataclass(frozen=True)
class Traces:
    """Checked traces of some responses, one row a response.

    Parameters
    ----------
    keys : list of Arrow columns
        ``benchmark`` and ``item_id``.
    entropies : Ragged
        In nats, over the number of candidates asked for, not renormalised.
    chosen : Ragged or None
        Log-probabilities of the chosen tokens; as many as entropies in a row, or none in a row that
        lacks them. ``None`` where the table has no such column.
    tail_mass : array of shape (n_tokens,) or None
        Probability outside those candidates.
    """

    keys: list[pa.ChunkedArray]
    entropies: Ragged
    chosen: Ragged | None
    tail_mass: Floats | None


def check_traces(table: pa.Table, source: str, top_k: int, first_row: int = 0) -> Traces:
    """Traces of a table in one of the shapes above.

    Parameters
    ----------
    table : Table
        With the key, and a shape's columns.
    source : str
        Named in errors, with rows counted from ``first_row``.
    top_k : int
        Candidates a token that the entropies are to be over.

    Raises
    ------
    SentinelError
        If there is no trace among the columns, or one cannot be used; the message names the row,
        item and token.
    """
    try:
        entropies, tail = _entropies(table, source, top_k)
        chosen = _chosen(table, entropies)
    except TypeError as error:
        raise SentinelError(f"{source}: {error}", "store one list of numbers a response") from None
    except TraceError as error:
        key = {name: table[name][error.row].as_py() for name in KEY}
        raise SentinelError(
            f"{source}, row {first_row + error.row} (benchmark {key['benchmark']!r}, item "
            f"{key['item_id']!r}), token {error.token}: {error.problem}",
            error.remedy,
        ) from None
    return Traces(key_columns(table, source), entropies, chosen, tail)


def _entropies(table: pa.Table, source: str, top_k: int) -> tuple[Ragged, Floats | None]:
    """Entropies and tail masses over ``top_k`` candidates."""
    flat = flat_column(table.column_names)
    if "entropy" in table.column_names:
        entropies = Ragged.from_arrow(table["entropy"])
        wider = _wider(table, entropies, flat, top_k)
        if wider is None:
            check_entropies(entropies)
            return entropies, _beside(table, "tail_mass", entropies)
        return _reduce(*wider, top_k)
    if flat is not None:
        k = _declared_k(table, flat, top_k)
        return _reduce(clean_logprobs(Ragged.from_arrow(table[flat])), k, top_k)
    raise SentinelError(
        f"{source}: no trace among the columns {', '.join(table.column_names)}",
        "give `entropy` (a list a response), `top_logprobs` (flattened) or OpenAI completions",
    )


def flat_column(names: list[str]) -> str | None:
    """Name of the column of flattened log-probabilities, if there is one."""
    return next((c for c in names if re.fullmatch(r"top(\d+|_logprobs)", c)), None)


def _wider(
    table: pa.Table, entropies: Ragged, flat: str | None, top_k: int
) -> tuple[Ragged, int] | None:
    """Log-probabilities to reduce and their k, if the entropies are over more than ``top_k``."""
    logprobs = None if flat is None else clean_logprobs(Ragged.from_arrow(table[flat]))
    lengths = entropies.lengths
    if "top_k" in table.column_names:
        recorded = table["top_k"].fill_null(top_k).to_numpy().astype(np.int64)
    elif logprobs is not None and len(logprobs.values):
        # Where they are not kept, nothing contradicts the entropies.
        known = np.where(logprobs.lengths > 0, logprobs.lengths, lengths * top_k)
        recorded = known // np.maximum(lengths, 1)
    else:
        return None
    rows = np.flatnonzero((lengths > 0) & (recorded != top_k))
    if not rows.size:
        return None
    row, k = int(rows[0]), int(recorded[rows[0]])
    what = f"its entropies are over {k} candidates a token, {top_k} are expected"
    if (recorded[rows] < top_k).any():
        raise TraceError(row, 0, what, f"collect {top_k}, or pass a smaller --top-k")
    others = np.flatnonzero((lengths > 0) & (recorded != k))
    if others.size:
        at = int(others[0])
        raise TraceError(
            at,
            0,
            f"{recorded[at]} candidates a token, {k} in other rows",
            "give each k a file of its own",
        )
    if logprobs is None or (short := np.flatnonzero(logprobs.lengths != k * lengths)).size:
        raise TraceError(
            row if logprobs is None else int(short[0]),
            0,
            f"{what}, and the {k} log-probabilities were not kept",
            f"generate with keep_top_logprobs: true, or pass --top-k {k}",
        )
    return logprobs, k


def _beside(table: pa.Table, name: str, entropies: Ragged) -> Floats | None:
    """Values of a column with one number a token, if every row has them."""
    column = _lists(table, name)
    if column is None or (column.lengths != entropies.lengths).any():
        return None
    return column.values


def _chosen(table: pa.Table, entropies: Ragged) -> Ragged | None:
    column = _lists(table, "chosen_logprob")
    if column is None:
        return None
    chosen = clean_logprobs(column)
    odd = (chosen.lengths != entropies.lengths) & (chosen.lengths > 0)
    if odd.any():
        row = int(np.argmax(odd))
        found, wanted = chosen.lengths[row], entropies.lengths[row]
        raise TraceError(
            row,
            int(min(found, wanted)),
            f"{found} values of `chosen_logprob` for {wanted} tokens",
            "give one a token, or leave the row's empty",
        )
    return chosen


def _lists(table: pa.Table, name: str) -> Ragged | None:
    """A column of lists; ``None`` where it is absent or holds nothing at all."""
    if name not in table.column_names or pa.types.is_null(table[name].type):
        return None
    return Ragged.from_arrow(table[name])


def _declared_k(table: pa.Table, flat: str, top_k: int) -> int:
    """How many log-probabilities a token the table says it has; at least what was asked for."""
    declared = [top_k]
    if flat != "top_logprobs":
        declared = [int(flat.removeprefix("top"))]
    elif "k" in table.column_names and len(table):
        declared = table["k"].to_pylist()
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


def _reduce(logprobs: Ragged, k: int, top_k: int) -> tuple[Ragged, Floats]:
    matrix, offsets = reshape_topk(logprobs, k)
    if k > top_k:
        # Entropies over more candidates would not be comparable with those over top_k.
        matrix = -np.sort(-matrix, axis=1)[:, :top_k]
    try:
        reduced = reduce_topk(matrix)
    except ValueError as error:
        token = int(re.findall(r"token (\d+)", str(error))[0])
        row, within = Ragged(matrix[:, 0], offsets).locate(token)
        problem, remedy = str(error).split(": ", 1)[1].split("; ", 1)
        raise TraceError(row, within, problem, remedy) from None
    return Ragged(reduced.entropy, offsets), reduced.tail_mass


def read_traces(path: str | Path, top_k: int) -> Iterator[tuple[int, pa.Table]]:
    """(number of the first row, rows) of consecutive slices of a file, for :func:`check_traces`.

    Raises
    ------
    SentinelError
        For a missing or unreadable file, one without rows, or a missing key.
    """
    path = Path(path)
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
        first = 0
        for batch in file.iter_batches(_SLICE, columns=_wanted(file, top_k)):
            yield first, pa.Table.from_batches([batch])
            first += batch.num_rows


def _wanted(file: pq.ParquetFile, top_k: int) -> list[str]:
    """Columns to read; the log-probabilities, most of a file, only where entropies do not do."""
    names = file.schema_arrow.names
    wanted = [c for c in names if c in (*KEY, *_BESIDE)]
    flat = flat_column(names)
    if flat is None:
        return wanted
    if {"entropy", "top_k"} <= set(names):
        recorded = file.read(["top_k"])["top_k"]
        if pc.all(pc.less_equal(recorded, top_k)).as_py():
            return wanted
    return [*wanted, flat]


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
            row |= _from_completion(completion, path, number, top_k)
    known = (*KEY, *_BESIDE, "top_logprobs")
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
) -> dict[str, list[float]]:
    try:
        content = completion["choices"][0]["logprobs"]["content"]
        top, chosen = candidates(content, top_k)
        reduced = reduce_topk(top)
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
    return {
        "entropy": reduced.entropy.tolist(),
        "chosen_logprob": chosen.tolist(),
        "tail_mass": reduced.tail_mass.tolist(),
    }
