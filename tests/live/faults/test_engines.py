"""Ray's workers and nodes lost beneath a sweep and beneath real engines, and memory running out."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from entropy.features import COLUMNS
from tests.live.conftest import BENCHMARKS, Lab
from tests.live.faults.conftest import Servers
from tests.live.faults.trouble import (
    LOGGED,
    alive,
    asked,
    below,
    engines,
    names,
    ray_folder,
    record,
    worker,
)
from tests.live.services import BIN, QUIET, RayCluster, await_true, clean_environment

pytestmark = pytest.mark.long

# The head's own record of tasks, which needs no dashboard: attempts beyond the first, a job.
_REPEATED = """
import collections, json, os, ray
from ray._private.state import state
ray.init(address=os.environ["RAY_ADDRESS"], log_to_driver=False, logging_level="ERROR")
jobs = collections.defaultdict(list)
for event in state._get_all_task_events():
    if event.HasField("task_info") and event.task_info.name == "_evaluate":
        jobs[event.job_id.hex()].append(event.attempt_number)
print(json.dumps([sum(n > 0 for n in jobs[job]) for job in sorted(jobs)]))
"""


@dataclass
class Sweeps:
    """A cluster with a node for sweeps, their options, and the rows of an undisturbed one."""

    cluster: RayCluster
    node: subprocess.Popen
    options: list[str]
    undisturbed: pa.Table
    pieces: set[str]

    def repeated(self) -> list[int]:
        """Pieces that Ray computed again, of each sweep so far."""
        done = subprocess.run(
            [BIN / "python", "-c", _REPEATED], capture_output=True, text=True, timeout=120,
            env=clean_environment() | QUIET | self.cluster.clients,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


def sweep_files(folder: Path) -> list[str]:
    """Options of a sweep over eight made-up benchmarks that takes many Ray tasks."""
    rng = np.random.default_rng(0)
    benchmarks = np.repeat([f"b{i}" for i in range(8)], 60)
    correct = (rng.random(480) < 0.5).astype(int)
    keys = {"benchmark": benchmarks, "item_id": [str(i) for i in range(480)]}
    values = {c: rng.normal(size=480) - correct for c in COLUMNS}
    pq.write_table(pa.table(keys | {"n_tokens": [9] * 480} | values), folder / "p.parquet")
    pq.write_table(pa.table(keys | {"correct": correct}), folder / "l.parquet")
    files = ["--profiles", str(folder / "p.parquet"), "--labels", str(folder / "l.parquet")]
    return [*files, "--sizes", "1,2,3", "--estimators", "forest-isotonic,logistic-isotonic"]


@pytest.fixture(scope="module")
def sweeps(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sweeps]:
    folder = tmp_path_factory.mktemp("sweeps")
    options = sweep_files(folder)
    cluster = RayCluster()
    try:
        cluster.head()
        node = cluster.worker(1)
        lab = Lab(folder, environment=cluster.clients)
        lab.run("sweep", *options, "-o", str(folder / "rows.parquet"))
        rows = pq.read_table(folder / "rows.parquet")
        yield Sweeps(cluster, node, options, rows, set(pieces(folder)))
    finally:
        cluster.close()


def pieces(folder: Path) -> list[str]:
    return [p.name for p in (folder / "data" / "sweeps").rglob("*.parquet")]


def sweeping(node: subprocess.Popen) -> list[psutil.Process]:
    """Ray workers of a node that compute splits now."""
    found = []
    for process in below(node):
        try:
            if process.name().startswith("ray::_evaluat"):
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


def test_fault_ray_worker_killed(sweeps: Sweeps, plain_lab: Lab) -> None:
    folder = plain_lab.folder
    plain_lab.environment = sweeps.cluster.clients
    process = plain_lab.start("sweep", *sweeps.options, "-o", str(folder / "rows.parquet"))
    await_true(lambda: len(pieces(folder)) >= 2, 200, "two pieces")
    await_true(lambda: sweeping(sweeps.node), 60, "a task")
    sweeping(sweeps.node)[0].kill()
    assert process.wait(timeout=400) == 0, plain_lab.output[-3000:]
    lost, repeated = outcome(sweeps, folder)
    assert 1 <= repeated <= 2
    record(
        "worker killed", "`kill -9` of a Ray worker that computed a piece of a sweep",
        f"Ray computed that piece again elsewhere; all {len(sweeps.pieces)} pieces are there and "
        "the rows equal those of an undisturbed sweep; items are pieces here",
        lost=lost, repeated=repeated, of=len(sweeps.pieces),
    )  # fmt: skip


def test_fault_node_lost(sweeps: Sweeps, plain_lab: Lab) -> None:
    folder = plain_lab.folder
    plain_lab.environment = sweeps.cluster.clients
    second = sweeps.cluster.worker(1)
    process = plain_lab.start("sweep", *sweeps.options, "-o", str(folder / "rows.parquet"))
    await_true(lambda: len(pieces(folder)) >= 2, 200, "two pieces")
    await_true(lambda: sweeping(second), 60, "a task on the second node")
    sweeps.cluster.lose(second)
    assert process.wait(timeout=400) == 0, plain_lab.output[-3000:]
    lost, repeated = outcome(sweeps, folder)
    assert 1 <= repeated <= 4
    record(
        "node lost", "`kill -9` of one of two nodes, raylet and all, while it computed a piece",
        "the other node went on and computed again what was lost with the first; rows as "
        "undisturbed; items are pieces here",
        lost=lost, repeated=repeated, of=len(sweeps.pieces),
    )  # fmt: skip


def outcome(sweeps: Sweeps, folder: Path) -> tuple[int, int]:
    """Pieces lost and pieces repeated in the last sweep, whose rows have to be right."""
    assert pq.read_table(folder / "rows.parquet").equals(sweeps.undisturbed)
    return len(sweeps.pieces - set(pieces(folder))), sweeps.repeated()[-1]


@pytest.fixture
def ray() -> Iterator[Path]:
    with ray_folder() as folder:
        yield folder


@pytest.fixture
def engine_lab(lab: Lab) -> Lab:
    """A laboratory with one real model over two benchmarks, whose engine logs what it is asked."""
    chosen = {
        n: {"source": {"generator": g, "size": 16, "seed": 7, "config": c}}
        for n, (g, c) in list(BENCHMARKS.items())[:2]
    }
    lab.items = 16
    lab.write(
        models={"small": LOGGED}, benchmarks=chosen, batch_items=4,
        decoding={"temperature": 0, "max_tokens": 48},
    )  # fmt: skip
    return lab


EXPERIMENT = ("conf", "experiments", "lab.yaml")


def run(lab: Lab) -> list[str]:
    return ["run", str(lab.folder.joinpath(*EXPERIMENT))]


def rows(lab: Lab) -> int:
    """Items stored, each once."""
    table = lab.responses()
    keys = set(zip(table["benchmark"].to_pylist(), table["item_id"].to_pylist(), strict=True))
    written = sum(pq.read_metadata(lab.folder / p).num_rows for p in lab.parts())
    assert written == len(keys)
    return written


def test_fault_engine_out_of_memory_and_node_lost(engine_lab: Lab) -> None:
    """First no node may hold an engine; then one does, and is lost; the second one ends the run."""
    lab, cluster = engine_lab, RayCluster()
    try:
        cluster.head()
        # Ray ends workers of a node whose memory is fuller than this, as any node's is.
        tight = cluster.worker(1, {"RAY_memory_usage_threshold": "0.02"})
        lab.environment = cluster.clients | {"VLLM_CPU_KVCACHE_SPACE": "1"}
        assert lab.start(*run(lab)).wait(timeout=400) != 0
        assert "low on memory" in lab.output
        assert not lab.parts()
        before = asked(cluster.folder)
        cluster.lose(tight)
        first, second = cluster.worker(1), cluster.worker(1)
        process = lab.start(*run(lab))
        await_true(lambda: len(lab.parts()) >= 1, 300, "the first part")
        kept = lab.parts()
        host = next(n for n in (first, second) if engines(below(n)))
        cluster.lose(host)
        assert process.wait(timeout=400) == 0, lab.output[-4000:]
        repeated = asked(cluster.folder) - before - 32
    finally:
        cluster.close()
    parts = lab.parts()
    assert {p: t for p, t in parts.items() if p in kept} == kept
    lost = 32 - rows(lab)
    assert lost == before == 0
    assert 0 <= repeated <= 2 * 4
    record(
        "engine out of memory: its node", "a node whose memory is so short that Ray ends "
        "workers (`RAY_memory_usage_threshold`)", "tried on fresh engines, then ended with a "
        "message that memory ran low; with other nodes a later run was complete",
        lost=lost, repeated=before, of=32,
    )  # fmt: skip
    record(
        "node lost beneath an engine", "`kill -9` of the raylet and all processes of the node that "
        f"held vLLM, after {len(kept)} of 8 parts", "the engine was loaded on the other node and "
        "the run ended well", lost=lost, repeated=repeated, of=32,
    )  # fmt: skip


def test_fault_cancel_ends_an_engine(engine_lab: Lab, servers: Servers, ray: Path) -> None:
    lab = engine_lab
    lab.environment = servers.clients | {"VLLM_CPU_KVCACHE_SPACE": "1", "RAY_TMPDIR": str(ray)}
    with worker(lab, servers.clients) as watching:
        deployment = servers.api("/deployments/name/experiment/experiment")
        started = servers.api(
            f"/deployments/{deployment['id']}/create_flow_run",
            {"parameters": {"path": "/".join(EXPERIMENT)}},
        )
        await_true(lambda: lab.parts(), 300, "the first part")
        left = [p for prefect_worker in watching.children() for p in prefect_worker.children(True)]
        held = engines(left)
        assert held
        servers.api(f"/flow_runs/{started['id']}/set_state", {"state": {"type": "CANCELLING"}})
        start = time.monotonic()
        await_true(lambda: not any(map(alive, held)), 60, f"the end of {names(held)}")
        stopped = time.monotonic() - start
        await_true(lambda: not any(map(alive, left)), 60, f"the end of all of {names(left)}")

        def state() -> str:
            return servers.api(f"/flow_runs/{started['id']}")["state_name"]

        await_true(lambda: state() not in ("Running", "Cancelling"), 60, "the end on its page")
        assert state() == "Cancelled"
    kept = lab.parts()
    assert len(kept) < 8
    lab.run("generate", run(lab)[1], "--out", str(lab.folder / "all.parquet"))
    after = lab.parts()
    assert {p: t for p, t in after.items() if p in kept} == kept
    lost, repeated = 32 - rows(lab), asked(ray) - 32
    assert lost == 0
    assert 0 <= repeated <= 2 * 4
    record(
        "cancel from the UI: the engine", f"as above, with vLLM at work and {len(kept)} of 8 parts "
        "stored", f"the engine's processes had ended after {stopped:.0f} s, and all others; the "
        "page said `Cancelled`; a later run answered what was missing",
        lost=lost, repeated=repeated, of=32,
    )  # fmt: skip
