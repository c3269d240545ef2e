"""A Ray cluster with GPUs, a Prefect and an MLflow server, on a machine that has them.

``SENTINEL_GPU_TESTS=cpu`` runs the same flows with vLLM's CPU build where there is no GPU: it tries
the tests, and shows nothing about GPUs. ``SENTINEL_GPU_MODEL`` and ``SENTINEL_GPU_OTHER_MODEL`` are
folders of the two models (default: the embedded one for both). Figures go to the JSON file that
``SENTINEL_GPU_RECORDS`` names.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import psutil
import pytest

from tests.gpu import devices
from tests.live.conftest import MODEL, Lab
from tests.live.services import RayCluster, await_true, mlflow_server, prefect_server, running

ON_CPU = os.environ.get("SENTINEL_GPU_TESTS") == "cpu"
GPUS = len(devices.visible())
LABELS = {"node-type": "gpu"}
MODELS = {
    "first": os.environ.get("SENTINEL_GPU_MODEL", str(MODEL)),
    "second": os.environ.get("SENTINEL_GPU_OTHER_MODEL", str(MODEL)),
}
_MARK = "SENTINEL_GPU_TEST"
_ENGINE = "VLLM::EngineCore"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            for mark in (pytest.mark.gpu, pytest.mark.slow, pytest.mark.long):
                item.add_marker(mark)
            item.add_marker(pytest.mark.timeout(900))
            if not (GPUS or ON_CPU):
                item.add_marker(pytest.mark.skip(reason="no NVIDIA GPU here"))


@dataclass
class Machine:
    """One machine that plays a cluster: a head, a node of CPUs, and one with all its GPUs."""

    folder: Path
    cluster: RayCluster
    pages: dict[str, str]
    gpu_node: subprocess.Popen | None = None

    def add_gpu_node(self) -> None:
        # Without GPUs: room for two engines, and for no sweep task beside them.
        more = ("--num-gpus", GPUS, "--labels", "node-type=gpu")
        cpus = 2 if ON_CPU else 8
        # The CPU build wants a memory node for each of an engine's parallel processes.
        parallel = {"VLLM_CPU_SIM_MULTI_NUMA": "1"} if ON_CPU else {}
        self.gpu_node = self.cluster.worker(cpus, parallel | {_MARK: str(self.folder)}, *more)

    def holders(self) -> devices.Reading:
        """Who computes on GPUs; without them, engines of this cluster."""
        if not ON_CPU:
            now = devices.read()
            mine = {pid: gpus for pid, gpus in now.holders.items() if self._is_mine(pid)}
            return replace(now, holders=mine)
        engines = (p for p in psutil.process_iter(["name"]) if p.info["name"] == _ENGINE)
        mine = {p.pid: frozenset() for p in engines if self._is_mine(p.pid)}
        return devices.Reading(time.monotonic(), {}, mine)

    def left(self) -> list[int]:
        """Processes that came from a GPU node and are there, orphans included."""
        return [pid for pid in psutil.pids() if self._is_mine(pid)]

    def _is_mine(self, pid: int) -> bool:
        """Whether a process came from the GPU node, and so from this test; orphans as well."""
        try:
            process = psutil.Process(pid)
            mine = process.environ().get(_MARK) == str(self.folder)
            return mine and process.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            return False

    def await_free(self, used_before: Mapping[int, int], since: float) -> float:
        """Seconds after ``since`` until no process of ours is on a GPU and its memory is back.

        Of a GPU on which somebody else computes meanwhile, memory tells nothing.
        """

        def free() -> bool:
            now = self.holders()
            shared = frozenset().union(*devices.read().holders.values())
            return not now.holders and all(
                now.used_mib[gpu] <= used + 64
                for gpu, used in used_before.items()
                if gpu not in shared
            )

        await_true(free, 120, f"the end of {self.holders()}")
        return round(time.monotonic() - since, 1)

    def engines(self) -> list[psutil.Process]:
        """The processes of vLLM, one an engine, on the GPU node."""
        return self._below(_ENGINE)

    def actors(self) -> list[psutil.Process]:
        """The Ray actors that hold an engine each."""
        return self._below("ray::VllmEng")

    def _below(self, name: str) -> list[psutil.Process]:
        """Processes below the GPU node whose names begin so; others may end meanwhile."""
        assert self.gpu_node is not None
        found = []
        for process in psutil.Process(self.gpu_node.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                if process.name().startswith(name):
                    found.append(process)
        return found

    def requests(self, *benchmarks: str) -> dict[int, list[str]]:
        """Items of these benchmarks that engines were asked, by the process of the engine's actor.

        An item that was asked twice stands there twice.
        """
        found: dict[int, list[str]] = {}
        for log in self.cluster.folder.rglob("worker-*.out"):
            asked = re.findall(r"Added request (\S+?/\S+?)/\d+", log.read_text(errors="replace"))
            if mine := [key for key in asked if key.split("/")[0] in benchmarks]:
                found[int(log.stem.rsplit("-", 1)[1])] = mine
        return found

    def model_of(self, pid: int) -> str:
        """Name of the model that an engine's process loaded, from its log."""
        for log in self.cluster.folder.rglob("worker-*.out"):
            for line in log.read_text(errors="replace").splitlines():
                named = re.search(r"model='([^']+)'", line)
                if named and f"pid={pid})" in line:
                    return Path(named[1]).name
        return "unknown"


