"""Audits: who is drawn, labels that survive anything, and agreement weighed back."""

import csv
import itertools
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from tasks.audit.report import report
from tasks.audit.sample import allocate, draw
from tasks.audit.sheet import Entry, Label, Sheet
from tasks.audit.sources import Judged, from_experiment
from tasks.benchmarks import load_items
from tasks.conf import load_experiment
from tasks.errors import SentinelError
from tasks.generation.generate import generate
from tasks.jobs import jobs_of
from tasks.judging.agreement import agreement_table, clopper_pearson, kappa, wilson
from tasks.judging.rules import JUDGE_VERSION
from tasks.storage.store import Store
from tasks.verdicts.stored import judge_artefact
from tests.tasks.doubles import ListedPool, items_of


def judged(benchmark: str, number: int, status: str) -> Judged:
    return Judged(benchmark, f"i{number}", f"question {number}", f"response {number}", "4", status,
                  "rules-1")  # fmt: skip


POPULATION = [
    *(judged("easy", n, "correct") for n in range(900)),
    *(judged("easy", n, "incorrect") for n in range(900, 910)),
    *(judged("hard", n, "incorrect") for n in range(300)),
    *(judged("hard", n, "no_answer") for n in range(300, 400)),
]


# The sample


def test_each_benchmark_and_status_has_its_share() -> None:
    drawn = draw(POPULATION, 100, 1)
    counts = Counter((e.benchmark, e.status) for e in drawn)
    assert counts == {("easy", "correct"): 30, ("easy", "incorrect"): 10,
                      ("hard", "incorrect"): 30, ("hard", "no_answer"): 30}  # fmt: skip
    assert {(e.benchmark, e.status, e.stratum) for e in drawn} == {
        ("easy", "correct", 900), ("easy", "incorrect", 10), ("hard", "incorrect", 300),
        ("hard", "no_answer", 100),
    }  # fmt: skip


def test_a_draw_follows_its_seed_and_not_the_order_of_the_rows() -> None:
    assert draw(POPULATION, 50, 1) == draw(POPULATION[::-1], 50, 1)
    assert {e.key for e in draw(POPULATION, 50, 1)} != {e.key for e in draw(POPULATION, 50, 2)}
    assert len(draw(POPULATION, 10_000, 1)) == len(POPULATION)


def test_the_order_does_not_tell_the_verdict() -> None:
    order = [e.status for e in draw(POPULATION, 120, 3)]
    changes = sum(a != b for a, b in itertools.pairwise(order))
    assert changes > 50  # Sorted by stratum there would be 3.


@given(st.lists(st.integers(1, 40), min_size=1, max_size=8), st.integers(0, 300))
def test_an_allocation_is_full_and_never_beyond_a_stratum(sizes: list[int], total: int) -> None:
    by_name = {("b", str(n)): size for n, size in enumerate(sizes)}
    shares = allocate(by_name, total)
    assert sum(shares.values()) == min(total, sum(sizes))
    assert all(0 <= shares[s] <= by_name[s] for s in shares)
    given_ = [shares.get(s, 0) for s in by_name]
    unfilled = [g for g, size in zip(given_, sizes, strict=True) if g < size]
    assert not unfilled or max(given_) - min(unfilled) <= 1


# The sheet


@pytest.fixture
def sheet(tmp_path: Path) -> Sheet:
    made = Sheet(tmp_path / "labels.parquet", draw(POPULATION, 12, 1))
    made.save()
    return made


def test_every_label_is_saved_at_once(sheet: Sheet, tmp_path: Path) -> None:
    for n, entry in enumerate(sheet.pending()[:5]):
        sheet.label(entry.key, Label.CORRECT, 1.5)
        again = Sheet.load(tmp_path / "labels.parquet")
        assert again.entries == sheet.entries
        assert len(again.pending()) == 11 - n
    one = sheet.entries[0]
    assert (one.label, one.seconds) == ("correct", 1.5)
    assert one.labelled_at.endswith("+00:00")


def test_undo_takes_back_the_last_label_even_after_a_pause(sheet: Sheet, tmp_path: Path) -> None:
    first, second = (e.key for e in sheet.pending()[:2])
    sheet.label(first, Label.CORRECT, 1.0)
    sheet.label(second, Label.UNSURE, 1.0)
    again = Sheet.load(tmp_path / "labels.parquet")
    assert [again.undo(), again.undo(), again.undo()] == [second, first, None]
    assert len(Sheet.load(tmp_path / "labels.parquet").pending()) == 12


def test_what_was_skipped_comes_back_only_when_wanted(sheet: Sheet) -> None:
    sheet.label(sheet.entries[0].key, Label.SKIP, 1.0)
    assert len(sheet.pending()) == 11
    assert len(sheet.pending(skipped=True)) == 12


