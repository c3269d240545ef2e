"""The tables in ``cases/``: one file a benchmark, one row a response."""

import json
from pathlib import Path
from typing import Any

import pytest

from tasks.judging.rules import judge
from tasks.judging.symbolic import SymbolicPool
from tasks.records import Item

CASES = Path(__file__).parent / "cases"
BENCHMARKS = {
    "GSM8K", "GSM-Symbolic", "SVAMP", "MATH", "OlympiadBench", "GPQA", "SciBench", "TheoremQA",
    "LiveMathBench", "MatSciBench",
}  # fmt: skip


def rows() -> list[Any]:
    return [
        pytest.param(row, id=f"{path.stem}-{number}-{row['why']}")
        for path in sorted(CASES.glob("*.json"))
        for number, row in enumerate(json.loads(path.read_text()))
    ]


@pytest.mark.parametrize("row", rows())
def test_verdict(row: dict[str, Any], pool: SymbolicPool) -> None:
    item = Item(
        row["benchmark"], "1", row.get("question", ""), row["answer"],
        answer_type=row["answer_type"], tolerance=row["tolerance"], unit=row["unit"],
    )  # fmt: skip
    verdict = judge(item, row["response"], row["finish"], tolerance=None, equivalence=pool)
    assert verdict.status == row["expected"], verdict


def test_every_benchmark_has_enough_cases() -> None:
    counts: dict[str, int] = {}
    for path in CASES.glob("*.json"):
        for row in json.loads(path.read_text()):
            counts[row["benchmark"]] = counts.get(row["benchmark"], 0) + 1
    assert counts.keys() >= BENCHMARKS
    assert min(counts.values()) >= 15