@pytest.fixture(scope="session")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    folder = tmp_path_factory.mktemp("machine")
    prefect, api = prefect_server(folder, f"sqlite+aiosqlite:///{folder / 'prefect.db'}")
    mlflow, tracking = mlflow_server(folder, f"sqlite:///{folder / 'mlflow.db'}")
    cluster = RayCluster()
    with running(prefect, mlflow):
        try:
            cluster.head()
            cluster.worker(2 if ON_CPU else 8)
            pages = {"PREFECT_API_URL": api, "MLFLOW_TRACKING_URI": tracking}
            made = Machine(folder, cluster, pages)
            made.add_gpu_node()
            yield made
        finally:
            cluster.close()
        await_true(lambda: not made.left(), 60, "the end of all processes of GPU nodes")


@dataclass
class Run:
    """An experiment on the machine: questions that want long answers, in small parts."""

    machine: Machine
    lab: Lab
    name: str
    items: int
    part: int

    @property
    def benchmarks(self) -> tuple[str, str]:
        return f"{self.name}-a", f"{self.name}-b"

    def write(self, models: Mapping[str, Mapping[str, object]], **changes: object) -> list[str]:
        """Words of the command that runs it. Each model has ``weights``, ``options``, resources."""
        sources = {}
        for number, name in enumerate(self.benchmarks):
            file = self.lab.folder / f"{name}.jsonl"
            file.write_text("".join(self._row(1000 * number + i) + "\n" for i in range(self.items)))
            sources[name] = {"source": {"path": str(file)}}
        path = self.lab.write(
            models={name: engine(**more) for name, more in models.items()},
            benchmarks=sources,
            batch_items=self.part,
            **{"decoding": {"temperature": 0, "max_tokens": 32 if ON_CPU else 128}} | changes,
        )
        return ["run", str(path)]

    @staticmethod
    def _row(i: int) -> str:
        a, b = 12 + 7 * i, 3 + 5 * i
        question = f"Explain step by step how to compute {a} * {b} + {i}."
        return json.dumps({"item_id": str(i), "question": question, "answer": str(a * b + i)})

    def stored(self, model: str = "first") -> int:
        """Items with a row; a row that stands twice is an error of its own."""
        if not self.lab.parts(model):
            return 0
        table = self.lab.responses(model)
        keys = list(zip(table["benchmark"].to_pylist(), table["item_id"].to_pylist(), strict=True))
        rows = sum(_rows(self.lab.folder / part) for part in self.lab.parts(model))
        assert rows == len(set(keys)), "a row stands twice"
        assert "error" not in table["finish"].to_pylist()
        return rows

    def counts(self, model: str = "first") -> dict[str, int]:
        """Items lost, and asked of an engine more than once."""
        asked = list(chain.from_iterable(self.machine.requests(*self.benchmarks).values()))
        repeated = len(asked) - len(set(asked))
        return {"lost": 2 * self.items - self.stored(model), "repeated": repeated}


def _rows(path: Path) -> int:
    import pyarrow.parquet as pq

    return pq.read_metadata(path).num_rows


def engine(
    weights: str = "first",
    options: Mapping[str, object] | None = None,
    gpus: float = 1,
    **resources: object,
) -> dict[str, object]:
    """A model's conf. Few sequences at a time keep a small model busy for long enough to act."""
    settings = {"dtype": "bfloat16", "max_model_len": 1024, "enforce_eager": True}
    settings |= {"max_num_seqs": 4 if ON_CPU else 8, "enable_log_requests": True}
    if not ON_CPU:
        # A small share, so that several engines and other people's fit on a GPU beside each other.
        settings |= {"gpu_memory_utilization": 0.1, "kv_cache_memory_bytes": 2**31}
    needs = {"cpus": 1, "gpus": 0 if ON_CPU else gpus, "labels": LABELS} | resources
    return {"model": MODELS[weights], "options": settings | dict(options or {}), "resources": needs}


@pytest.fixture
def make_run(machine: Machine, tmp_path: Path) -> Callable[..., Run]:
    """A run in a folder of its own; ``name`` also begins the names of its benchmarks."""

    def make(name: str, items: int = 0, part: int = 0) -> Run:
        folder = tmp_path / name
        folder.mkdir()
        environment = machine.cluster.clients | machine.pages | {"VLLM_CPU_KVCACHE_SPACE": "1"}
        lab = Lab(folder, environment=environment)
        return Run(machine, lab, name, items or (12 if ON_CPU else 32), part or 4)

    return make


@pytest.fixture
def memory_before(machine: Machine) -> dict[int, int]:
    """Used memory by GPU before the test, once nobody computes there."""
    await_true(lambda: not machine.holders().holders, 60, "GPUs without processes")
    return machine.holders().used_mib


@pytest.fixture
def note(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Write figures down under the name of the test."""

    def write(**figures: object) -> None:
        if not (path := os.environ.get("SENTINEL_GPU_RECORDS")):
            return
        file = Path(path)
        known = json.loads(file.read_text()) if file.exists() else {}
        case = known.setdefault(request.node.name.removeprefix("test_"), {})
        case |= figures
        file.write_text(json.dumps(known, indent=1) + "\n")

    return write
