"""Servers that all tests of faults share, and a laboratory that counts what its model is asked."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.live.asking import ask_json
from tests.live.conftest import Lab
from tests.live.faults.trouble import Trouble, trouble
from tests.live.services import (
    Postgres,
    Service,
    mlflow_server,
    postgres,
    prefect_server,
    running,
)

#: MLflow runs of a whole sweep of `tests.live.faults.trouble.Trouble`.
SWEEP = {"remote logistic-isotonic", "remote atc-max", "remote constant"}


@dataclass
class Servers:
    """Prefect and MLflow over one PostgreSQL, as on a cluster; each can be stopped and started."""

    database: Postgres
    prefect: Service
    mlflow: Service
    clients: dict[str, str]

    def api(self, path: str, body: object = None) -> list | dict:
        """Answer of the Prefect API."""
        return ask_json(f"{self.clients['PREFECT_API_URL']}{path}", body)

    def runs(self, name: str) -> list[dict]:
        """Flow runs of an experiment's file of the given folder's name, oldest first."""
        found = self.api("/flow_runs/filter", {})
        mine = [run for run in found if name in str(run["parameters"].get("path"))]
        return sorted(mine, key=lambda run: run["created"])

    def states(self, name: str) -> list[str]:
        """States of these runs, as their pages show them."""
        return [run["state_name"] for run in self.runs(name)]

    def unfinished(self, name: str) -> list[str]:
        """Task runs of these that look as if they went on."""
        body = {"flow_runs": {"id": {"any_": [run["id"] for run in self.runs(name)]}}}
        found = self.api("/task_runs/filter", body | {"limit": 200})
        over = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
        return [f"{t['name']}: {t['state_name']}" for t in found if t["state_type"] not in over]

    def lines(self, run: dict) -> list[float]:
        """When a flow run logged its lines, by its own clock (seconds)."""
        found = self.api("/logs/filter", {"logs": {"flow_run_id": {"any_": [run["id"]]}}})
        return [datetime.fromisoformat(line["timestamp"]).timestamp() for line in found]

    def tracked(self, experiment: str) -> set[str]:
        """Names of an experiment's MLflow runs, all of them finished and none twice.

        Without the number of their sweep.
        """
        client = MlflowClient(self.clients["MLFLOW_TRACKING_URI"])
        found = client.get_experiment_by_name(experiment)
        assert found is not None
        runs = client.search_runs([found.experiment_id])
        names = {re.sub(" [0-9a-f]{4}$", "", run.info.run_name) for run in runs}
        assert len(names) == len(runs)
        assert {run.info.status for run in runs} == {"FINISHED"}
        return names


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    folder = tmp_path_factory.mktemp("servers")
    with postgres() as database:
        prefect, api = prefect_server(folder, database.url("asyncpg", "prefect"))
        mlflow, url = mlflow_server(folder, database.url("psycopg2", "mlflow"))
        with running(prefect, mlflow):
            clients = {"PREFECT_API_URL": api, "MLFLOW_TRACKING_URI": url}
            yield Servers(database, prefect, mlflow, clients)


@pytest.fixture
def plain_lab(tmp_path: Path) -> Lab:
    """A laboratory that needs no model."""
    return Lab(tmp_path)


@pytest.fixture
def found(plain_lab: Lab, servers: Servers) -> Iterator[Trouble]:
    """A run takes some five seconds to answer its 64 items, if it is let."""
    plain_lab.environment = dict(servers.clients)
    made = trouble(plain_lab, plain_lab.folder.name, latency_s=0.3)
    yield made
    made.server.close()
