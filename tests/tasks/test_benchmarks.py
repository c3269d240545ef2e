"""Items from a file, a generator and a hub; messages name the benchmark and the row."""

import json
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.benchmarks import load_items
from tasks.benchmarks.rows import to_item
from tasks.conf import Benchmark, Fields, File, Hub, Procedural
from tasks.conf.benchmarks import AnswerRule
from tasks.errors import SentinelError

ROWS = [
    {"id": "q1", "question": "1 + 1?", "answer": "so #### 2", "level": "easy", "n": 1,
     "extra": '{"unit": "m", "list": ["x", "y"]}'},
    {"id": "q2", "question": "2 + 2?", "answer": "so #### 4", "level": "hard", "n": 2,
     "extra": None},
]  # fmt: skip


@pytest.fixture(params=["jsonl", "parquet"])
def source(request, tmp_path: Path) -> File:
    path = tmp_path / f"items.{request.param}"
    if request.param == "jsonl":
        path.write_text("\n".join(map(json.dumps, ROWS)))
    else:
        pq.write_table(pa.Table.from_pylist(ROWS), path)
    return File(str(path))


def written(tmp_path: Path, *rows: dict) -> File:
    path = tmp_path / "items.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return File(str(path))


def items(source, fields: Fields | None = None, limit: int | None = None, **settings) -> list[dict]:
    benchmark = Benchmark("b", 1, source, fields or Fields(), **settings)
    return load_items(benchmark, limit).to_pylist()


def error(source, fields: Fields | None = None, **settings) -> str:
    with pytest.raises(SentinelError) as caught:
        items(source, fields, **settings)
    return str(caught.value)


# Files


def test_a_file_is_read_in_its_order(source: File) -> None:
    found = items(source, Fields(item_id="id"))
    assert [i["item_id"] for i in found] == ["q1", "q2"]
    assert {i["benchmark"] for i in found} == {"b"}
    assert found[0]["question"] == "1 + 1?"
    assert found[0]["answer_type"] == "numeric"


def test_the_limit_takes_the_first_items(source: File) -> None:
    assert [i["item_id"] for i in items(source, Fields(item_id="id"), limit=1)] == ["q1"]


def test_where_keeps_matching_rows(source: File) -> None:
    where = File(source.path, where={"level": "hard", "n": "2"})
    assert [i["item_id"] for i in items(where, Fields(item_id="id"))] == ["q2"]


def test_where_on_a_column_that_is_not_there(source: File) -> None:
    assert "column `grade` of `where` is missing" in error(File(source.path, {"grade": "1"}))


def test_where_null_keeps_the_rows_without_a_value(tmp_path: Path) -> None:
    rows = [ROWS[0] | {"id": n, "question": n, "picture": p}
            for n, p in [("none", None), ("empty", ""), ("some", "a.png")]]  # fmt: skip
    kept = File(written(tmp_path, *rows).path, where={"picture": None})
    assert [i["item_id"] for i in items(kept, Fields(item_id="id"))] == ["none", "empty"]


def test_where_that_matches_nothing_leaves_no_items(source: File) -> None:
    assert "benchmark 'b' has no items" in error(File(source.path, {"level": "none"}))


def test_answer_after_keeps_what_follows_the_last_marker(tmp_path: Path) -> None:
    row = {"question": "?", "answer": "a #### 1 then #### 2 "}
    assert items(written(tmp_path, row), Fields(answer_after="####"))[0]["answer"] == "2"


def test_nothing_after_the_marker_is_an_empty_answer(tmp_path: Path) -> None:
    source = written(tmp_path, ROWS[0], {"question": "?", "answer": "no number ####"})
    message = error(source, Fields(answer_after="####"))
    assert "benchmark 'b', row 1: nothing follows '####' in `answer`" in message


def test_dotted_paths_look_inside_json(source: File) -> None:
    found = items(source, Fields(unit="extra.unit", solution="extra.list.1"))
    assert [i["unit"] for i in found] == ["m", None]
    assert [i["solution"] for i in found] == ["y", None]


def test_a_dotted_path_into_plain_text_is_a_missing_field(source: File) -> None:
    message = error(source, Fields(answer="answer.value"))
    assert "the source has no field `answer.value` (it has id, question, answer" in message


@pytest.mark.parametrize("field", ["question", "answer", "item_id"])
def test_a_mapped_field_that_is_not_there_is_named(source: File, field: str) -> None:
    message = error(source, Fields(**{field: "nowhere"}))
    assert "benchmark 'b': the source has no field `nowhere`" in message
    assert "mend `fields`" in message


@pytest.mark.parametrize("empty", [None, "", "  "], ids=repr)
@pytest.mark.parametrize("field", ["question", "answer", "id"])
def test_an_empty_cell_is_named_by_row_and_never_quotes_the_question(
    tmp_path, field, empty
) -> None:
    message = error(written(tmp_path, ROWS[0], ROWS[1] | {field: empty}), Fields(item_id="id"))
    assert f"benchmark 'b', row 1: `{field}` is empty" in message
    assert "2 + 2" not in message


