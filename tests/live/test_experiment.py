"""The main flow on real parts: vLLM in Ray, Prefect's server and MLflow's database.

The tests of this module follow one another in one laboratory, as a user's days do.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from tests.live import sums

pytestmark = pytest.mark.usefixtures("first_run")

JOBS = ["small / letters", "small / product", "small / sum"]


@pytest.fixture(scope="module")
def first_run(shared_lab):
    shared_lab.run("run", str(shared_lab.write()))
    return shared_lab.output


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """Models that answer at once, for what does not hang on the engine."""
    server = sums.adding()
    yield server.url
    server.close()


def runs(lab) -> list[Run]:
    client = MlflowClient(f"sqlite:///{lab.folder / 'data' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("lab")
    return client.search_runs([experiment.experiment_id])


def kind(run: Run) -> str:
    return run.data.tags["sentinel.kind"]


def test_every_item_has_a_traced_response(shared_lab):
    table = shared_lab.responses()
    assert len(table) == 3 * shared_lab.items
    for row in table.to_pylist():
        assert row["finish"] in ("stop", "length")
        assert 0 < row["n_tokens"] <= 48
        assert len(row["entropy"]) == len(row["chosen_logprob"]) == row["n_tokens"]
        assert row["logprobs_mode"] == "raw_logprobs"
        assert row["engine_version"]
        assert all(0 <= h <= 3.0 for h in row["entropy"])  # ln 20 = 2.996


def test_the_jobs_ran_once_each(first_run, shared_lab):
    assert shared_lab.generated() == JOBS


def test_mlflow_has_a_parent_and_a_child_an_estimator(shared_lab):
    found = runs(shared_lab)
    parents = [r for r in found if kind(r) == "sweep"]
    children = [r for r in found if kind(r) == "estimator"]
    assert len(parents) == 1
    assert {r.data.tags["estimator"] for r in children} == {
        "logistic-isotonic",
        "atc-max",
        "constant",
    }
    assert {r.data.tags["mlflow.parentRunId"] for r in children} == {parents[0].info.run_id}
    assert all(r.info.status == "FINISHED" for r in found)


def test_table_artifact_and_metrics_agree(shared_lab, tmp_path):
    client = MlflowClient(f"sqlite:///{shared_lab.folder / 'data' / 'mlflow.db'}")
    (parent,) = [r for r in runs(shared_lab) if kind(r) == "sweep"]
    splits = pq.read_table(
        client.download_artifacts(parent.info.run_id, "splits.parquet", str(tmp_path))
    ).to_pandas()
    assert len(splits) == 3 * 3  # C(3, 1) compositions x 3 estimators
    written = pd.read_csv(shared_lab.folder / "data" / "results" / "lab" / "summary.csv")
    for child in (r for r in runs(shared_lab) if kind(r) == "estimator"):
        name = child.data.tags["estimator"]
        median = splits.loc[splits["estimator"] == name, "aee_unseen"].median()
        assert child.data.metrics["aee"] == pytest.approx(median)
        row = written[(written["estimator"] == name) & (written["k"] == 1)]
        assert row["aee_unseen"].item() == pytest.approx(median)
    figures = {f.path for f in client.list_artifacts(parent.info.run_id, "figures")}
    assert figures == {f"figures/{n}.png" for n in ("accuracy", "max_entropy", "sizes")}


def test_the_report_is_an_artifact_and_can_be_written_again(shared_lab, tmp_path):
    client = MlflowClient(f"sqlite:///{shared_lab.folder / 'data' / 'mlflow.db'}")
    (parent,) = [r for r in runs(shared_lab) if kind(r) == "sweep"]
    logged = client.download_artifacts(parent.info.run_id, "report.html", str(tmp_path))
    page = Path(logged).read_text()
    assert "<h1>lab</h1>" in page
    shared_lab.run("report", str(shared_lab.write()), "-o", str(tmp_path / "again.html"))
    assert (tmp_path / "again.html").read_text() == page
    assert (shared_lab.folder / "data" / "results" / "lab" / "report.html").read_text() == page


def test_the_stages_by_themselves_agree_with_the_flow(shared_lab, tmp_path):
    experiment = str(shared_lab.write())
    files = {n: str(tmp_path / f"{n}.parquet") for n in ("responses", "items", "verdicts", "out")}
    shared_lab.run("generate", experiment, "-o", files["responses"], "--items", files["items"])
    sources = ["--responses", files["responses"], "--items", files["items"]]
    shared_lab.run("judge", *sources, "-o", files["verdicts"])
    shared_lab.run("profile", "--traces", files["responses"], "-o", files["out"])
    alone = pq.read_table(files["verdicts"]).to_pandas().sort_values(["benchmark", "item_id"])
    stored = (shared_lab.folder / "data" / "verdicts").rglob("part-*.parquet")
    inside = pd.concat([pq.read_table(p).to_pandas() for p in stored])
    inside = inside.sort_values(["benchmark", "item_id"])
    assert alone.reset_index(drop=True).equals(inside.reset_index(drop=True))
    assert len(pq.read_table(files["out"])) == len(alone) == 3 * shared_lab.items


def test_a_second_run_generates_judges_and_doubles_nothing(shared_lab):
    before, parts = {r.info.run_id for r in runs(shared_lab)}, shared_lab.parts()
    output = shared_lab.run("run", str(shared_lab.write()))
    assert shared_lab.parts() == parts
    for step in ("generate", "judge", "profile"):
        states = re.findall(rf"'{step} \S+ / \S+' - Finished in state (\w+)", output)
        assert states == ["Cached"] * 3
    assert {r.info.run_id for r in runs(shared_lab)} == before


def test_a_second_model_and_a_deleted_artefact_are_all_that_runs(shared_lab, endpoint):
    before = shared_lab.parts()
    deleted = next(p for p in before if "/letters/" in p)
    (shared_lab.folder / deleted).unlink()
    other = sums.model("other", endpoint)
    shared_lab.run("run", str(shared_lab.write(models={"small": {}, "other": other})))
    assert shared_lab.generated() == [*(j.replace("small", "other") for j in JOBS), JOBS[0]]
    after = shared_lab.parts()
    assert after.keys() == before.keys()
    assert [p for p in before if after[p] != before[p]] == [deleted]
    children = [r for r in runs(shared_lab) if kind(r) == "estimator"]
    assert len(children) == 6
    assert len([r for r in runs(shared_lab) if kind(r) == "sweep"]) == 1


def test_a_raised_limit_answers_the_added_items_only(lab, endpoint):
    models = {"small": sums.model("small", endpoint)}
    lab.run("run", str(lab.write(models=models, limit=12)))
    few = lab.parts()
    lab.run("run", str(lab.write(models=models, limit=18)))
    added = set(lab.parts()) - set(few)
    rows = sum(pq.read_metadata(lab.folder / p).num_rows for p in added)
    assert rows == 3 * 6
    assert {p: t for p, t in lab.parts().items() if p in few} == few


def test_numbers_only_keeps_no_text_and_still_scores(lab, endpoint):
    models = {"small": sums.model("small", endpoint)}
    lab.run("run", str(lab.write(models=models, store_text=False, limit=12)))
    table = lab.responses()
    assert table["text"].null_count == len(table) == 3 * 12
    assert (lab.folder / "data" / "results" / "lab" / "estimates.csv").exists()
