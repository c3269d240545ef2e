"""Records: what is written is what is read, and the schema says what may be missing."""

import dataclasses
import io
import typing

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.records import (
    KEY,
    SCHEMA_VERSION,
    Item,
    Response,
    Trace,
    Verdict,
    arrow_schema,
    from_table,
    to_table,
)

FULL = [
    Item("b", "1", "What is ½?", "0.5", "half", "numeric", 0.05, "m"),
    Response("b", "1", "text", "stop", 2, "d", "vllm", "0.32", "raw_logprobs", 20, 0.5, 1.25, 7, 2,
             0.001, "none"),
    Trace("b", "1", [0.5, 0.25], [-1.5, -0.25], [0.0, 0.125], [0.5, 0.5], [-1.0, -2.0]),
    Verdict("b", "1", "correct", "0.5", "equal", "rules-1"),
]  # fmt: skip
BARE = [
    Item("b", "1", "?", "1"),
    Response("b", "1", None, "error", 0, "d", "vllm", "0.32", "raw_logprobs", 20, 0, 0, 0, 0),
    Trace("b", "1", [], [], []),
    Verdict("b", "1", "no_answer", None, "nothing found", "rules-1"),
]
RECORDS = [Item, Response, Trace, Verdict]


@pytest.mark.parametrize("row", [*FULL, *BARE], ids=lambda r: type(r).__name__)
def test_a_record_survives_a_file(row) -> None:
    buffer = io.BytesIO()
    pq.write_table(to_table([row], type(row)), buffer)
    assert from_table(pq.read_table(buffer), type(row)) == [row]


@pytest.mark.parametrize("record", RECORDS)
def test_no_rows_are_an_empty_table_of_the_same_columns(record: type) -> None:
    table = to_table([], record)
    assert len(table) == 0
    assert table.schema == arrow_schema(record)


@pytest.mark.parametrize("record", RECORDS)
def test_only_fields_that_admit_none_are_nullable(record: type) -> None:
    hints = typing.get_type_hints(record)
    for field in arrow_schema(record):
        assert field.nullable == (type(None) in typing.get_args(hints[field.name]))


@pytest.mark.parametrize("record", RECORDS)
def test_every_record_opens_with_the_key_and_carries_its_version(record: type) -> None:
    assert tuple(f.name for f in dataclasses.fields(record))[:2] == KEY
    name = record.__name__.lower().encode()
    assert arrow_schema(record).metadata == {
        b"record": name, b"schema_version": str(SCHEMA_VERSION).encode(),
    }  # fmt: skip


def test_columns_that_a_record_does_not_know_are_passed_over() -> None:
    table = to_table([BARE[0]], Item).append_column("level", pa.array(["hard"]))
    assert from_table(table, Item) == [BARE[0]]


def test_columns_that_are_missing_take_the_records_defaults() -> None:
    table = to_table([BARE[0]], Item).select([*KEY, "question", "answer"])
    assert from_table(table, Item) == [BARE[0]]


@pytest.mark.parametrize(
    ("status", "label"),
    [("correct", 1), ("incorrect", 0), ("no_answer", 0), ("timeout", None),
     ("gold_unparsable", None), ("judge_error", None)],
)  # fmt: skip
def test_unscorable_is_not_wrong(status: str, label: int | None) -> None:
    assert Verdict("b", "1", status, None, "", "").label == label