def test_a_missing_number_of_a_float_column_is_no_value(tmp_path: Path) -> None:
    path = tmp_path / "items.parquet"
    nan = float("nan")
    table = pa.table({"question": ["a", "b"], "answer": [1.5, 2.0], "tol": [0.05, nan]})
    pq.write_table(table, path)
    found = items(File(str(path)), Fields(tolerance="tol"))
    assert [(i["answer"], i["tolerance"]) for i in found] == [("1.5", 0.05), ("2.0", None)]
    pq.write_table(table.set_column(1, "answer", pa.array([1.5, nan])), path)
    assert "row 1: `answer` is empty" in error(File(str(path)))


def test_an_answer_of_zero_is_an_answer(tmp_path: Path) -> None:
    assert items(written(tmp_path, {"question": "?", "answer": 0}))[0]["answer"] == "0"


def test_several_answers_stay_a_list(tmp_path: Path) -> None:
    found = items(written(tmp_path, {"question": "?", "answer": ["1", "2"]}))
    assert json.loads(found[0]["answer"]) == ["1", "2"]


@pytest.mark.parametrize(
    ("row", "answer"),
    [
        ({"final": ["7", "8"], "proof": ["p"]}, "7"),
        ({"final": [], "proof": ["p"]}, "p"),
        ({"final": None, "proof": ["p"]}, "p"),
        ({"final": [None], "proof": ["p", "q"]}, "p"),
    ],
)
def test_of_several_columns_the_first_with_a_value_is_the_answer(tmp_path, row, answer) -> None:
    fields = Fields(answer=("final.0", "proof.0"), solution=("proof.1", "proof.0"))
    (found,) = items(written(tmp_path, {"question": "?"} | row), fields)
    assert found["answer"] == answer
    assert found["solution"] == row["proof"][-1]


def test_several_columns_without_any_value_are_an_empty_answer(tmp_path: Path) -> None:
    source = written(tmp_path, {"question": "?", "final": None, "proof": []})
    message = error(source, Fields(answer=("final.0", "proof.0")))
    assert "row 0: `proof.0` is empty" in message


SCALED = Benchmark("b", 1, File("none"), Fields(unit="unit", scaled_by_unit=True))
KINDS = {"float": AnswerRule("numeric", 0.04), "int": AnswerRule("numeric", 0.0),
         "word": AnswerRule("text")}  # fmt: skip


def test_kinds_of_the_source_become_types_and_tolerances(tmp_path: Path) -> None:
    rows = [{"question": k, "answer": "1", "kind": k} for k in ("float", "int", "word", "new")]
    rows.append({"question": "none", "answer": "1", "kind": None})
    fields = Fields(answer_type="kind")
    found = items(written(tmp_path, *rows), fields, answer_types=KINDS, answer_type="latex")
    assert [(i["answer_type"], i["tolerance"]) for i in found] == [
        ("numeric", 0.04), ("numeric", 0.0), ("text", None), ("latex", None), ("latex", None)
    ]  # fmt: skip


def test_a_rows_own_tolerance_goes_before_that_of_its_kind(tmp_path: Path) -> None:
    source = written(tmp_path, {"question": "?", "answer": "1", "kind": "float", "tol": 0.1})
    fields = Fields(answer_type="kind", tolerance="tol")
    assert items(source, fields, answer_types=KINDS)[0]["tolerance"] == 0.1


@pytest.mark.parametrize(
    ("answer", "given", "tolerance"),
    [
        ("200", "1e1", 0.05),
        ("-200", 10, 0.05),
        (r"\frac{1}{2}", "0.1", 0.2),
        ("2,000", "100", 0.05),
        # The strictest of 1/10 and 1/100, and of 1/10 and 20/100.
        ("10, 100", "1", 0.01),
        ("10, 100", "1,20", 0.1),
        ("0", "0.1", None),
        (r"2\pi", "0.1", None),
        ("5", None, None),
    ],
)
def test_an_absolute_error_becomes_relative(tmp_path, answer, given, tolerance) -> None:
    source = written(tmp_path, {"question": "?", "answer": answer, "err": given})
    (found,) = items(source, Fields(absolute_error="err"))
    assert found["tolerance"] == (tolerance and pytest.approx(tolerance))


@given(
    digits=st.integers(-(10**12), 10**12),
    places=st.integers(0, 6),
    power=st.integers(-30, 30),
    unit=st.sampled_from(["", r" \mathrm{~J}", "m/s^2"]),
)
def test_a_power_of_ten_moves_from_the_unit_to_the_answer_exactly(
    digits: int, places: int, power: int, unit: str
) -> None:
    answer = str(Decimal(digits).scaleb(-places))
    row = {"question": "?", "answer": answer, "unit": f"$10^{{{power}}}{unit}$"}
    item = to_item(SCALED, row, 0)
    assert Fraction(Decimal(item.answer)) == Fraction(digits) / 10**places * Fraction(10) ** power
    assert item.unit == (f"${unit.strip()}$" if unit else None)


