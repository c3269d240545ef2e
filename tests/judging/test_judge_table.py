import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.judging.numbers import parse_quantity
from tasks.records import Item, Status, Verdict, arrow_schema, to_table
from tasks.verdicts.judge import judge_table

SHARED = (
    Path(os.environ.get("SENTINEL_SHARED", Path(__file__).parents[2].parent / "shared")) / "data"
)
TRACES = SHARED / "traces" / "qwen2.5-coder-0.5b-instruct"
ENDLESS = r"\prod_{n=1}^{99999} (1+\frac{1}{n^2})"


def shared_items() -> pa.Table:
    rows = []
    for path in sorted((SHARED / "benchmarks").glob("*.parquet")):
        for row in pq.read_table(path).to_pylist():
            extra = json.loads(row.get("extra_json") or "{}")
            rows.append(
                Item(
                    row["benchmark"],
                    row["item_id"],
                    row["question"],
                    row["answer"],
                    answer_type=row["answer_type"],
                    unit=extra.get("unit"),
                    tolerance=tolerance(row, extra),
                )
            )
    return to_table(rows, Item)


def tolerance(row: dict[str, Any], extra: dict[str, Any]) -> float | None:
    if row["benchmark"] == "TheoremQA":
        return 0.0 if "integer" in extra["answer_type_original"] else 0.04
    if row["benchmark"] == "OlympiadBench":
        gold = parse_quantity(row["answer"])
        absolute = float(extra["error"] or 0)
        return absolute / abs(float(gold.value)) if absolute and gold and gold.value else 1e-8
    return {"SciBench": 0.05}.get(row["benchmark"])


def shared_responses() -> pa.Table:
    table = pq.read_table(TRACES / "responses.parquet")
    return table.rename_columns(["text" if c == "response" else c for c in table.column_names])


def items(*golds: str, kind: str = "latex") -> pa.Table:
    return to_table([Item("B", str(n), "", g, answer_type=kind) for n, g in enumerate(golds)], Item)


def responses(*texts: str | None) -> pa.Table:
    rows = [{"benchmark": "B", "item_id": str(n), "text": text, "finish": "stop"}
            for n, text in enumerate(texts)]  # fmt: skip
    schema = pa.schema([(c, pa.string()) for c in ("benchmark", "item_id", "text", "finish")])
    return pa.Table.from_pylist(rows, schema=schema)


def test_one_and_two_workers_agree_and_a_hanging_item_ends_nothing() -> None:
    golds = ["x^2-1", "1", r"\sqrt{8}", "1,2", "5", r"\frac{1}{3}"] * 2
    texts = [r"\boxed{(x-1)(x+1)}", rf"\boxed{{{ENDLESS}}}", r"\boxed{2\sqrt{2}}", r"\boxed{2,1}",
             None, r"\boxed{0.3}"] * 2  # fmt: skip
    texts[7] = r"\boxed{2}"
    tables = [
        judge_table(items(*golds), responses(*texts), workers=n, deadline_s=2.0) for n in (1, 2)
    ]
    assert tables[0].equals(tables[1])
    assert tables[0].schema.equals(arrow_schema(Verdict), check_metadata=True)
    assert tables[0]["item_id"].to_pylist() == [str(n) for n in range(12)]
    assert tables[0]["status"].to_pylist()[:7] == [
        "correct", "timeout", "correct", "correct", "judge_error", "incorrect", "correct",
    ]  # fmt: skip


def test_a_response_without_its_item_is_a_judge_error_in_its_place() -> None:
    table = judge_table(items("1"), responses(r"\boxed{1}", r"\boxed{1}"), workers=1)
    assert table["status"].to_pylist() == [Status.CORRECT, Status.JUDGE_ERROR]
    assert "no such item" in table["reason"][1].as_py()


def test_no_responses_give_no_verdicts() -> None:
    table = judge_table(items("1"), responses())
    assert table.num_rows == 0
    assert table.schema.equals(arrow_schema(Verdict))


def test_progress_ends_at_the_total() -> None:
    calls: list[tuple[int, int]] = []
    judge_table(items(*["1"] * 60), responses(*["1"] * 60), workers=1,
                progress=lambda done, total: calls.append((done, total)))  # fmt: skip
    assert calls[-1] == (60, 60)
    assert calls == sorted(calls)


def test_duplicate_keys_are_named() -> None:
    twice = pa.concat_tables([responses("1"), responses("1")])
    with pytest.raises(ValueError, match=r"responses hold 1 key.* more than once: B/0"):
        judge_table(items("1"), twice)
    with pytest.raises(ValueError, match=r"items hold 1 key.* more than once: B/0"):
        judge_table(pa.concat_tables([items("1"), items("1")]), responses("1"))


def test_a_table_without_text_is_refused_with_a_remedy() -> None:
    with pytest.raises(ValueError, match="store_text: true"):
        judge_table(items("1"), responses("1").drop_columns(["text"]))
    with pytest.raises(ValueError, match=r"lack the column.* finish"):
        judge_table(items("1"), responses("1").drop_columns(["finish"]))


def test_the_benchmarks_tolerance_reaches_the_items() -> None:
    for tolerance, status in ((0.05, "correct"), (None, "incorrect")):
        table = judge_table(items("100", kind="numeric"), responses(r"\boxed{103}"),
                            tolerance=tolerance, workers=1)  # fmt: skip
        assert table["status"].to_pylist() == [status]


def test_an_interrupt_drops_what_is_queued() -> None:
    judged: list[int] = []

    def interrupt(done: int, total: int) -> None:
        judged.append(done)
        raise KeyboardInterrupt

    slow = [rf"\boxed{{{ENDLESS}}}"] * 200
    with pytest.raises(KeyboardInterrupt):
        judge_table(items(*["1"] * 50, *["x"] * 200), responses(*["1"] * 50, *slow), workers=1,
                    deadline_s=0.2, progress=interrupt)  # fmt: skip
    assert judged == [50]


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"no shared data at {SHARED}; set SENTINEL_SHARED")
def test_real_responses_agree_with_the_rough_labels() -> None:
    """The rough judge accepts last numbers of cut-off responses and misses yes for True.

    Both kinds are left out here; every other disagreement was read and is the rough judge's.
    """
    verdicts = judge_table(shared_items(), shared_responses()).to_pandas()
    assert not verdicts["status"].isin(["timeout", "judge_error"]).any()
    labels = pq.read_table(TRACES / "labels.parquet").to_pandas()
    both = verdicts.merge(labels, on=["benchmark", "item_id"])
    both = both[(both["finish"] == "stop") & ~both["reason"].str.contains("states")]
    both["same"] = (both["status"] == "correct") == (both["correct"] == 1)
    agreement = both.groupby("benchmark")["same"].mean()
    assert agreement[["GSM8K", "SVAMP", "TheoremQA", "SciBench", "OlympiadBench"]].min() > 0.98
    assert both["same"].mean() > 0.995
