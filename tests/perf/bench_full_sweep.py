"""The whole published sweep on this machine: 41,580 configurations, wall clock and peak memory.

``python -m tests.perf.bench_full_sweep --out full.json``

Nine synthetic models of ten benchmarks and 4,580 responses (the size of the real traces at hand),
every composition of one to four benchmarks, the twelve classifiers of version 1, through the same
Ray tasks and the same store as ``sentinel sweep``. Memory is the sum over all processes of what
each holds for itself (USS) plus Ray's shared object store, sampled every second.
"""

import argparse
import json
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import psutil

from estimators.config import V1_GRID
from tasks.cluster.joining import ray_cluster, workers
from tasks.conf import Sweep
from tasks.signals.features import Joined
from tasks.storage.store import Store
from tasks.sweeps.sweep import sweep
from tests.perf.bench_scale import table

BENCHMARKS, ITEMS = 10, 458


class Memory:
    """Peak of this process and all below it, in GB; runs while the block does."""

    def __enter__(self) -> "Memory":
        self.peak = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        me = psutil.Process()
        while not self._stop.wait(1.0):
            total = 0
            for process in (me, *me.children(recursive=True)):
                try:
                    total += process.memory_full_info().uss
                except (psutil.NoSuchProcess, psutil.AccessDenied):
                    continue
            shared = sum(f.stat().st_blocks * 512 for f in Path("/dev/shm").glob("plasma*"))
            self.peak = max(self.peak, (total + shared) / 1e9)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=9)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    settings = Sweep(sizes=(1, 2, 3, 4), estimators=tuple(c.name for c in V1_GRID))
    rows, seconds = 0, []
    with tempfile.TemporaryDirectory() as root, Memory() as memory, ray_cluster():
        start = time.perf_counter()
        for seed in range(options.models):
            data = table(BENCHMARKS, ITEMS, seed)
            begun = time.perf_counter()
            rows += len(sweep(Joined(data, ()), settings, Store(root)))
            seconds.append(time.perf_counter() - begun)
            print(
                f"model {seed + 1}: {seconds[-1]:.0f} s, {rows} rows, {memory.peak:.1f} GB",
                flush=True,
            )
        wall, cores = time.perf_counter() - start, workers()
    report = {
        "configurations": rows,
        "minutes": wall / 60,
        "cores": cores,
        "seconds_a_model": seconds,
        "peak_gb": memory.peak,
    }
    print(json.dumps(report, indent=2))
    if options.out:
        options.out.write_text(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
