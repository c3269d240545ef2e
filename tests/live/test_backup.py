"""Backup and restore as docs/operating.md has them, on another PostgreSQL and another root."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.live.asking import ask_json
from tests.live.conftest import Lab
from tests.live.postgres_pages import pages_on, rows
from tests.live.services import BIN, QUIET, Postgres, clean_environment, postgres
from tests.live.sums import adding, benchmarks, model

pytestmark = pytest.mark.long

DATABASES = {"prefect": "flow_run", "mlflow": "runs"}


def pg(server: Postgres, *words: str, file: Path | None = None) -> None:
    """Call one of PostgreSQL's programs, its output to a file where one is named."""
    name, *options = words
    where = ["-h", "127.0.0.1", "-p", str(server.port), "-U", "sentinel"]
    with (file or Path("/dev/null")).open("wb") as output:
        done = subprocess.run(
            [server.programs / name, *where, *options], stdout=output, stderr=subprocess.PIPE
        )
    assert done.returncode == 0, done.stderr.decode()


def counts(server: Postgres) -> dict[str, int]:
    return {
        name: int(rows(server, name, f"select count(*) from {table}")[0])
        for name, table in DATABASES.items()
    }


def upgrade(server: Postgres) -> None:
    """The two commands that an upgrade asks for, before the servers start."""
    prefect = {"PREFECT_API_DATABASE_CONNECTION_URL": server.url("asyncpg", "prefect")}
    for command in (
        ["prefect", "server", "database", "upgrade", "-y"],
        ["mlflow", "db", "upgrade", server.url("psycopg2", "mlflow")],
    ):
        done = subprocess.run(
            [BIN / command[0], *command[1:]], capture_output=True, text=True, timeout=120,
            env=clean_environment() | QUIET | prefect,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr


def finished_runs(clients: dict[str, str]) -> list[str]:
    """Names of the flow runs that the Prefect server knows as completed."""
    finished = {"flow_runs": {"state": {"type": {"any_": ["COMPLETED"]}}}}
    found = ask_json(f"{clients['PREFECT_API_URL']}/flow_runs/filter", finished)
    return sorted(run["name"] for run in found)


def logged_runs(clients: dict[str, str]) -> dict[str, dict[str, float]]:
    """Metrics of each MLflow run of the experiment."""
    client = MlflowClient(clients["MLFLOW_TRACKING_URI"])
    experiment = client.get_experiment_by_name("lab")
    assert experiment is not None
    return {
        run.info.run_id: run.data.metrics for run in client.search_runs([experiment.experiment_id])
    }


def test_what_was_backed_up_goes_on_elsewhere(lab: Lab, tmp_path: Path) -> None:
    server = adding()
    path = lab.write(
        models={"remote": model("remote", server.url)}, benchmarks=benchmarks(24, a=1, b=2)
    )
    dumps = {name: tmp_path / f"{name}.dump" for name in DATABASES}
    try:
        with postgres() as first:
            with pages_on(first, tmp_path / "pages") as clients:
                lab.environment = clients
                lab.run("run", str(path))
                known, logged = finished_runs(clients), logged_runs(clients)
            before = counts(first)
            for name, dump in dumps.items():
                pg(first, "pg_dump", "--format=custom", name, file=dump)
        asked = len(server.bodies)
        root = lab.folder / "data"
        shutil.copytree(root, tmp_path / "copy", ignore=shutil.ignore_patterns("*.tmp"))
        shutil.rmtree(root)
        (tmp_path / "copy").rename(root)

        with postgres(databases=()) as second:
            for dump in dumps.values():
                pg(second, "pg_restore", "--create", "--dbname", "postgres", str(dump))
            assert counts(second) == before
            upgrade(second)
            with pages_on(second, tmp_path / "pages") as clients:
                assert finished_runs(clients) == known
                assert logged_runs(clients) == logged
                lab.environment = clients
                lab.run("run", str(path))
                assert len(server.bodies) == asked == 48
                assert set(logged) <= set(logged_runs(clients))
                assert len(finished_runs(clients)) > len(known)
    finally:
        server.close()