def test_the_sheet_and_the_csv_tell_no_verdict_and_no_text_is_kept(
    sheet: Sheet, tmp_path: Path
) -> None:
    by_key = {one.key: one for one in POPULATION}
    out = tmp_path / "audit.csv"
    assert sheet.export(out, by_key) == 12
    rows = list(csv.DictReader(out.open()))
    assert list(rows[0]) == ["benchmark", "item_id", "question", "response", "gold", "label"]
    for word in ("incorrect", "no_answer", "rules-1"):
        assert word not in out.read_text()
    assert b"question " not in (tmp_path / "labels.parquet").read_bytes()


def fill(path: Path, labels: list[str]) -> Path:
    rows = list(csv.DictReader(path.open()))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        for row, label in zip(rows, labels, strict=True):
            writer.writerow(row | {"label": label})
    return path


def test_labels_of_a_csv_are_taken(sheet: Sheet, tmp_path: Path) -> None:
    sheet.export(tmp_path / "a.csv", {one.key: one for one in POPULATION})
    words = ["c", "I", "unsure", "Correct", "s", "", *[""] * 6]
    assert sheet.take(fill(tmp_path / "a.csv", words)) == 5
    assert [e.label for e in sheet.entries] == [
        "correct", "incorrect", "unsure", "correct", "skip", *[None] * 7]  # fmt: skip
    assert sheet.take(tmp_path / "a.csv") == 0  # Nothing new, and no new times.


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.replace("label", "mark", 1), r"lacks the column\(s\) label"),
        (lambda t: t.replace("easy,i", "easy,x"), "line 2: .* is not in|line [0-9]+: easy/x"),
        (lambda t: t.rstrip() + "maybe\n", "'maybe' is no label"),
    ],
)
def test_a_csv_with_a_fault_is_refused_as_a_whole(sheet, tmp_path, change, words) -> None:
    path = tmp_path / "a.csv"
    sheet.export(path, {one.key: one for one in POPULATION})
    fill(path, ["c"] * 11 + [""])
    path.write_text(change(path.read_text()))
    with pytest.raises(SentinelError, match=words):
        sheet.take(path)
    assert len(sheet.pending()) == 12


# Sources


@pytest.fixture
def judged_experiment(tmp_path: Path, store) -> Path:
    """Two models, an open and a hidden benchmark of six items each, generated and judged."""
    conf = tmp_path / "conf"
    for name, more in (("open", {}), ("shut", {"show_items": False})):
        items = items_of(name, 6).select(["item_id", "question", "answer"]).to_pylist()
        source = tmp_path / f"{name}.jsonl"
        source.write_text("\n".join(map(json.dumps, items)))
        fields = {"name": name, "version": 1, "source": {"path": str(source)},
                  "fields": {"item_id": "item_id"}}  # fmt: skip
        dump(conf / "benchmarks" / f"{name}.yaml", fields | more)
    for name in ("one", "two"):
        dump(conf / "models" / f"{name}.yaml", {"name": name, "engine": "vllm", "model": name})
    document = {"name": "e", "models": ["one", "two"], "benchmarks": ["open", "shut"],
                "sweep": {"sizes": [1], "estimators": ["constant"]}}  # fmt: skip
    path = dump(conf / "experiments" / "e.yaml", document)
    settings = load_experiment(path)
    for model in settings.models:
        for job in jobs_of(settings, model):
            items = load_items(job.benchmark, None)
            generate(job, items, ListedPool(), store)
            judge_artefact(job, items, store)
    return path


def dump(path: Path, document: dict) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(document))
    return path


def test_an_experiments_verdicts_come_with_their_texts_by_model(judged_experiment, store) -> None:
    found = {one.key: one for one in from_experiment(judged_experiment, store)}
    assert len(found) == 12
    one = found["open", "two/i03"]
    assert (one.question, one.response, one.gold) == ("What is twice 3?", "It is 6.", "6")
    assert (one.status, one.judge, one.hidden) == ("correct", JUDGE_VERSION, False)
    assert "shut" not in {one.benchmark for one in found.values()}, "its answers are not kept"


def test_an_experiment_that_was_not_judged_is_told_apart(judged_experiment, tmp_path) -> None:
    with pytest.raises(SentinelError, match="nothing was judged yet"):
        from_experiment(judged_experiment, Store(str(tmp_path / "elsewhere")))


# The report


def entries(*strata: tuple[str, str, int, str], seconds: float = 2.0) -> list[Entry]:
    """Labels as letters (``c i u s -``), a stratum each: benchmark, status, size, labels."""
    names = {label.value[0]: label.value for label in Label}
    return [
        Entry(benchmark, f"{status}{n}", status, "j", size, names.get(letter), None, seconds)
        for benchmark, status, size, letters in strata
        for n, letter in enumerate(letters)
    ]


