"""`sentinel report` on files: what it writes, notes and refuses."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pytest
import yaml

from entropy.profile import FEATURES
from tasks.benchmarks.questions import load_questions
from tasks.conf import load_experiment
from tasks.engines.contract import Prompt
from tasks.generation.generate import generate
from tasks.host.workspace import Workspace
from tasks.jobs import jobs_of
from tasks.signals.features import join_jobs
from tasks.signals.profile import profile_artefact
from tasks.sweeps.sweep import sweep
from tasks.verdicts.stored import judge_artefact
from tests.answers.splits import noisy, row, table
from tests.flows.files import jsonl, key, parquet
from tests.report.reading import Page
from tests.tasks.doubles import ListedPool

SPLITS = noisy(["m"], ["x", "y", "z"], ["ensemble", "constant"])
ROWS = [
    {**key(n, b), "n_tokens": 3, **dict.fromkeys(FEATURES, 0.5 + n / 100), "correct": n % 2}
    for b in "xyz"
    for n in range(20)
]


def test_it_writes_one_page_from_splits_alone(sentinel, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "page.html"
    ran = sentinel("report", "--splits", parquet(tmp_path / "s.parquet", SPLITS), "-o", out)
    assert ran.status == 0, ran.err
    assert ran.out.strip() == f"report written to {out}"
    page = out.read_text()
    assert page.startswith("<!doctype html>")
    assert "Intervals need the profiles and labels behind the splits" in page


def test_sweeps_of_two_models_are_put_together(sentinel, tmp_path: Path) -> None:
    paths = [
        parquet(tmp_path / f"{m}.parquet", noisy([m], ["x", "y", "z"], ["ensemble", "constant"]))
        for m in ("first", "second")
    ]
    out = tmp_path / "page.html"
    ran = sentinel("report", "--splits", paths[0], "--splits", paths[1], "-o", out)
    assert ran.status == 0, ran.err
    assert "<dd>first, second</dd>" in out.read_text()


def test_tables_of_other_commands_are_shown_beside(sentinel, tmp_path: Path) -> None:
    pairs = [
        {"model_from": a, "model_to": b, "estimator": "constant", "scope": s, "view": "source",
         "aee": 0.125, "rho": 0.5, "auroc": 0.5, "ece": 0.25}
        for a, b in ("mn", "nm") for s in ("same", "unseen")
    ]  # fmt: skip
    variants = tmp_path / "overview.csv"
    variants.write_text("variant,accuracy,AUROC max\nbase,0.5,0.75\nhot,0.25,0.625\n")
    audit = parquet(
        tmp_path / "audit.parquet", [{"benchmark": "x", "labels": 9, "agreement": 0.875}]
    )
    out = tmp_path / "page.html"
    ran = sentinel(
        "report", "--splits", parquet(tmp_path / "s.parquet", SPLITS), "-o", out,
        "--transfer", parquet(tmp_path / "t.parquet", pairs), "--sensitivity", variants,
        "--agreement", audit,
    )  # fmt: skip
    assert ran.status == 0, ran.err
    page = Page(out.read_text())
    assert page.frame("transfer-same").to_numpy().tolist() == [
        ["m", pytest.approx(float("nan"), nan_ok=True), 0.125],
        ["n", 0.125, pytest.approx(float("nan"), nan_ok=True)],
    ]
    assert page.frame("sensitivity")["AUROC max"].tolist() == [0.75, 0.625]
    assert page.frame("judges-0")["agreement"].tolist() == [0.875]


REFUSED = {
    "nothing": ([], "a report is on an experiment or on files of splits"),
    "both": (["e.yaml", "--splits", "s.parquet"], "a report is on an experiment or on files"),
    "no such file": (["--splits", "none.parquet"], "none.parquet does not exist"),
    "another table": (["--splits", "p.parquet"], "p.parquet: column `model` is missing"),
    "profiles alone": (
        ["--splits", "s.parquet", "--profiles", "p.parquet"], "1 of profiles, 0 of labels"),
    "one for two": (
        ["--splits", "s.parquet", "--splits", "n.parquet", "--profiles", "p.parquet",
         "--labels", "p.parquet"], "2 files of splits, 1 of profiles, 1 of labels"),
    "models without names": (
        ["--splits", "two.parquet", "--profiles", "p.parquet", "--labels", "p.parquet"],
        "two.parquet: splits of 2 models"),
    "a sweep twice": (["--splits", "s.parquet", "--splits", "s.parquet"], "12 rows stand twice"),
    "an estimator not swept": (
        ["--splits", "s.parquet", "--estimator", "atc-max"], "it holds ensemble, constant"),
    "rows of another run": (
        ["--splits", "s.parquet", "--profiles", "p.parquet", "--labels", "p.parquet"],
        "profiles and labels of 'm' are not those of the splits"),
    "another table for transfer": (
        ["--splits", "s.parquet", "--transfer", "p.parquet"], "column `model_from` is missing"),
    "rows of single responses for agreement": (
        ["--splits", "s.parquet", "--agreement", "p.parquet"], "is no table of agreement"),
    "another table for sensitivity": (
        ["--splits", "s.parquet", "--sensitivity", "other.csv"], "column `variant` is missing"),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_it_refuses(refused, tmp_path: Path, monkeypatch, kind: str) -> None:
    words, message = REFUSED[kind]
    monkeypatch.chdir(tmp_path)
    parquet(tmp_path / "s.parquet", SPLITS)
    parquet(tmp_path / "n.parquet", noisy(["n"], ["x", "y", "z"], ["constant"]))
    parquet(tmp_path / "p.parquet", ROWS)
    parquet(tmp_path / "two.parquet", table([row(["a"]), row(["a"], model="n")]))
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    assert message in refused("report", *words)


class NumberedPool(ListedPool):
    """Answers twice the item's place in its benchmark, whatever its id."""

    def __init__(self, items: pa.Table) -> None:
        super().__init__()
        self._place = {item: f"i{n:02}" for n, item in enumerate(items["item_id"].to_pylist())}

    def _answers(self, prompts: Sequence[Prompt]) -> pa.Table:
        renamed = [dataclasses.replace(p, item_id=self._place[p.item_id]) for p in prompts]
        ids = pa.array([p.item_id for p in prompts])
        table = super()._answers(renamed)
        return table.set_column(table.column_names.index("item_id"), "item_id", ids)


