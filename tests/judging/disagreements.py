"""Where the rule judge differs from the case tables and from the shared labels, one row each.

``python -m tests.judging.disagreements`` prints Markdown. The labels are those of a rough judge,
beside the shared traces (SENTINEL_SHARED); no text of items or responses is printed.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator

import pandas as pd
import pyarrow.parquet as pq

from tasks.judging.agreement import agreement_table
from tasks.judging.rules import judge
from tasks.judging.symbolic import SymbolicPool
from tasks.records import Item
from tasks.verdicts.judge import judge_table
from tests.judging.test_cases import CASES
from tests.judging.test_judge_table import SHARED, TRACES, shared_items, shared_responses

_COLUMNS = ["benchmark", "item_id", "finish", "first", "second", "reason"]


def on_cases() -> pd.DataFrame:
    """Expected and found status of every row of the case tables."""
    rows = []
    with SymbolicPool(1) as pool:
        for path in sorted(CASES.glob("*.json")):
            for number, row in enumerate(json.loads(path.read_text())):
                item = Item(row["benchmark"], "1", row.get("question", ""), row["answer"],
                            answer_type=row["answer_type"], tolerance=row["tolerance"],
                            unit=row["unit"])  # fmt: skip
                found = judge(item, row["response"], row["finish"], tolerance=None,
                              equivalence=pool)  # fmt: skip
                rows.append((row["benchmark"], f"{path.stem} {number}", row["finish"], found.status,
                             row["expected"], found.reason))  # fmt: skip
    return pd.DataFrame(rows, columns=_COLUMNS)


def on_labels() -> pd.DataFrame:
    """Status found and rough label of every shared response."""
    verdicts = judge_table(shared_items(), shared_responses()).to_pandas()
    labels = pq.read_table(TRACES / "labels.parquet").to_pandas()
    both = verdicts.merge(labels, on=["benchmark", "item_id"])
    both["second"] = both["correct"].map({1: "correct", 0: "incorrect"})
    return both.dropna(subset=["second"]).rename(columns={"status": "first"})[_COLUMNS]


def lines(title: str, frame: pd.DataFrame, differ: pd.Series) -> Iterator[str]:
    """A section: agreement by benchmark, then a row a disagreement."""
    yield f"## {title}\n"
    table = agreement_table(frame).drop(columns=["first", "second"]).round(3)
    yield from markdown(table)
    yield f"\n{int(differ.sum())} of {len(frame)} differ.\n"
    if differ.any():
        yield from markdown(frame[differ])
        yield ""


def markdown(frame: pd.DataFrame) -> Iterator[str]:
    """Rows of a Markdown table."""
    yield "| " + " | ".join(frame.columns) + " |"
    yield "|" + "---|" * len(frame.columns)
    for row in frame.itertuples(index=False):
        yield "| " + " | ".join(str(v).replace("|", "\\|") for v in row) + " |"


def main() -> None:
    """Print both listings; the second only where the shared data is."""
    cases = on_cases()
    out = list(lines("Case tables", cases, cases["first"] != cases["second"]))
    if SHARED.is_dir():
        found = on_labels()
        right = found["first"].eq("correct") != found["second"].eq("correct")
        out += lines("Labels that came with the shared traces", found, right)
    sys.stdout.write("\n".join(out) + "\n")


if __name__ == "__main__":
    main()
