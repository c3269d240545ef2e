"""The searches of docs/mlflow.md, run on a real database: each finds what it says."""

from __future__ import annotations

import re
from pathlib import Path

import pyarrow as pa
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from tasks.conf import Decoding, Experiment, Model
from tasks.conf.choices import Request
from tasks.tracking.track import Tracker
from tests.tasks import tracked
from tests.tasks.tracked import joined, splits

PAGE = (Path(__file__).parents[2] / "docs" / "mlflow.md").read_text(encoding="utf-8")
BLOCKS = PAGE.split("## Searches")[1].split("## ")[0].split("```")[1::2]
SEARCHES = [re.split(r"\s{3,}", line)[0] for block in BLOCKS for line in block.strip().splitlines()]

MODEL = "smollm2-135m-instruct"
ESTIMATORS = ("ensemble", "forest-isotonic", "atc-max")

#: Kind, model, estimator and label of a run; of a parent the models are all.
Seen = tuple[str, str, str, str]
PARENTS = {("sweep", "", "ensemble", label) for label in ("", "limit 100")}
CHILDREN = {
    ("estimator", model, estimator, label)
    for model in (MODEL, "other")
    for estimator in ESTIMATORS
    for label in ("", "limit 100")
}
TRAININGS = {("training", model, "ensemble", "") for model in (MODEL, "other")}

#: What the page says that each search finds, in the order of the page.
WANTED = [
    PARENTS,
    {run for run in CHILDREN if run[3] == ""},
    {run for run in CHILDREN if run[2] == "ensemble"},
    {run for run in CHILDREN if run[2] == "forest-isotonic"},
    {run for run in CHILDREN if run[2] != "atc-max"},
    PARENTS,
    # The other model lacks the benchmark.
    {run for run in CHILDREN if run[1] == MODEL},
    PARENTS | {run for run in CHILDREN if run[1] == MODEL},  # It is too small for k = 3.
    PARENTS | CHILDREN | TRAININGS,
    {run for run in TRAININGS if run[1] == MODEL},
    {run for run in PARENTS | CHILDREN if run[3]},
    {run for run in CHILDREN if run[1] == "other"},
    {run for run in CHILDREN if run[1] == MODEL},
]

pytestmark = pytest.mark.slow  # MLflow makes its database, which takes seconds.


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'mlflow.db'}"


@pytest.fixture(scope="module")
def found(database: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[Seen]]:
    """Runs of each search, in an experiment that has something for all of them."""
    names = ("gpqa", "gsm8k", "product-1-digit", "svamp")
    base = Experiment(
        name="e",
        models=(Model(MODEL, "vllm", "org/m"), Model("other", "vllm", "org/o")),
        benchmarks=tracked.benchmarks(names),
        decoding=Decoding(top_k=20),
        sweep={"sizes": (1, 2, 3), "estimators": ESTIMATORS},
    )
    models = {
        MODEL: joined(MODEL, benchmarks=names),
        "other": joined("other", seed=1, benchmarks=names[1:3]),
    }
    sizes = {MODEL: (1, 2, 3), "other": (1,)}
    rows = {m: scored(splits(one, sizes[m], ESTIMATORS)) for m, one in models.items()}
    tracker = Tracker("e", database, tmp_path_factory.mktemp("art").as_uri(), "http://page")
    for label in ("limit 100", ""):
        tracker.log_sweep(Request(base, base.models, label), models, rows, {}, {}, "text")
    client = MlflowClient(database)
    experiment = client.get_experiment_by_name("e").experiment_id
    client.create_run(experiment, tags={"code": "0.0.9 (generate 1, profile 1, sweep 3, schema 1)"})
    # The page names the demo's sweep and a digest of rows: here they are others.
    query = f"tags.`sentinel.kind` = 'estimator' and tags.model = '{MODEL}' and tags.seed = '42'"
    own = next(r for r in client.search_runs([experiment], query) if "label" not in r.data.tags)
    number, rows_seen = own.data.tags["sentinel.sweep"][:4], own.data.tags["data"]

    def here(search: str) -> str:
        return re.sub("'[0-9a-f]{4}%'", f"'{number}%'",
                      re.sub("'[0-9a-f]{16}'", f"'{rows_seen}'", search))  # fmt: skip

    runs = {search: client.search_runs([experiment], here(search)) for search in SEARCHES}
    assert all(len(found) == len({seen(run) for run in found}) for found in runs.values())
    return {search: {seen(run) for run in found} for search, found in runs.items()}


def seen(run: Run) -> Seen:
    tags = run.data.tags
    return (
        tags.get("sentinel.kind", ""), tags.get("model", ""), tags.get("estimator", ""),
        tags.get("label", ""),
    )  # fmt: skip


def scored(table: pa.Table) -> pa.Table:
    """The same rows, with scores on that side of the page's bounds where the demo's are."""
    rows = table.to_pylist()
    for row in rows:
        row["aee_unseen"] = 0.15 if row["family"] == "forest" else 0.3
    return pa.Table.from_pylist(rows, table.schema)


def test_the_page_lists_searches() -> None:
    assert len(SEARCHES) == len(set(SEARCHES)) == len(WANTED)


@pytest.mark.parametrize(("search", "wanted"), list(zip(SEARCHES, WANTED, strict=False)))
def test_a_search_finds_what_the_page_says(found, search: str, wanted: set[Seen]) -> None:
    assert found[search] == wanted
