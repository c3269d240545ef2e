"""A real cluster: Ray nodes joined by address and token, PostgreSQL behind the pages, S3 below."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from mlflow import MlflowClient

from tests.live.conftest import BENCHMARKS, Lab
from tests.live.postgres_pages import pages_on, rows
from tests.live.services import (
    BIN,
    QUIET,
    Postgres,
    RayCluster,
    clean_environment,
    free_port,
    object_store,
    postgres,
    ray_nodes,
    running,
)
from tests.live.sums import adding, benchmarks, model


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    with ray_nodes(1, 1) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def database() -> Iterator[Postgres]:
    with postgres() as server:
        yield server


@pytest.fixture(scope="module")
def pages(database: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Environment of the clients of `sentinel ui` over PostgreSQL."""
    with pages_on(database, tmp_path_factory.mktemp("pages")) as clients:
        yield clients


@pytest.mark.long
def test_models_run_side_by_side_on_two_nodes(
    lab: Lab, cluster: RayCluster, pages: dict[str, str], database: Postgres
) -> None:
    """Two real engines at once, one a node; runs and metrics stand in PostgreSQL afterwards."""
    lab.items = 8
    lab.environment = cluster.clients | pages | {"VLLM_CPU_KVCACHE_SPACE": "1"}
    chosen = {
        n: {"source": {"generator": g, "size": 8, "seed": 7, "config": c}}
        for n, (g, c) in list(BENCHMARKS.items())[:2]
    }
    path = lab.write(
        models={"small": {}, "other": {}}, benchmarks=chosen, models_at_once=2,
        decoding={"temperature": 0, "max_tokens": 24},
    )  # fmt: skip
    lab.run("run", str(path))
    small, other = (set(lab.parts(name).values()) for name in ("small", "other"))
    assert len(small) == len(other) == 2
    # Neither model had to wait for the other's end; loading alone takes longer than this.
    assert abs(min(small) - min(other)) < 30e9
    names = rows(database, "prefect", "select name from task_run where state_type = 'COMPLETED'")
    assert {n for n in names if n.startswith("generate")} == {
        f"generate {m} / {b}" for m in ("small", "other") for b in chosen
    }
    client = MlflowClient(pages["MLFLOW_TRACKING_URI"])
    experiment = client.get_experiment_by_name("lab")
    assert experiment is not None
    logged = client.search_runs([experiment.experiment_id])
    assert sorted(rows(database, "mlflow", "select run_uuid from runs")) == sorted(
        run.info.run_id for run in logged
    )


def test_ray_refuses_a_stranger(cluster: RayCluster) -> None:
    clients = cluster.clients | {"RAY_AUTH_MODE": "disabled", "RAY_AUTH_TOKEN": ""}
    code = "import ray, os; ray.init(address=os.environ['RAY_ADDRESS']); print(ray.nodes())"
    done = subprocess.run(
        [BIN / "python", "-c", code], capture_output=True, text=True, timeout=120,
        env=clean_environment() | QUIET | clients,
    )  # fmt: skip
    assert done.returncode != 0
    assert "NodeID" not in done.stdout
    assert "Authentication token is missing or incorrect" in done.stdout + done.stderr


def test_a_wrong_token_is_told_and_no_token_shown(lab: Lab, cluster: RayCluster) -> None:
    server = adding()
    lab.environment = cluster.clients | {"RAY_AUTH_TOKEN": "0" * 32}
    try:
        path = lab.write(
            models={"remote": model("remote", server.url)}, benchmarks=benchmarks(4, a=1, b=2)
        )
        assert lab.start("run", str(path)).wait(timeout=300) == 2
        assert not server.bodies
    finally:
        server.close()
    assert "cannot join the Ray cluster" in lab.output
    assert "RAY_AUTH_TOKEN" in lab.output
    assert cluster.token not in lab.output


def test_an_absent_cluster_is_told_at_once(lab: Lab) -> None:
    lab.environment = {"RAY_ADDRESS": f"127.0.0.1:{free_port()}"}
    server = adding()
    try:
        path = lab.write(
            models={"remote": model("remote", server.url)}, benchmarks=benchmarks(4, a=1, b=2)
        )
        assert lab.start("run", str(path)).wait(timeout=120) == 2
    finally:
        server.close()
    assert "no Ray cluster answers" in lab.output