def test_agreement_is_weighed_back_by_hand() -> None:
    """900 correct verdicts of which 4 of 4 hold, 100 incorrect ones of which 1 of 4 holds.

    0.9 x 1 + 0.1 x 0.25 = 0.925; effective labels 1000^2 / (900^2/4 + 100^2/4) = 4.878; accuracy
    by the judge 0.9, by the person 0.9 + 0.1 x 0.75 = 0.975.
    """
    found = report(entries(("b", "correct", 900, "cccc"), ("b", "incorrect", 100, "ccci")))
    (row,) = found.table.to_dict("records")
    assert row["agreement"] == pytest.approx(0.925)
    assert (row["judge"], row["person"]) == (pytest.approx(0.9), pytest.approx(0.975))
    assert (row["low"], row["high"]) == pytest.approx(wilson(0.925, 4_000_000 / 820_000))
    chance = 0.9 * 0.975 + 0.1 * 0.025
    assert row["kappa"] == pytest.approx((0.925 - chance) / (1 - chance))
    assert (row["verdicts"], row["labels"], row["covered"], row["seconds"]) == (1000, 8, 1.0, 2.0)
    assert found.disagreements["item_id"].tolist() == ["incorrect0", "incorrect1", "incorrect2"]


def test_no_answer_is_wrong_and_unsure_or_skipped_is_left_out() -> None:
    found = report(entries(("b", "no_answer", 10, "iius-")))
    (row,) = found.table.to_dict("records")
    assert (row["agreement"], row["labels"], row["unsure"], row["skipped"]) == (1.0, 2, 1, 1)
    assert found.disagreements.empty


def test_strata_without_labels_are_told() -> None:
    some = entries(("b", "correct", 75, "cc"), ("b", "incorrect", 25, "--"))
    (row,) = report(some).table.to_dict("records")
    assert (row["covered"], row["agreement"]) == (0.75, 1.0)


def test_benchmarks_have_rows_of_their_own_and_one_over_all() -> None:
    table = report(
        entries(("a", "correct", 30, "cc"), ("b", "incorrect", 10, "cc"))
    ).table.set_index("benchmark")  # fmt: skip
    assert table["agreement"].to_dict() == {"a": 1.0, "b": 0.0, "all": 0.75}


def test_without_labels_nothing_is_claimed() -> None:
    (row,) = report(entries(("b", "correct", 75, "--"))).table.to_dict("records")
    assert np.isnan(row["agreement"])
    assert (row["low"], row["high"]) == (0.0, 1.0)


def test_intervals_of_a_stratified_audit_cover_as_often_as_they_say() -> None:
    """1,500 audits of a judge that errs rarely in one stratum and often in the other."""
    rng = np.random.default_rng(1)
    sizes, labelled, right = np.array([900, 100]), np.array([60, 60]), np.array([0.98, 0.85])
    true = float(sizes @ right / 1000)
    hits = rng.binomial(labelled, right, size=(1500, 2))
    n = 1000**2 / float((sizes**2 / labelled).sum())
    for interval, least in ((wilson, 0.93), (clopper_pearson, 0.95)):
        ends = [interval(float(h @ (sizes / labelled) / 1000), n) for h in hits]
        covered = np.mean([low <= true <= high for low, high in ends])
        assert least <= covered <= 0.999


# Agreement of two judges


@given(st.integers(1, 200), st.data())
def test_intervals_are_scipys_for_whole_numbers(n: int, data) -> None:
    hits = data.draw(st.integers(0, n))
    for ours, method in ((wilson, "wilson"), (clopper_pearson, "exact")):
        theirs = binomtest(hits, n).proportion_ci(method=method)
        np.testing.assert_allclose(ours(hits / n, n), theirs, atol=1e-9)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=50))
def test_kappa_is_scikit_learns(pairs: list[tuple[bool, bool]]) -> None:
    from sklearn.metrics import cohen_kappa_score

    first, second = (np.array(side, dtype=int) for side in zip(*pairs, strict=True))
    if len(set(first) | set(second)) < 2:
        assert np.isnan(kappa(first, second))
    else:
        expected = cohen_kappa_score(first, second, labels=[0, 1])
        np.testing.assert_allclose(kappa(first, second), expected, atol=1e-12)


def test_agreement_counts_what_both_scored() -> None:
    import pandas as pd

    rows = [("b", "correct", "correct"), ("b", "no_answer", "incorrect"),
            ("b", "incorrect", "correct"), ("b", "timeout", "correct"),
            ("b", "correct", "judge_error")]  # fmt: skip
    (row,) = agreement_table(
        pd.DataFrame(rows, columns=["benchmark", "first", "second"])
    ).to_dict("records")  # fmt: skip
    assert (row["responses"], row["scored"], row["same"]) == (5, 3, 2)
    assert row["agreement"] == pytest.approx(2 / 3)
