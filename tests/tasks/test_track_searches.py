"""The searches of docs/mlflow.md, run on a real database: each finds what it says."""

from __future__ import annotations

import re
from pathlib import Path

import pyarrow as pa
import pytest
from mlflow import MlflowClient

from tasks.conf import Decoding, Experiment, Model
from tasks.conf.choices import Request
from tasks.tracking.track import Tracker
from tests.tasks import tracked
from tests.tasks.tracked import joined, splits

PAGE = (Path(__file__).parents[2] / "docs" / "mlflow.md").read_text(encoding="utf-8")
BLOCK = PAGE.split("## Searches")[1].split("```")[1]
SEARCHES = [re.split(r"\s{3,}", line)[0] for line in BLOCK.strip().splitlines()]

MODEL = "smollm2-135m-instruct"
ESTIMATORS = ("ensemble", "forest-isotonic", "atc-max")

pytestmark = pytest.mark.slow  # MLflow makes its database, which takes seconds.


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'mlflow.db'}"


@pytest.fixture(scope="module")
def found(database: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list]:
    """Runs of each search, in an experiment that has something for all of them."""
    names = ("gpqa", "gsm8k", "svamp")
    base = Experiment(
        name="e",
        models=(Model(MODEL, "vllm", "org/m"), Model("other", "vllm", "org/o")),
        benchmarks=tracked.benchmarks(names),
        decoding=Decoding(top_k=20),
        sweep={"sizes": (1, 2), "estimators": ESTIMATORS},
    )
    models = {
        MODEL: joined(MODEL, benchmarks=names),
        "other": joined("other", seed=1, benchmarks=names[1:]),
    }
    sizes = {MODEL: (1, 2), "other": (1,)}
    rows = {m: lucky(splits(one, sizes[m], ESTIMATORS)) for m, one in models.items()}
    tracker = Tracker("e", database, tmp_path_factory.mktemp("art").as_uri(), "http://page")
    for label in ("", "limit 100"):
        tracker.log_sweep(Request(base, base.models, label), models, rows, {}, {}, "text")
    client = MlflowClient(database)
    experiment = client.get_experiment_by_name("e").experiment_id
    client.create_run(experiment, tags={"code": "0.0.9 (generate 1, profile 1, sweep 3, schema 1)"})
    digest = client.search_runs([experiment], "tags.estimator = 'ensemble'")[0].data.tags["data"]
    every = client.search_runs([experiment])
    return {
        search: client.search_runs([experiment], re.sub(r"'[0-9a-f]{16}'", f"'{digest}'", search))
        for search in SEARCHES
    } | {"": every}


def lucky(table: pa.Table) -> pa.Table:
    """The same rows, with scores of forests below what the search asks for."""
    rows = table.to_pylist()
    for row in rows:
        row["aee_unseen"] /= 20 if row["family"] == "forest" else 1
    return pa.Table.from_pylist(rows, table.schema)


def test_the_page_lists_searches() -> None:
    assert len(SEARCHES) == len(set(SEARCHES)) > 8


@pytest.mark.parametrize("search", SEARCHES)
def test_a_search_finds_some_runs_and_not_all(found, search: str) -> None:
    assert 0 < len(found[search]) < len(found[""])
    tags = [run.data.tags for run in found[search]]
    for name, value in re.findall(r"tags\.`?([\w.]+)`? = '([^']+)'", search):
        assert all(t[name] == value for t in tags) or name == "data"
    for name, value in re.findall(r"tags\.`?([\w.]+)`? LIKE '%?([^'%]+)%'", search):
        assert all(value in t[name] for t in tags)
