"""The sweep on Ray and on real traces, as the command line runs it."""

from __future__ import annotations

import os
import signal
import threading
import time

import numpy as np
import pyarrow.parquet as pq
import pytest
import ray
import ray.exceptions

from entropy.profile import FEATURES
from estimators.table import FeatureTable
from tasks.cluster.pieces import compute_pieces
from tasks.conf import Sweep
from tasks.signals.features import Joined
from tasks.storage.store import Store
from tasks.sweeps.sweep import sweep

# Medians over the 36 pairs of the nine real benchmarks, measured once by others on all rows
# (data/README.md of the shared folder); here 80 % of each training benchmark is used.
QUOTED = {
    "atc-max": 0.044,
    "logistic-isotonic": 0.046,
    "forest-isotonic": 0.043,
    "constant": 0.114,
}


def test_any_number_of_workers_gives_the_same_rows(tmp_path):
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(4), 60)
    y = (rng.random(240) < 0.5).astype(float)
    X = rng.normal(size=(240, len(FEATURES))) - y[:, None]
    joined = Joined(FeatureTable("m", ("a", "b", "c", "d"), FEATURES, X, y, group), ())
    settings = Sweep(sizes=(1, 2, 3), estimators=("forest-isotonic", "mlp-none", "ensemble"))
    tables = []
    for workers in (1, 2):
        ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False)
        try:
            tables.append(sweep(joined, settings, Store(str(tmp_path / str(workers)))))
        finally:
            ray.shutdown()
    assert len(tables[0]) == 14 * 3
    assert tables[0].to_pandas().equals(tables[1].to_pandas())


class Told(BaseException):
    """What a handler raises when a run is to be cancelled, as Prefect's does."""


def test_a_signal_during_a_sweep_comes_out_as_its_handler_raised_it(tmp_path, monkeypatch) -> None:
    """Of Ray it would come out as an ordinary error, and the next model would be swept."""

    def cancel(*_):
        raise Told

    def during(call):
        def waits(*args, **kwargs):
            threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM)).start()
            return call(*args, **kwargs)

        return waits

    def sweeping(seconds: float) -> ray.ObjectRef:
        return ray.remote(lambda: [time.sleep(0.1) for _ in range(int(10 * seconds))]).remote()

    def compute(task, **calls):
        with monkeypatch.context() as patch:
            for name, call in calls.items():
                patch.setattr(ray, name, call)
            compute_pieces({task: "piece.parquet"}, Store(str(tmp_path)), 1, None)

    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False)
    before = signal.signal(signal.SIGTERM, cancel)
    try:
        with pytest.raises(Told):
            compute(sweeping(2), wait=lambda waiting, **_: (waiting, []), get=during(ray.get))
        task = sweeping(60)
        with pytest.raises(Told):
            compute(task, wait=during(ray.wait))
        with pytest.raises(ray.exceptions.RayError):  # Cancelled, so no worker goes on with it.
            ray.get(task, timeout=30)
    finally:
        signal.signal(signal.SIGTERM, before)
        ray.shutdown()


def test_real_traces_give_the_quoted_medians_and_every_composition(shared_data, tmp_path, lab):
    traces = shared_data / "traces" / "qwen2.5-coder-0.5b-instruct"
    profiles, splits = tmp_path / "profiles.parquet", tmp_path / "splits.parquet"
    lab.run("profile", "--traces", str(traces / "traces.parquet"), "-o", str(profiles))
    files = ["--profiles", str(profiles), "--labels", str(traces / "labels.parquet")]
    names = ["--estimators", ",".join(QUOTED), "--exclude", "rg_*"]
    lab.run("sweep", *files, *names, "--sizes", "1,2,3,4", "-o", str(splits))
    table = pq.read_table(splits).to_pandas()
    counts = table.groupby("k")["composition"].apply(lambda c: len({tuple(x) for x in c}))
    assert counts.to_dict() == {1: 9, 2: 36, 3: 84, 4: 126}
    medians = table[table["k"] == 2].groupby("estimator")["aee_unseen"].median()
    for name, quoted in QUOTED.items():
        assert medians[name] == pytest.approx(quoted, abs=0.015), name
