"""Reads tables that people bring: Parquet or JSONL, checked column by column before any work.

An error names the file, the column or row, and the remedy. Extra columns are kept; optional ones
may be missing.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks.errors import SentinelError
from tasks.records import KEY, arrow_schema


def read_rows(path: str | Path) -> pa.Table:
    """Table in a Parquet or JSONL file, by its ending.

    Raises
    ------
    SentinelError
        If the file is missing, damaged, of another kind, or holds no row; for JSONL with the line.
    """
    path = Path(path)
    if not path.exists():
        raise SentinelError(f"{path} does not exist", "check the path")
    if path.suffix == ".parquet":
        try:
            table = pq.read_table(path)
        except (pa.ArrowInvalid, OSError) as error:
            raise SentinelError(
                f"{path} is not a readable Parquet file: {error}", "write it anew"
            ) from None
    elif path.suffix in (".jsonl", ".ndjson"):
        table = rows_table(read_json_lines(path), str(path))
    else:
        raise SentinelError(
            f"{path}: files of kind {path.suffix!r} are not read", "give .parquet or .jsonl"
        )
    if len(table) == 0:
        raise SentinelError(f"{path} holds no rows", "check what wrote it")
    return table


def rows_table(rows: Sequence[dict[str, Any]], source: str) -> pa.Table:
    """Table of objects, with the fields of all of them: an optional one may first come late.

    Raises
    ------
    SentinelError
        If a field holds values of different kinds.
    """
    columns = {}
    for name in dict.fromkeys(field for row in rows for field in row):
        try:
            columns[name] = pa.array([row.get(name) for row in rows])
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
            raise SentinelError(
                f"{source}: column `{name}` mixes kinds of values: {error}", "write one kind in it"
            ) from None
    return pa.table(columns)


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """Objects of a JSONL file, one a line; blank lines are passed over."""
    rows = []
    # Bytes, so that a line in another encoding is an error of that line.
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise SentinelError(
                    f"{path}, line {number}: not JSON: {error}", "mend that line"
                ) from None
            if not isinstance(row, dict):
                raise SentinelError(
                    f"{path}, line {number}: not an object", "write one object a line"
                )
            rows.append(row)
    return rows


def read_records(path: str | Path, record: type, *, needs: Sequence[str] | None = None) -> pa.Table:
    """Table of records in a file, with the record's columns in its types and unique keys.

    Parameters
    ----------
    path : path
        Parquet or JSONL.
    record : type
        One of the classes of :mod:`tasks.records`.
    needs : sequence of str, optional
        Columns that must be there besides the key; by default those the record does not let be
        null.

    Raises
    ------
    SentinelError
        For a missing column, a column of another type, a null where the record lets there be none,
        or duplicate keys.
    """
    table = read_rows(path)
    return check_records(table, str(path), record, needs=needs)


def check_records(
    table: pa.Table, source: str, record: type, *, needs: Sequence[str] | None = None
) -> pa.Table:
    """Check and convert a table as :func:`read_records` does; ``source`` is named in errors."""
    schema = arrow_schema(record)
    needed = needs if needs is not None else [f.name for f in schema if not f.nullable]
    required = list(dict.fromkeys((*KEY, *needed)))
    for name in required:
        if name not in table.column_names:
            raise SentinelError(
                f"{source}: column `{name}` is missing (found: {', '.join(table.column_names)})",
                f"rename or add it; every {record.__name__.lower()} needs {', '.join(required)}",
            )
    for field in schema:
        if field.name in table.column_names:
            column = _cast(table[field.name], field, source)
            if field.name in required and not field.nullable and column.null_count:
                row = pc.index(column.is_null(), True).as_py()
                raise SentinelError(
                    f"{source}, row {row}: `{field.name}` is empty", "fill it or drop the row"
                )
            table = table.set_column(table.column_names.index(field.name), field.name, column)
    check_unique(table, source)
    return table


def check_unique(table: pa.Table, source: str) -> None:
    """Raise :class:`SentinelError` naming the first key that stands on two rows."""
    counts = table.group_by(list(KEY)).aggregate([([], "count_all")])
    twice = counts.filter(pc.greater(counts["count_all"], 1))
    if len(twice):
        key = {name: twice[name][0].as_py() for name in KEY}
        rows = [row for row, pair in enumerate(table.select(list(KEY)).to_pylist()) if pair == key]
        raise SentinelError(
            f"{source}: benchmark {key['benchmark']!r}, item_id {key['item_id']!r} stands on rows "
            f"{rows[0]} and {rows[1]} ({len(twice)} duplicated keys in all)",
            "keep one row a key",
        )


def _cast(column: pa.ChunkedArray, field: pa.Field, source: str) -> pa.ChunkedArray:
    """The column in the field's type, where nothing but the width of the type has to change."""
    if column.type == field.type or (_is_list(column.type) and _is_list(field.type)):
        return column  # Lists of any float width are read as they are; they can be gigabytes.
    both_numbers = _is_number(column.type) and _is_number(field.type)
    both_strings = _is_string(column.type) and _is_string(field.type)
    if not (both_numbers or both_strings or pa.types.is_null(column.type)):
        raise SentinelError(
            f"{source}: column `{field.name}` holds {column.type}, not {field.type}",
            "convert the column",
        )
    try:
        return column.cast(field.type)
    except pa.ArrowInvalid as error:
        raise SentinelError(
            f"{source}: column `{field.name}` is not all {field.type}: {error}",
            "convert the column",
        ) from None


def key_columns(table: pa.Table, source: str) -> list[pa.ChunkedArray]:
    """The key of a table that need not be a record's, as strings; numbers are written out.

    Raises
    ------
    SentinelError
        If a key column is missing, is neither text nor integers, or is empty in some row.
    """
    columns = []
    for name in KEY:
        if name not in table.column_names:
            raise SentinelError(
                f"{source}: column `{name}` is missing (found: {', '.join(table.column_names)})",
                f"rename or add it; every row needs {' and '.join(KEY)}",
            )
        column = table[name]
        if not (_is_string(column.type) or pa.types.is_integer(column.type)):
            raise SentinelError(
                f"{source}: column `{name}` holds {column.type}, not text", "convert the column"
            )
        if column.null_count:
            row = pc.index(column.is_null(), True).as_py()
            raise SentinelError(
                f"{source}, row {row}: `{name}` is empty", "fill it or drop the row"
            )
        columns.append(column.cast(pa.string()))
    return columns


def _is_list(kind: pa.DataType) -> bool:
    return (pa.types.is_list(kind) or pa.types.is_large_list(kind)) and _is_number(kind.value_type)


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_floating(kind) or pa.types.is_integer(kind)


def _is_string(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _is_string(kind.value_type)
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def write_table(path: str | Path, table: pa.Table) -> None:
    """Write Parquet to a path a person named, whole or not at all."""
    _write(Path(path), lambda scratch: pq.write_table(table, scratch, compression="zstd"))


def write_text(path: str | Path, text: str) -> None:
    """Write text to a path a person named, whole or not at all."""
    _write(Path(path), lambda scratch: scratch.write_text(text, encoding="utf-8"))


def _write(path: Path, write: Callable[[Path], object]) -> None:
    scratch = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(scratch)
        scratch.replace(path)
    except OSError as error:
        raise SentinelError(
            f"cannot write {path}: {error.strerror or error}", "free space or fix permissions"
        ) from error
    finally:  # Also after an interrupt; what was renamed is gone from here, or never was.
        with contextlib.suppress(OSError):
            scratch.unlink()