def test_the_root_is_an_object_store(lab: Lab, cluster: RayCluster, tmp_path: Path) -> None:
    store, clients = object_store(tmp_path)
    server = adding()
    with running(store):
        keys = {"aws_access_key_id": "a", "aws_secret_access_key": "b", "region_name": "us-east-1"}
        s3 = boto3.client("s3", endpoint_url=clients["AWS_ENDPOINT_URL"], **keys)
        s3.create_bucket(Bucket="lab")
        lab.environment = cluster.clients | clients | {
            "SENTINEL_ROOT": "s3://lab/root", "SENTINEL_STATE": str(lab.folder / "state"),
        }  # fmt: skip
        path = lab.write(
            models={"remote": model("remote", server.url)},
            benchmarks=benchmarks(24, a=1, b=2), batch_items=8,
        )  # fmt: skip
        lab.run("run", str(path))
        asked = len(server.bodies)
        found = s3.list_objects_v2(Bucket="lab", Prefix="root/")["Contents"]
        names = [o["Key"] for o in found]
        assert sum("/responses/" in n for n in names) == 2 * 3
        assert not [n for n in names if n.endswith(".tmp")]
        assert not s3.list_multipart_uploads(Bucket="lab").get("Uploads")
        lab.run("run", str(path))
        assert len(server.bodies) == asked == 48
        # A part that is taken away is answered again, and nothing else.
        (gone, *_) = sorted(n for n in names if "/responses/" in n)
        s3.delete_object(Bucket="lab", Key=gone)
        lab.run("run", str(path))
        assert len(server.bodies) == 48 + 8
    server.close()
    # With the store away a run ends, and says why.
    assert lab.start("run", str(path)).wait(timeout=600) == 2, lab.output[-3000:]
    assert re.search(r"cannot read s3://lab/root", lab.output)


@pytest.mark.long
def test_two_runs_share_cluster_databases_and_object_store(
    cluster: RayCluster, pages: dict[str, str], database: Postgres, tmp_path: Path
) -> None:
    """Different experiments at the same time, of one model, with one benchmark in common."""
    store, clients = object_store(tmp_path)
    server = adding(latency_s=0.02)
    asked = {"one": {"a": 1, "b": 2}, "two": {"b": 2, "c": 3}}
    with running(store):
        keys = {"aws_access_key_id": "a", "aws_secret_access_key": "b", "region_name": "us-east-1"}
        s3 = boto3.client("s3", endpoint_url=clients["AWS_ENDPOINT_URL"], **keys)
        s3.create_bucket(Bucket="lab")
        runs = []
        for name, chosen in asked.items():
            lab = Lab(tmp_path / name)
            lab.environment = cluster.clients | clients | pages | {
                "SENTINEL_ROOT": "s3://lab/root", "SENTINEL_STATE": str(lab.folder / "state"),
            }  # fmt: skip
            path = lab.write(
                name=name, models={"remote": model("remote", server.url)},
                benchmarks=benchmarks(48, **chosen), batch_items=8,
            )  # fmt: skip
            runs.append((lab, lab.start("run", str(path))))
        for lab, process in runs:
            assert process.wait(timeout=300) == 0, lab.output[-4000:]
        names = [
            o["Key"]
            for page in s3.get_paginator("list_objects_v2").paginate(Bucket="lab", Prefix="root/")
            for o in page["Contents"]
        ]
    server.close()
    responses = [n for n in names if "/responses/" in n]
    assert len(responses) == 3 * 48 / 8
    for name in asked:
        assert [n for n in names if n.startswith(f"root/results/{name}/")]
    # Of the benchmark in common each run may have had one batch under way that the other had too.
    assert 3 * 48 <= len(server.bodies) <= 3 * 48 + 8 * 2
    flows = rows(database, "prefect", "select name from flow_run where state_type = 'COMPLETED'")
    assert {"experiment lab: all models"} <= set(flows)
    logged = rows(database, "mlflow", "select name from experiments")
    assert set(asked) <= set(logged)
