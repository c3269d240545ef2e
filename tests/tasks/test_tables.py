"""Tables that people bring: each mistake has a message that names the file, the row, the remedy."""

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.errors import SentinelError
from tasks.records import Item, Response, Verdict
from tasks.tables import check_records, read_records, read_rows, write_table

ITEM = {"benchmark": "b", "item_id": "1", "question": "?", "answer": "1", "answer_type": "numeric"}
VERDICT = {"benchmark": "b", "item_id": "1", "status": "correct", "reason": "", "judge": "j"}


def jsonl(path: Path, *rows: object) -> Path:
    lines = (r if isinstance(r, str) else json.dumps(r) for r in rows)
    path.write_text("\n".join(lines) + "\n")
    return path


def error(function, *args, **kwargs) -> str:
    with pytest.raises(SentinelError) as caught:
        function(*args, **kwargs)
    return str(caught.value)


# Files


def test_a_missing_file(tmp_path: Path) -> None:
    assert f"{tmp_path / 'no.parquet'} does not exist" in error(read_rows, tmp_path / "no.parquet")


def test_a_file_of_another_kind(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x")
    assert "files of kind '.csv' are not read" in error(read_rows, tmp_path / "a.csv")


def test_a_file_that_is_no_parquet(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_text("benchmark,item_id\n")
    assert "a.parquet is not a readable Parquet file" in error(read_rows, tmp_path / "a.parquet")


@pytest.mark.parametrize("name", ["a.parquet", "a.jsonl"])
def test_a_file_without_rows(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    pq.write_table(pa.table({"a": []}), path) if path.suffix == ".parquet" else path.write_text("")
    assert f"{path} holds no rows" in error(read_rows, path)


@pytest.mark.parametrize(
    ("line", "words"),
    [("{broken", "line 3: not JSON"), ("[1, 2]", "line 3: not an object")],
)
def test_a_bad_line_is_named_by_its_number_in_the_file(tmp_path, line: str, words: str) -> None:
    path = jsonl(tmp_path / "a.jsonl", ITEM, "", line)
    assert f"{path}, {words}" in error(read_rows, path)


def test_a_line_in_another_encoding_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"a": "ok"}\n{"a": "\xfc"}\n')
    assert "a.jsonl, line 2: not JSON: 'utf-8' codec" in error(read_rows, path)


def test_a_field_may_first_appear_in_a_later_line(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", {"a": 1}, {"a": 2, "b": "x"})
    assert read_rows(path).to_pylist() == [{"a": 1, "b": None}, {"a": 2, "b": "x"}]


def test_a_column_of_mixed_kinds_is_named(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", {"id": 1}, {"id": "x"})
    assert "a.jsonl: column `id` mixes kinds of values" in error(read_rows, path)


# Records


def test_a_missing_column_is_named_with_what_is_there(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", {"benchmark": "b", "item_id": "1", "answer": "1"})
    message = error(read_records, path, Item)
    assert "column `question` is missing (found: benchmark, item_id, answer)" in message
    assert "rename or add it; every item needs benchmark, item_id, question, answer" in message


def test_only_the_columns_needed_are_needed(tmp_path: Path) -> None:
    row = {"benchmark": "b", "item_id": "1", "text": "x", "finish": "stop"}
    path = jsonl(tmp_path / "a.jsonl", row)
    assert len(read_records(path, Response, needs=("text", "finish"))) == 1
    assert "column `n_tokens` is missing" in error(read_records, path, Response)


@pytest.mark.parametrize(
    ("column", "words"),
    [
        (pa.array([1.5]), "column `answer` holds double, not string"),
        (pa.array([["1"]]), "column `answer` holds list<item: string>, not string"),
        (pa.array([True]), "column `answer` holds bool, not string"),
    ],
    ids=["number", "list", "bool"],
)
def test_a_column_of_another_type_is_named(column: pa.Array, words: str) -> None:
    table = pa.Table.from_pylist([ITEM]).set_column(3, "answer", column)
    assert words in error(check_records, table, "f", Item)


def test_a_fraction_where_a_count_belongs_is_named() -> None:
    table = pa.table({"benchmark": ["b"], "item_id": ["1"], "text": ["x"], "finish": ["stop"],
                      "n_tokens": [1.5]})  # fmt: skip
    message = error(check_records, table, "f", Response, needs=("text", "finish"))
    assert "f: column `n_tokens` is not all int64" in message


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int8(), pa.string())], ids=str
)
def test_text_of_any_arrow_kind_is_text(kind: pa.DataType) -> None:
    table = pa.table({n: pa.array([v]).cast(kind) for n, v in ITEM.items()})
    assert check_records(table, "f", Item)["answer"].type == pa.string()


def test_a_frame_from_pandas_is_read(tmp_path: Path) -> None:
    pd.DataFrame([ITEM | {"tolerance": np.nan}]).to_parquet(tmp_path / "a.parquet")
    assert len(read_records(tmp_path / "a.parquet", Item)) == 1


@pytest.mark.parametrize("name", ["benchmark", "item_id", "question", "answer"])
def test_a_null_where_none_may_be_is_named_by_row(tmp_path: Path, name: str) -> None:
    path = jsonl(tmp_path / "a.jsonl", ITEM, ITEM | {"item_id": "2", name: None})
    assert f"{path}, row 1: `{name}` is empty" in error(read_records, path, Item)


def test_a_null_is_let_be_where_the_record_has_room_for_it(tmp_path: Path) -> None:
    """A refused request has no text; the rest of such a file can still be judged."""
    row = {"benchmark": "b", "item_id": "1", "text": None, "finish": "error"}
    path = jsonl(tmp_path / "a.jsonl", row, row | {"item_id": "2", "text": "x", "finish": "stop"})
    assert len(read_records(path, Response, needs=("text", "finish"))) == 2


def test_a_key_on_two_rows_is_named_with_both(tmp_path: Path) -> None:
    others = [VERDICT | {"item_id": str(i)} for i in range(2, 5)]
    path = jsonl(tmp_path / "a.jsonl", others[0], VERDICT, *others[1:], VERDICT)
    message = error(read_records, path, Verdict)
    assert f"{path}: benchmark 'b', item_id '1' stands on rows 1 and 4" in message
    assert "1 duplicated keys in all" in message


def test_one_id_in_two_benchmarks_is_no_duplicate(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", VERDICT, VERDICT | {"benchmark": "c"})
    assert len(read_records(path, Verdict)) == 2


# Writing


def test_a_table_is_written_with_its_folder(tmp_path: Path) -> None:
    write_table(tmp_path / "new" / "a.parquet", pa.table({"a": [1]}))
    assert read_rows(tmp_path / "new" / "a.parquet").to_pylist() == [{"a": 1}]


def test_a_failing_write_keeps_the_file_that_was_there(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "a.parquet"
    write_table(path, pa.table({"a": [1]}))

    def full(table: pa.Table, where: Path, **_: object) -> None:
        Path(where).write_bytes(b"half")
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(pq, "write_table", full)
    assert f"cannot write {path}: No space left" in error(write_table, path, pa.table({"a": [2]}))
    assert [p.name for p in tmp_path.iterdir() if p.is_file()] == ["a.parquet"]
    assert pq.read_table(path).to_pylist() == [{"a": 1}]


@pytest.mark.parametrize("name", ["file/a.parquet", "folder"])
def test_a_place_where_no_file_can_be_is_told(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    path = tmp_path / name
    assert f"cannot write {path}" in error(write_table, path, pa.table({"a": [1]}))
    assert {p.name for p in tmp_path.iterdir()} >= {"file", "folder"}
    assert not list(tmp_path.rglob("*.tmp"))
