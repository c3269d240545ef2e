"""A report from what an experiment left in its store: counts, keys, gaps, and no item's text."""

import pyarrow as pa
import pytest

from estimators.config import parse
from estimators.results import SplitResult
from estimators.sweep import evaluate, prepare
from tasks.benchmarks.questions import Questions
from tasks.conf import Benchmark, Decoding, Experiment, File, Model
from tasks.errors import SentinelError
from tasks.generation.generate import generate
from tasks.jobs import jobs_of
from tasks.records import Item, to_table
from tasks.report.page import report
from tasks.report.stored import gather, read
from tasks.report.work import counts
from tasks.signals.features import Joined, join_jobs
from tasks.signals.profile import profile_artefact
from tasks.storage.store import Store
from tasks.sweeps.compared import whole
from tasks.verdicts.stored import judge_artefact
from tests.report.reading import Page
from tests.tasks.doubles import ListedPool

NAMES = ("alpha", "beta", "gpqa")


def items_of(benchmark: str) -> pa.Table:
    """Thirty items of which the odd ones are answered wrong; their text would be noticed."""
    return to_table(
        [
            Item(benchmark, f"i{n:02}", f"Zanzibar asks {n}?", str(2 * n if n % 2 == 0 else 7001))
            for n in range(30)
        ],
        Item,
    )


ITEMS = {name: items_of(name) for name in NAMES}


@pytest.fixture(scope="module")
def settings() -> Experiment:
    return Experiment(
        name="small",
        models=(Model("m", "vllm", "org/m"), Model("later", "vllm", "org/later")),
        benchmarks=tuple(
            Benchmark(n, 1, File(f"{n}.jsonl"), show_items=n != "gpqa") for n in NAMES
        ),
        decoding=Decoding(top_k=2, max_tokens=8),
        sweep={"sizes": (1,), "estimators": ("constant", "ensemble")},
    )


@pytest.fixture(scope="module")
def store(settings: Experiment, tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(str(tmp_path_factory.mktemp("root")))
    for job in jobs_of(settings, settings.models[0]):
        generate(job, ITEMS[job.benchmark.name], ListedPool(), store)
        judge_artefact(job, ITEMS[job.benchmark.name], store)
        profile_artefact(job, store)
    return store


@pytest.fixture(scope="module")
def joined(settings: Experiment, store: Store) -> Joined:
    return join_jobs(jobs_of(settings, settings.models[0]), ITEMS, store)


@pytest.fixture(scope="module")
def page(settings: Experiment, store: Store, joined: Joined) -> Page:
    configs = [parse(name) for name in settings.sweep.estimators]
    rows = evaluate(prepare(joined.table), configs, [(n,) for n in NAMES])
    splits = {"m": to_table(rows, SplitResult)}
    return Page(report(gather(settings, ITEMS, {"m": joined}, splits, store)))


def test_responses_are_counted_and_summed(page: Page) -> None:
    work = page.frame("work")
    assert work["benchmark"].tolist() == list(NAMES)
    assert work["responses"].tolist() == [30, 30, 30]
    assert work["cut_off"].tolist() == work["unscorable"].tolist() == [0, 0, 0]
    cost = page.frame("cost").iloc[0]
    assert cost["tokens_in"] == 3 * 30 * 5
    assert cost["tokens_out"] == 3 * sum(n % 4 + 1 for n in range(30))
    assert cost["seconds"] == pytest.approx(9.0)
    assert page.frame("scored")["right"].tolist() == [15, 15, 15]


def test_the_first_estimator_of_the_sweep_is_the_report_s(page: Page) -> None:
    assert "Trained on one benchmark, constant misses" in " ".join(page.words)
    assert len(page.frame("keys")) == 3


def test_what_was_run_is_told_with_its_versions(page: Page, settings: Experiment) -> None:
    words = " ".join(page.words)
    assert "temperature 0.5, top p 1, at most 8 tokens, seed 42, 2 log-probabilities" in words
    assert "listed 1" in words
    assert jobs_of(settings, settings.models[0])[0].key in words


def test_no_question_answer_or_response_is_in_the_page(page: Page) -> None:
    assert "Zanzibar" not in page.html
    assert "7001" not in page.html
    assert "It is" not in page.html


def test_what_is_not_stored_is_said(settings: Experiment, store: Store) -> None:
    with pytest.raises(SentinelError) as refused:
        read(settings, Questions(ITEMS, {}), store)
    assert "m: 2 of 2 pieces of its sweep are missing" in str(refused.value)
    assert "later: not in this report: 0 benchmarks whole, two are needed" in str(refused.value)


def test_a_model_that_lacks_a_benchmark_is_in_the_report(settings: Experiment, tmp_path) -> None:
    store = Store(str(tmp_path))
    for job in jobs_of(settings, settings.models[0])[:2]:
        generate(job, ITEMS[job.benchmark.name], ListedPool(), store)
        judge_artefact(job, ITEMS[job.benchmark.name], store)
        profile_artefact(job, store)
    found = whole(settings, settings.models[0], Questions(ITEMS, {}), store)
    joined = found.join(ITEMS, store)
    configs = [parse(name) for name in settings.sweep.estimators]
    rows = evaluate(prepare(joined.table), configs, [("alpha",), ("beta",)])
    splits = {"m": to_table(rows, SplitResult)}
    page = Page(report(gather(settings, ITEMS, {"m": joined}, splits, store)))
    assert page.frame("work")["benchmark"].tolist() == ["alpha", "beta"]
    told = "m: compared over 2 benchmarks only; missing: gpqa (30 of 30 items not answered)"
    assert told in " ".join(page.words)


def test_counts_tell_what_the_columns_let_them_tell() -> None:
    labels = pa.table(
        {"finish": ["stop", "length", "length", "error"],
         "status": ["correct", "no_answer", "timeout", "judge_error"],
         "cost": [0.5, None, 1.0, 2.0]}
    )  # fmt: skip
    assert counts(labels) == {
        "responses": 4, "cut_off": 2, "failed": 1, "no_answer": 1, "unscorable": 2, "cost": 3.5,
    }  # fmt: skip
    assert counts(pa.table({"correct": [1.0, None, float("nan")]})) == {
        "responses": 3, "unscorable": 2,
    }  # fmt: skip
    assert counts(pa.table({"correct": [1, 0]})) == {"responses": 2, "unscorable": 0}