def test_an_absolute_error_that_is_no_number_is_named_by_row(tmp_path: Path) -> None:
    source = written(tmp_path, {"question": "?", "answer": "1", "err": "small"})
    assert "row 0: `err` is 'small', not a number" in error(source, Fields(absolute_error="err"))


def test_duplicate_ids_are_named_by_row(tmp_path: Path) -> None:
    source = written(tmp_path, *ROWS, ROWS[0] | {"question": "another"})
    message = error(source, Fields(item_id="id"))
    assert "benchmark 'b', item_id 'q1' stands on rows 0 and 2" in message


def test_an_id_made_from_the_question_does_not_follow_the_row(tmp_path: Path) -> None:
    there = {i["question"]: i["item_id"] for i in items(written(tmp_path, *ROWS))}
    back = {i["question"]: i["item_id"] for i in items(written(tmp_path, *ROWS[::-1]))}
    assert there == back
    assert len(set(there.values())) == 2


def test_each_row_may_have_its_own_answer_type(tmp_path: Path) -> None:
    source = written(tmp_path, ROWS[0] | {"kind": "latex"}, ROWS[1] | {"kind": None})
    found = items(source, Fields(answer_type="kind"), answer_type="text")
    assert [i["answer_type"] for i in found] == ["latex", "text"]


def test_an_unknown_answer_type_is_named_by_row(tmp_path: Path) -> None:
    source = written(tmp_path, ROWS[0] | {"kind": "essay"})
    assert "row 0: answer type 'essay' is unknown" in error(source, Fields(answer_type="kind"))


def test_a_tolerance_that_is_no_number_is_named_by_row(tmp_path: Path) -> None:
    source = written(tmp_path, ROWS[0] | {"tol": "0.05"}, ROWS[1] | {"tol": "5 %"})
    assert "row 1: `tol` is '5 %', not a number" in error(source, Fields(tolerance="tol"))


# Generators


SUMS = {"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 1}


def test_no_more_is_drawn_from_a_generator_than_is_needed(monkeypatch) -> None:
    """Three distinct questions among the first four draws: the fifth is not made."""
    import reasoning_gym

    drawn = []

    def draws():
        for number in (1, 1, 2, 3, 4):
            drawn.append(number)
            yield {"question": f"{number}?", "answer": f"{number}, draw {len(drawn)}"}

    monkeypatch.setattr(reasoning_gym, "create_dataset", lambda *_, **__: draws())
    found = items(Procedural("any", 3, 3, {}))
    assert [one["answer"] for one in found] == ["1, draw 1", "2, draw 3", "3, draw 4"]
    assert drawn == [1, 1, 2, 3]


def test_a_generator_and_its_seed_fix_the_items() -> None:
    first = items(Procedural("chain_sum", 20, 3, SUMS))
    assert first == items(Procedural("chain_sum", 20, 3, SUMS))
    assert first != items(Procedural("chain_sum", 20, 4, SUMS))
    assert len({i["question"] for i in first}) == len({i["item_id"] for i in first}) == 20


def test_a_generator_with_fewer_questions_than_asked_gives_each_once() -> None:
    """Two one-digit terms have 9 * 9 * 2 signs = 162 forms at most."""
    found = items(Procedural("chain_sum", 400, 3, SUMS))
    assert len({i["question"] for i in found}) == len(found) < 400


@pytest.mark.parametrize(
    "source",
    [
        Procedural("no_such_generator", 5),
        Procedural("chain_sum", 5, 7, {"no_such_setting": 1}),
        Procedural("chain_sum", 5, 7, {"min_terms": 5, "max_terms": 2}),
    ],
    ids=["generator", "setting", "value"],
)
def test_a_generators_refusal_is_told_with_the_benchmark(source: Procedural) -> None:
    message = error(source)
    assert f"benchmark 'b': generator {source.generator!r}:" in message
    assert "use a reasoning-gym generator" in message


# Hub


def test_a_hub_dataset_is_asked_for_at_its_revision(monkeypatch) -> None:
    import datasets

    asked = {}

    def load(*names: str, **settings: str) -> datasets.Dataset:
        asked.update(settings, names=names)
        return datasets.Dataset.from_list(ROWS)

    monkeypatch.setattr(datasets, "load_dataset", load)
    found = items(Hub("org/d", "test", "abc", "main"), Fields(item_id="id"))
    assert asked == {"names": ("org/d", "main"), "split": "test", "revision": "abc"}
    assert [i["question"] for i in found] == ["1 + 1?", "2 + 2?"]


@pytest.mark.parametrize("kind", ["offline", "no such dataset", "no such split"])
def test_a_hub_that_gives_nothing_is_told_with_a_remedy(monkeypatch, kind: str) -> None:
    import datasets

    def load(*_: str, **__: str) -> None:
        raise {
            "offline": ConnectionError("no route"),
            "no such dataset": datasets.exceptions.DatasetNotFoundError("gone"),
            "no such split": ValueError("Unknown split"),
        }[kind]

    monkeypatch.setattr(datasets, "load_dataset", load)
    message = error(Hub("org/d", "test", "abc"))
    assert "benchmark 'b': org/d at abc cannot be loaded" in message
    assert "HF_TOKEN" in message
