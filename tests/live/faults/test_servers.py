"""Servers that go away for a while beneath a run: what it does, and that nothing is lost."""

from __future__ import annotations

import io
import threading
import time
from pathlib import Path
from typing import Any

import boto3
import pyarrow.parquet as pq
import pytest

from tests.live.faults.conftest import SWEEP, Servers
from tests.live.faults.trouble import (
    HELD,
    PART,
    SlowProxy,
    Trouble,
    record,
    recording,
)
from tests.live.services import await_true, object_store, running

# Where the table is made MLflow is away for a minute and the store is slow. Elsewhere only the way
# counts, and nobody wants to wait.
MLFLOW_AWAY_S, STORE_DELAY_S = (60, 0.2) if recording() else (3, 0.04)


def test_fault_prefect_restarted(found: Trouble, servers: Servers) -> None:
    """Away until all is generated, so that the steps that follow find no server."""
    path = found.write()
    found.hold(after=HELD)
    process = found.lab.start("run", path)
    await_true(lambda: found.parts >= 2, 200, "two parts")
    start = time.monotonic()
    servers.prefect.stop()
    asked = found.asked
    found.let_go()
    try:
        await_true(lambda: found.lost() == 0, 300, "all answers without a server")
        time.sleep(4)
    finally:
        servers.prefect.start()
    away = time.monotonic() - start
    assert process.wait(timeout=300) == 0, found.lab.output[-3000:]
    assert asked < found.all_items
    assert servers.states(found.name) == ["Completed"]
    await_true(lambda: servers.unfinished(found.name) == [], 180, "the last tasks' states")
    assert servers.tracked(found.name) > SWEEP
    assert found.lost() == found.repeated == 0
    record(
        "Prefect server restarted", "`kill -9` while a run generated; started again when all was "
        f"generated, so that it was away for {away:.0f} s",
        "generation went on without it, the next steps waited for it, and the run ended well, as "
        "its page says: `Completed`", **found.counts(),
    )  # fmt: skip


def results(found: Trouble) -> list[Path]:
    """Tables of results, written before anything is logged to a server."""
    return list((found.lab.folder / "data" / "results").rglob("estimates.csv"))


@pytest.mark.long
def test_fault_mlflow_away_for_a_minute(found: Trouble, servers: Servers) -> None:
    path = found.write()
    servers.mlflow.stop()
    try:
        process = found.lab.start("run", path)
        await_true(lambda: results(found), 300, "results in their folder")
        time.sleep(MLFLOW_AWAY_S)
    finally:
        servers.mlflow.start()
    assert process.wait(timeout=300) == 0, found.lab.output[-3000:]
    assert servers.tracked(found.name) > SWEEP
    assert servers.states(found.name) == ["Completed"]
    assert found.lost() == found.repeated == 0
    record(
        "MLflow down for a minute", f"`kill -9` before the sweep was to be logged; {MLFLOW_AWAY_S} "
        "s without it after the results were written", "tables and figures stood in the results "
        "folder; logging was tried until MLflow was back, then the run ended well",
        **found.counts(),
    )  # fmt: skip


def test_fault_postgresql_restarted(found: Trouble, servers: Servers) -> None:
    path = found.write()
    found.hold(after=HELD)
    process = found.lab.start("run", path)
    await_true(lambda: found.parts >= 2, 200, "two parts")
    servers.database.stop()
    asked = found.asked
    found.let_go()
    time.sleep(4)
    servers.database.start()
    assert process.wait(timeout=300) == 0, found.lab.output[-3000:]
    assert asked < found.all_items
    assert servers.states(found.name) == ["Completed"]
    await_true(lambda: servers.unfinished(found.name) == [], 180, "the last tasks' states")
    assert servers.tracked(found.name) > SWEEP
    assert found.lost() == found.repeated == 0
    record(
        "PostgreSQL restarted", "`kill -9` beneath Prefect and MLflow while a run generated; "
        "started again 4 s later", "both servers connected again by themselves; the run waited "
        "for them and ended well in Prefect and in MLflow", **found.counts(),
    )  # fmt: skip


@pytest.mark.long
def test_fault_slow_object_store(found: Trouble, servers: Servers) -> None:
    store, clients = object_store(found.lab.folder)
    with running(store):
        address = clients["AWS_ENDPOINT_URL"]
        keys = {"aws_access_key_id": "a", "aws_secret_access_key": "b", "region_name": "us-east-1"}
        s3 = boto3.client("s3", endpoint_url=address, **keys)
        s3.create_bucket(Bucket="lab")
        proxy = SlowProxy(int(address.rsplit(":", 1)[1]), STORE_DELAY_S)
        found.lab.environment = servers.clients | clients | {
            "SENTINEL_ROOT": "s3://lab", "SENTINEL_STATE": str(found.lab.folder / "state"),
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{proxy.port}",
        }  # fmt: skip
        reader = Reader(s3)
        found.lab.run("run", found.write())
        reader.end()
        proxy.close()
        names = [o["Key"] for o in s3.list_objects_v2(Bucket="lab")["Contents"]]
    parts = [n for n in names if n.startswith("responses/")]
    items = sum(reader.rows[n] for n in parts)
    assert not reader.broken
    assert len(parts) == found.all_items // PART
    assert items == found.all_items
    assert reader.reads > len(parts)
    assert found.repeated == 0
    record(
        "object store slow", f"an S3 server whose every answer comes {STORE_DELAY_S} s late and "
        f"whose uploads trickle in, 1 KiB in {STORE_DELAY_S * 50:g} ms",
        f"slower, otherwise as ever; one who read all files all the time ({reader.reads} reads) "
        "never saw half of one",
        lost=found.all_items - items, repeated=found.repeated, of=found.all_items,
    )  # fmt: skip


class Reader:
    """Reads every table there is, all the time: half of one would not parse."""

    def __init__(self, s3: Any) -> None:
        self._s3 = s3
        self.reads = 0
        self.rows: dict[str, int] = {}
        self.broken: list[str] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def end(self) -> None:
        """Stop after one more round."""
        self._over.set()
        self._thread.join()

    def _read(self) -> None:
        while True:
            last = self._over.is_set()
            for item in self._s3.list_objects_v2(Bucket="lab").get("Contents", []):
                if item["Key"].endswith(".parquet"):
                    self._table(item["Key"])
            if last:
                return
            time.sleep(0.2)

    def _table(self, key: str) -> None:
        body = self._s3.get_object(Bucket="lab", Key=key)["Body"].read()
        self.reads += 1
        try:
            rows = pq.read_table(io.BytesIO(body)).num_rows
        except (OSError, ValueError) as error:  # Arrow's errors are of these kinds.
            self.broken.append(f"{key}: {error}")
            return
        if self.rows.setdefault(key, rows) != rows:
            self.broken.append(f"{key}: {self.rows[key]} rows, then {rows}")
