"""The Prefect and MLflow pages over PostgreSQL, as the cluster's tests use them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from tests.live.services import BIN, Postgres, Service, free_port, running


@contextlib.contextmanager
def pages_on(database: Postgres, folder: Path) -> Iterator[dict[str, str]]:
    """Run ``sentinel ui`` over PostgreSQL; yields the environment of its clients."""
    folder.mkdir(parents=True, exist_ok=True)
    prefect, mlflow = free_port(), free_port()
    command = [BIN / "sentinel", "ui", "--prefect-port", prefect, "--mlflow-port", mlflow]
    databases = {
        "PREFECT_API_DATABASE_CONNECTION_URL": database.url("asyncpg", "prefect"),
        "MLFLOW_BACKEND_STORE_URI": database.url("psycopg2", "mlflow"),
        "SENTINEL_ROOT": str(folder),
    }
    ui = Service(command, folder / "ui.txt", f"http://127.0.0.1:{mlflow}/health", databases)
    with running(ui):
        yield {
            "PREFECT_API_URL": f"http://127.0.0.1:{prefect}/api",
            "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{mlflow}",
        }


def rows(database: Postgres, name: str, query: str) -> list[str]:
    """First column of a query's rows, as text."""
    import psycopg2

    with psycopg2.connect(
        host="127.0.0.1", port=database.port, user="sentinel", dbname=name
    ) as connection:
        cursor = connection.cursor()
        cursor.execute(query)
        return [str(row[0]) for row in cursor.fetchall()]
