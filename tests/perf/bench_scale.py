"""How each stage's cost grows, over at least a tenfold range, with the memory it takes.

``python -m tests.perf.bench_scale --out scale.json --figure docs/images/scale.png``

Every point is a process of its own, so its peak memory is its own. The data are synthetic, of the
shape of real ones. The slope is that of log(seconds) over log(size): 1 is proportional. A point's
seconds leave out the interpreter's start and, for the sweep, the first compilation.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from math import comb
from pathlib import Path

# ruff: noqa: E402 - BLAS reads these when numpy is first imported.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"
ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from entropy.profile import FEATURES
from estimators.compositions import compositions
from estimators.config import parse
from estimators.sweep import evaluate, prepare
from estimators.table import FeatureTable
from tasks.records import Item, Response, to_table
from tasks.signals.profile import profile_file
from tasks.verdicts.judge import judge_table
from tests.perf.bench_profile import responses

ESTIMATORS = ("forest-isotonic", "logistic-isotonic", "mlp-isotonic", "atc-max")


def table(benchmarks: int, items: int, seed: int = 0) -> FeatureTable:
    """Responses whose statistics tell right from wrong about as well as real ones do."""
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(benchmarks), items)
    rate = np.linspace(0.1, 0.9, benchmarks)[group]
    y = (rng.random(len(group)) < rate).astype(float)
    X = rng.normal(size=(len(group), len(FEATURES))) - 0.8 * y[:, None] - rate[:, None]
    names = tuple(f"b{i:02d}" for i in range(benchmarks))
    return FeatureTable("synthetic", names, FEATURES, X, y, group)


def profile_tokens(size: int) -> Callable[[], object]:
    """Write a file of traces of ``size`` tokens; the work is to profile it."""
    folder = tempfile.mkdtemp()
    path = f"{folder}/traces.parquet"
    writer = None
    # Written slice by slice, so that the peak is that of reading, not of making the data.
    for number, start in enumerate(range(0, size, 1_000_000)):
        trace = responses(400, min(1_000_000, size - start), seed=number)
        lists = pa.ListArray.from_arrays(trace.offsets.astype(np.int32), trace.values)
        ids = pa.array([f"{number}-{i}" for i in range(len(lists))])
        rows = pa.table(
            {"benchmark": pa.array(["b"] * len(lists)), "item_id": ids, "entropy": lists}
        )
        writer = writer or pq.ParquetWriter(path, rows.schema)
        writer.write_table(rows, row_group_size=1024)
    assert writer is not None
    writer.close()
    return lambda: profile_file(path, 20)


def judge_responses(size: int) -> Callable[[], object]:
    """Numeric, symbolic and unanswered responses in equal parts."""
    kinds = (
        ("numeric", "17", "so it is 17."),
        ("latex", "x^2-1", r"\boxed{(x-1)(x+1)}"),
        ("numeric", "4", "I cannot tell."),
    )
    items, answers = [], []
    for i in range(size):
        kind, gold, text = kinds[i % 3]
        items.append(Item("b", str(i), "?", gold, answer_type=kind))
        answers.append(
            Response("b", str(i), text, "stop", 9, "", "e", "1", "raw", 20, 0.0, 1.0, 9, 9)
        )
    tables = to_table(items, Item), to_table(answers, Response)
    return lambda: judge_table(*tables, workers=1)


def sweep_of(data: FeatureTable, sizes: tuple[int, ...], most: int) -> Callable[[], object]:
    """At most ``most`` compositions of each size, scaled up to all of them by the caller."""
    configs = [parse(name) for name in ESTIMATORS]
    prepared = prepare(data)
    groups = [c for k in sizes for c in compositions(data.benchmarks, [k])[:: _step(data, k, most)]]
    evaluate(prepared, configs, groups[:1])  # Compiles.
    return lambda: evaluate(prepared, configs, groups)


def sweep_of_models(models: int) -> Callable[[], object]:
    runs = [sweep_of(table(6, 100, seed), (2,), 15) for seed in range(models)]
    return lambda: [run() for run in runs]


def _step(data: FeatureTable, k: int, most: int) -> int:
    return max(1, comb(len(data.benchmarks), k) // most)


STAGES: dict[str, tuple[str, tuple[int, ...], Callable[[int], Callable[[], object]]]] = {
    "profile": ("tokens", (200_000, 2_000_000, 20_000_000), profile_tokens),
    "judge": ("responses", (300, 1_200, 4_800), judge_responses),
    "sweep, items": (
        "responses a benchmark",
        (60, 200, 600, 1_200),
        lambda n: sweep_of(table(6, n), (2,), 15),
    ),
    "sweep, benchmarks": (
        "benchmarks (k = 2, all pairs)",
        (3, 6, 12, 30),
        lambda b: sweep_of(table(b, 100), (2,), 10_000),
    ),
    "sweep, k": (
        "training benchmarks (20 compositions each)",
        (1, 3, 10),
        lambda k: sweep_of(table(20, 100), (k,), 20),
    ),
    "sweep, models": (
        "models (15 compositions each)",
        (1, 3, 10),
        sweep_of_models,
    ),
}


def one(stage: str, size: int) -> dict[str, float]:
    """Measure one point in this process."""
    work = STAGES[stage][2](size)
    start = time.perf_counter()
    work()
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"size": size, "seconds": seconds, "peak_mb": peak}


def measure(stage: str, size: int, repeats: int) -> dict[str, float]:
    """Median seconds and peak memory of ``repeats`` fresh processes."""
    command = [sys.executable, "-m", "tests.perf.bench_scale", "--one", stage, str(size)]
    runs = []
    for _ in range(repeats):
        done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
        runs.append(json.loads(done.stdout.splitlines()[-1]))
    return {
        "size": size,
        "seconds": float(np.median([r["seconds"] for r in runs])),
        "peak_mb": float(np.median([r["peak_mb"] for r in runs])),
    }


def slope(points: list[dict[str, float]]) -> float:
    x, y = (np.log([p[name] for p in points]) for name in ("size", "seconds"))
    return float(np.polyfit(x, y, 1)[0])


def draw(results: dict[str, list[dict[str, float]]], path: Path) -> None:
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter, NullFormatter

    figure = Figure(figsize=(11, 6), layout="constrained")
    for panel, (stage, points) in zip(figure.subplots(2, 3).ravel(), results.items(), strict=False):
        sizes = [p["size"] for p in points]
        panel.loglog(sizes, [p["seconds"] for p in points], "o-", color="#0072B2")
        panel.set_title(f"{stage}: slope {slope(points):.2f}", fontsize=10, loc="left")
        panel.set_xlabel(STAGES[stage][0])
        panel.set_xticks(sizes, [EngFormatter(sep="")(size) for size in sizes])
        panel.yaxis.set_major_formatter("{x:g}")
        for axis in (panel.xaxis, panel.yaxis):
            axis.set_minor_formatter(NullFormatter())
        panel.set_ylabel("seconds", color="#0072B2")
        memory = panel.twinx()
        memory.plot(sizes, [p["peak_mb"] for p in points], "s--", color="#D55E00", markersize=4)
        memory.set_ylim(0, 1.25 * max(p["peak_mb"] for p in points))
        memory.set_ylabel("peak MB", color="#D55E00")
    figure.savefig(path, dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--one", nargs=2, metavar=("STAGE", "SIZE"))
    parser.add_argument("--stages", nargs="*", default=list(STAGES))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--figure", type=Path)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(one(options.one[0], int(options.one[1]))))
        return
    results = {}
    for stage in options.stages:
        unit, sizes, _ = STAGES[stage]
        results[stage] = [measure(stage, size, options.repeats) for size in sizes]
        print(f"{stage}: slope {slope(results[stage]):.2f} over {unit}")
        for p in results[stage]:
            print(f"  {p['size']:>11,} {p['seconds']:9.3f} s {p['peak_mb']:7.0f} MB")
    if options.out:
        options.out.write_text(json.dumps(results, indent=2))
    if options.figure:
        draw(results, options.figure)


if __name__ == "__main__":
    main()
