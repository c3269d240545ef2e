"""The page of faults: every fault that has to be survived has its row, and no row hides a loss."""

import json
import re
from pathlib import Path

import pytest

from tests.live.faults.table import FAULTS, page

ROOT = Path(__file__).parents[1]
TESTS = [*(ROOT / "tests/live/faults").glob("test_*.py"), ROOT / "tests/live/test_faults.py"]


def row(fault: str, **changes: object) -> str:
    document = {
        "fault": fault, "cause": "c", "outcome": "o", "lost": 0, "repeated": 3, "of": 64,
        "test": "test_x", "day": "2026-01-02", "cores": 2,
    }  # fmt: skip
    return json.dumps(document | changes)


def test_the_last_record_of_a_fault_counts() -> None:
    text = page([row(name) for name in FAULTS] + [row("disk full", repeated=5, day="2026-01-04")])
    assert "| disk full | c | o | 0 of 64 | 5 | `test_x` |" in text
    assert text.count("| c | o |") == len(FAULTS)
    assert "(2026-01-02 to 2026-01-04, 2 cores)" in text


def test_a_fault_without_a_record_writes_no_page() -> None:
    with pytest.raises(KeyError, match="clock skew"):
        page([row(name) for name in FAULTS if name != "clock skew"])
    with pytest.raises(KeyError, match="an unknown one"):
        page([row(name) for name in (*FAULTS, "an unknown one")])


def test_every_fault_of_the_page_was_caused_by_a_test_and_lost_nothing() -> None:
    lines = [
        [cell.strip() for cell in line.strip("|\n").split(" | ")]
        for line in (ROOT / "docs/faults.md").read_text().splitlines()
        if re.match(r"\| (?!fault )", line)
    ]
    assert [line[0] for line in lines] == list(FAULTS)
    tests = "".join(path.read_text() for path in TESTS)
    for fault, _, _, lost, repeated, test in lines:
        assert re.fullmatch(r"0 of \d+", lost), fault
        assert repeated.isdigit(), fault
        assert f"def {test.strip('`')}(" in tests
