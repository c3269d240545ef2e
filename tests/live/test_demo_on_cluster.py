"""The demo, unchanged, on a cluster: Ray by address and token, PostgreSQL under both servers.

    python -m pytest -m long -s tests/live/test_demo_on_cluster.py

prints what was measured.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator

import pytest
from mlflow import MlflowClient

from tasks.benchmarks import load_items
from tasks.conf import load_experiment
from tasks.jobs import Job, jobs_of
from tasks.storage.store import Store
from tests.live.conftest import ROOT, Lab
from tests.live.postgres_pages import pages_on, rows
from tests.live.services import Postgres, RayCluster, postgres
from tests.live.whereabouts import where

pytestmark = pytest.mark.long

DEMO = "conf/experiments/demo.yaml"


@pytest.fixture(scope="module")
def database() -> Iterator[Postgres]:
    with postgres() as server:
        yield server


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    """A head without CPUs, and two nodes with one each."""
    cluster = RayCluster()
    try:
        cluster.head()
        cluster.worker(1, None, "--labels", "name=first,node-type=cpu")
        cluster.worker(1, None, "--labels", "name=second,node-type=cpu")
        yield cluster
    finally:
        cluster.close()


def same_texts(jobs: list[Job], here: Store, there: Store) -> tuple[int, int]:
    """Responses that read alike in both stores, and responses that both have."""
    alike = both = 0
    for job in jobs:
        mine, other = (job.responses(store).read(columns=["text"]) for store in (here, there))
        if mine is not None and other is not None:
            pairs = mine.to_pandas().merge(other.to_pandas(), on=["benchmark", "item_id"])
            both += len(pairs)
            alike += int((pairs["text_x"] == pairs["text_y"]).sum())
    return alike, both


def test_the_demo_runs_unchanged(lab: Lab, cluster: RayCluster, database: Postgres) -> None:
    with pages_on(database, lab.folder / "pages") as clients:
        lab.environment = cluster.clients | clients
        start = time.monotonic()
        lab.run("run", DEMO)
        first = time.monotonic() - start
        ran = where(cluster)
        parts = lab.parts("smollm2-135m-instruct")
        start = time.monotonic()
        again = lab.run("run", DEMO)
        second = time.monotonic() - start
        logged = MlflowClient(clients["MLFLOW_TRACKING_URI"])
        experiment = logged.get_experiment_by_name("demo")
        assert experiment is not None
        runs = {r.info.run_id for r in logged.search_runs([experiment.experiment_id])}

    # Every item of every benchmark has a response, a verdict and a profile.
    demo = load_experiment(ROOT / DEMO)
    jobs = jobs_of(demo, demo.models[0])
    assert len(jobs) == 8
    counts: Counter[str] = Counter()
    for job in jobs:
        asked = set(load_items(job.benchmark, demo.limit)["item_id"].to_pylist())
        for artefact in (job.responses, job.verdicts, job.profiles):
            assert artefact(lab.store).done() == asked, (job.name, artefact.__name__)
            counts[artefact.__name__] += len(asked)

    # The engine ran on one node and pieces of the sweep on both; the head, without CPUs, ran none.
    assert len(ran) == 1
    nodes = Counter(node for (node, _), n in ran[0].items() for _ in range(n))
    assert set(nodes) == {"first", "second"}
    engines = {node for (node, task) in ran[0] if task.startswith("VllmEngine")}
    assert len(engines) == 1
    sweeps = {node: n for (node, task), n in ran[0].items() if task.endswith("_evaluate")}
    assert set(sweeps) == {"first", "second"}

    # Prefect's and MLflow's rows stand in PostgreSQL.
    done = rows(database, "prefect", "select name from task_run where state_type = 'COMPLETED'")
    for step in ("generate", "judge", "profile"):
        assert {n for n in done if n.startswith(step)} == {f"{step} {job.name}" for job in jobs}
    assert set(rows(database, "mlflow", "select run_uuid from runs")) == runs
    (metrics,) = rows(database, "mlflow", "select count(*) from metrics")
    assert int(metrics) > 0
    size = "select pg_database_size(current_database()) / 1000000"
    megabytes = {name: rows(database, name, size)[0] for name in ("prefect", "mlflow")}

    # A second run loads no model and computes no piece.
    assert lab.parts("smollm2-135m-instruct") == parts
    assert where(cluster) == ran
    for job in jobs:
        assert f"'generate {job.name}' - Finished in state Cached" in again

    alike, both = same_texts(jobs, lab.store, Store(str(ROOT / "data")))
    # Greedy decoding flips where two tokens are as likely as each other to the last bit.
    assert alike >= 0.9 * both
    figures = {
        "items": dict(counts), "first run, s": round(first), "second run, s": round(second),
        "tasks a node": dict(nodes), "engine on": sorted(engines), "sweep pieces a node": sweeps,
        "rows of task runs": len(done), "runs in MLflow": len(runs), "metrics": int(metrics),
        "MB of each database": megabytes,
        "same text as the local run": f"{alike} of {both}",
    }  # fmt: skip
    print(json.dumps(figures, indent=1))
