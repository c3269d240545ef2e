"""What a whole run leaves behind of questions and answers, searched byte for byte.

Its servers quote what they are asked in all that they say, and one model fails for good.
"""

from __future__ import annotations

import pytest

from tests.security.conftest import QUESTION, REPLY

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def run(root, path) -> None:
    """Run and report; the run names what failed, and all else is there."""
    assert root.lab.start("run", str(path)).wait(timeout=300) != 0, root.lab.output[-3000:]
    told = root.lab.output
    assert "failing / one" in told
    page = root.lab.folder / "data" / "report.html"
    root.lab.run("report", str(path), "--out", str(page))
    (root.lab.folder / "data" / "printed.txt").write_text(told)
    assert len(root.lab.responses()) == 30


def test_without_text_no_word_of_a_question_or_an_answer_is_kept(root, marked) -> None:
    run(root, marked(store_text=False))
    assert root.places(QUESTION) == []
    assert root.places(REPLY) == []


def test_items_that_are_not_to_be_shown_are_nowhere(root, marked) -> None:
    """Of a benchmark like GPQA neither questions nor answers that may quote them are kept."""
    path = marked()
    hidden = path.parents[1] / "benchmarks" / "two.yaml"
    hidden.write_text(hidden.read_text() + "show_items: false\n")
    run(root, path)
    texts = root.lab.responses().select(["benchmark", "text"]).to_pylist()
    assert {r["benchmark"] for r in texts if r["text"]} == {"one"}
    assert root.places(f"{QUESTION} two") == []
    # The search finds what is there.
    assert root.places(f"{QUESTION} one")
    assert root.places(REPLY)