def test_an_experiment_is_reported_from_its_store_and_a_missing_model_named(
    cluster, sentinel, tmp_path: Path
) -> None:
    conf = {
        "models/m": {"name": "m", "engine": "vllm", "model": "org/m"},
        "models/later": {"name": "later", "engine": "vllm", "model": "org/later"},
        "experiments/small": {
            "name": "small", "models": ["m", "later"], "benchmarks": list("xyz"),
            "decoding": {"top_k": 2, "max_tokens": 8},
            "sweep": {"sizes": [1], "estimators": ["constant", "ensemble"]},
        },
    }  # fmt: skip
    for b in "xyz":
        rows = [{"question": f"Twice {n}?", "answer": f"{2 * n + n % 2}"} for n in range(30)]
        file = jsonl(tmp_path / f"{b}.jsonl", rows)
        conf[f"benchmarks/{b}"] = {"name": b, "version": 1, "source": {"path": str(file)}}
    for name, document in conf.items():
        path = tmp_path / "conf" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(document))
    settings = load_experiment(tmp_path / "conf" / "experiments" / "small.yaml")
    store, questions = Workspace.from_environment().store, load_questions(settings)
    jobs = jobs_of(settings, settings.models[0])
    for job in jobs:
        items = questions.items[job.benchmark.name]
        generate(job, items, NumberedPool(items), store)
        judge_artefact(job, items, store)
        profile_artefact(job, store)
    sweep(join_jobs(jobs, questions.items, store), settings.sweep, store)
    out = tmp_path / "page.html"
    ran = sentinel("report", tmp_path / "conf" / "experiments" / "small.yaml", "-o", out)
    assert ran.status == 0, ran.err
    missing = "later: not in this report: 0 benchmarks whole, two are needed; missing: x (30 of 30"
    assert f"note: {missing}" in ran.err
    page = Page(out.read_text())
    assert any(missing in words for words in page.words)
    assert page.frame("work")["responses"].tolist() == [30, 30, 30]
    assert page.frame("scored")["right"].tolist() == [15, 15, 15]
    assert "Twice" not in page.html
