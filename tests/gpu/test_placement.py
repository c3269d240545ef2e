"""Which GPUs engines get: models side by side, replicas, tensor parallelism, sweeps elsewhere."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from entropy.features import COLUMNS
from tests.gpu.conftest import GPUS, MODELS, ON_CPU, Machine, Run
from tests.gpu.devices import Watch

Note = Callable[..., None]


needs_two = pytest.mark.skipif(GPUS == 1, reason="needs two GPUs")


@needs_two
def test_two_models_at_once(machine: Machine, make_run: Callable[..., Run], note: Note) -> None:
    """Each on a GPU of its own, at the same time."""
    run = make_run("models", items=12 if ON_CPU else 24)
    words = run.write({"first": {}, "second": {"weights": "second"}}, models_at_once=2)
    start = time.monotonic()
    with Watch(machine.holders) as watch:
        run.lab.run(*words)
    seconds = time.monotonic() - start
    gpus = watch.gpus()
    assert len(gpus) == 2
    together = watch.together(*gpus)
    assert together > 3
    note(
        gpus=[(machine.model_of(pid), sorted(on)) for pid, on in gpus.items()],
        seconds_together=round(together, 1), seconds=round(seconds),
        items={name: run.stored(name) for name in ("first", "second")},
    )  # fmt: skip
    assert run.stored("first") == run.stored("second") == 2 * run.items
    if GPUS > 1:
        assert len(frozenset.union(*gpus.values())) == 2


@needs_two
def test_two_replicas_of_one_model(
    machine: Machine, make_run: Callable[..., Run], note: Note
) -> None:
    run = make_run("replicas", items=12 if ON_CPU else 24)
    words = run.write({"first": {"replicas": 2}})
    with Watch(machine.holders) as watch:
        run.lab.run(*words)
    gpus = watch.gpus()
    together = watch.together(*gpus)
    shares = sorted(map(len, machine.requests(*run.benchmarks).values()))
    note(gpus=[sorted(on) for on in gpus.values()], seconds_together=round(together, 1),
         requests=shares, **run.counts())  # fmt: skip
    assert len(gpus) == 2
    assert len(shares) == 2, "one of the engines was asked nothing"
    assert together > 2
    assert run.counts() == {"lost": 0, "repeated": 0}
    if GPUS > 1:
        assert len(frozenset.union(*gpus.values())) == 2


@needs_two
def test_tensor_parallel(machine: Machine, make_run: Callable[..., Run], note: Note) -> None:
    """One engine over two GPUs; its two processes come and go together."""
    run = make_run("tensor", items=12 if ON_CPU else 24)
    model = {"weights": "second", "options": sharable(MODELS["second"])}
    words = run.write({"first": model | {"gpus": 2, "tensor_parallel": 2}})
    with Watch(machine.holders) as watch:
        run.lab.run(*words)
    gpus = watch.gpus()
    note(gpus=[sorted(on) for on in gpus.values()],
         seconds_together=round(watch.together(*gpus), 1), **run.counts())  # fmt: skip
    assert run.counts() == {"lost": 0, "repeated": 0}
    if GPUS > 1:
        assert len(frozenset.union(*gpus.values())) == 2


def sharable(model: str) -> dict[str, object]:
    """Options by which two GPUs can share a model's attention heads.

    The embedded one has nine: of it a model with eight and made-up weights is run.
    """
    heads = json.loads((Path(model) / "config.json").read_text())["num_attention_heads"]
    if heads % 2 == 0:
        return {}
    shape = {"num_attention_heads": 8, "num_key_value_heads": 4, "hidden_size": 512, "head_dim": 64}
    return {"load_format": "dummy", "hf_overrides": shape}


def test_a_model_that_fits_no_node_ends_and_sweeps_go_to_cpus(
    machine: Machine, make_run: Callable[..., Run], note: Note
) -> None:
    """Its error comes when the set time is up; meanwhile a sweep runs, and not beside the GPUs."""
    run = make_run("large")
    large = {"cpus": 64} if ON_CPU else {"gpus": GPUS + 2, "tensor_parallel": GPUS + 2}
    words = run.write({"first": large})
    run.lab.environment["SENTINEL_ROOM_TIMEOUT_S"] = "20"
    start = time.monotonic()
    process = run.lab.start(*words)
    output = run.lab.folder / "output.txt"
    output.rename(told := run.lab.folder / "large.txt")
    with Sweeps(machine) as sweeps:
        run.lab.run(
            "sweep", *sweep_files(run.lab.folder), "-o", str(run.lab.folder / "out.parquet")
        )
    status = process.wait(timeout=200)
    note(
        status=status, seconds=round(time.monotonic() - start),
        error=[line for line in told.read_text().splitlines() if "no node had room" in line][-1:],
        most_sweep_tasks_at_once=sweeps.most, those_on_the_gpu_node=sweeps.beside_gpus,
    )  # fmt: skip
    assert status == 2
    assert "no node had room for an engine" in told.read_text()
    assert sweeps.most > 0
    assert sweeps.beside_gpus == 0


def sweep_files(folder: Path) -> list[str]:
    """Options of a sweep over eight made-up benchmarks that takes many Ray tasks."""
    rng = np.random.default_rng(0)
    correct = (rng.random(480) < 0.5).astype(int)
    keys = {
        "benchmark": np.repeat([f"b{i}" for i in range(8)], 60),
        "item_id": [str(i) for i in range(480)],
    }
    values = {c: rng.normal(size=480) - correct for c in COLUMNS}
    pq.write_table(pa.table(keys | {"n_tokens": [9] * 480} | values), folder / "p.parquet")
    pq.write_table(pa.table(keys | {"correct": correct}), folder / "l.parquet")
    files = ["--profiles", str(folder / "p.parquet"), "--labels", str(folder / "l.parquet")]
    return [*files, "--sizes", "1,2,3", "--estimators", "forest-isotonic,logistic-isotonic"]


class Sweeps:
    """Counts sweep tasks that run at once, and those on the node with GPUs."""

    def __init__(self, machine: Machine) -> None:
        self._machine, self.most, self.beside_gpus = machine, 0, 0

    def __enter__(self) -> Sweeps:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _look(self) -> None:
        assert self._machine.gpu_node is not None
        mine = psutil.Process()
        while not self._stop.wait(0.2):
            nodes = {
                p.pid: beside for p in mine.children(recursive=True)
                for beside in [_under(p, self._machine.gpu_node.pid)] if _sweeps(p)
            }  # fmt: skip
            self.most = max(self.most, len(nodes))
            self.beside_gpus = max(self.beside_gpus, sum(nodes.values()))


def _sweeps(process: psutil.Process) -> bool:
    try:
        return process.name().startswith("ray::_evaluat")
    except psutil.NoSuchProcess:
        return False


def _under(process: psutil.Process, pid: int) -> bool:
    try:
        return any(p.pid == pid for p in process.parents())
    except psutil.NoSuchProcess:
        return False
