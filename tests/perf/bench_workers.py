"""The sweep with one Ray worker against two, rounds alternating.

``python -m tests.perf.bench_workers --out workers.json``

A synthetic model of the shared traces' size, all compositions of one and two benchmarks, the
twelve classifiers of version 1, through the same Ray tasks and the same store as ``sentinel
sweep``. Each round starts a Ray of its own, warms every worker up with another model and then takes
the wall clock of the sweep. The ratio means what it says only where two cores are free, so the
machine's load before each round is written beside it.
"""

import argparse
import json
import logging
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import ray

from estimators.config import V1_GRID
from tasks.conf import Sweep
from tasks.signals.features import Joined
from tasks.storage.store import Store
from tasks.sweeps.sweep import sweep
from tests.perf.bench_scale import table

BENCHMARKS, ITEMS = 9, 458
ESTIMATORS = tuple(config.name for config in V1_GRID)


def seconds(workers: int, sizes: tuple[int, ...]) -> float:
    """Wall clock of one sweep by that many workers."""
    ray.init(
        num_cpus=workers, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR
    )
    try:
        with tempfile.TemporaryDirectory() as root:
            sweep(Joined(table(BENCHMARKS, ITEMS, 1), ()), Sweep((1,), ESTIMATORS), Store(root))
            started = time.perf_counter()
            sweep(Joined(table(BENCHMARKS, ITEMS), ()), Sweep(sizes, ESTIMATORS), Store(root))
            return time.perf_counter() - started
    finally:
        ray.shutdown()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    rounds: list[dict[str, float]] = []
    for number in range(options.rounds):
        load = os.getloadavg()[0]
        one, two = (seconds(workers, tuple(options.sizes)) for workers in (1, 2))
        rounds.append({"load": load, "one": one, "two": two, "ratio": one / two})
        print(
            f"round {number + 1}: one worker {one:.1f} s, two {two:.1f} s, "
            f"ratio {one / two:.2f}, load before {load:.1f}",
            flush=True,
        )
    ratios = [r["ratio"] for r in rounds]
    report = {
        "cores": os.cpu_count(),
        "median_ratio": statistics.median(ratios),
        "smallest": min(ratios),
        "largest": max(ratios),
        "rounds": rounds,
    }
    print(json.dumps({k: v for k, v in report.items() if k != "rounds"}, indent=2))
    if options.out:
        options.out.write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
