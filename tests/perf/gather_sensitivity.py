"""Responses of a sensitivity experiment from a machine that has GPUs and little else.

There, every variant is answered and packed (``pack_NN.tar``, at most 15 MB each)::

    PYTHONPATH=/tmp/site:. python3 tests/perf/gather_sensitivity.py conf/sensitivity/stem.yaml \
        --root /tmp/answers --out DIR

Here, the responses are put where ``sentinel sensitivity`` looks for them, and it judges, profiles
and sweeps what it finds::

    python tests/perf/gather_sensitivity.py conf/sensitivity/stem.yaml --adopt DIR/pack_*.tar

Variants that one loaded model can answer are answered side by side: while the last long responses
of one decode, those of the next begin. Packs name responses by variant and benchmark, so machines
may differ in their paths. Needs ray, vLLM, pydantic, pint, pyarrow, numpy, psutil and this
repository.
"""

from __future__ import annotations

import argparse
import io
import os
import tarfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
os.environ.setdefault("DO_NOT_TRACK", "1")

from tasks.benchmarks import load_items
from tasks.cluster.joining import ray_cluster
from tasks.conf import Sensitivity, load_sensitivity
from tasks.engines.pool import EnginePool
from tasks.generation.generate import generate, missing
from tasks.host.workspace import Workspace
from tasks.jobs import Job, jobs_of
from tasks.storage.store import Store

PACK_BYTES = 15_000_000


def jobs(settings: Sensitivity) -> dict[tuple[str, str], Job]:
    """Jobs by variant and benchmark; those that share their responses once."""
    found, keys = {}, set()
    for name, experiment in settings.experiments.items():
        for job in jobs_of(experiment, experiment.models[0]):
            if job.key not in keys:
                keys.add(job.key)
                found[name, job.benchmark.name] = job
    return found


def answer(settings: Sensitivity, store: Store, at_once: int, end: float) -> None:
    wanted = jobs(settings)
    items = {b.name: load_items(b, settings.base.limit) for b in settings.base.benchmarks}
    start, tokens = time.monotonic(), 0

    def one(name: str, job: Job) -> int:
        asked = items[job.benchmark.name]
        if time.monotonic() > end:
            print(f"{name} {job.benchmark.name}: no time left", flush=True)
            return 0
        before = time.monotonic()
        did = generate(job, asked, pool, store)
        now = time.monotonic()
        print(
            f"{now - start:6.0f} s  {name} {job.benchmark.name}: {did.added} responses, "
            f"{did.tokens} tokens in {now - before:.0f} s",
            flush=True,
        )
        return did.tokens

    with ray_cluster():
        for group in settings.by_engine():
            todo = [
                (name, job)
                for (name, benchmark), job in wanted.items()
                if name in group and missing(job, items[benchmark], store)
            ]
            if not todo:
                continue
            first = next(iter(group.values()))
            with EnginePool(first.models[0], first) as pool, ThreadPoolExecutor(at_once) as threads:
                loading = time.monotonic()
                tokens += sum(threads.map(lambda pair: one(*pair), todo))
                print(f"{', '.join(group)}: {time.monotonic() - loading:.0f} s", flush=True)
    seconds = time.monotonic() - start
    print(f"{tokens} tokens in {seconds:.0f} s, {tokens / seconds:,.0f} tokens/s", flush=True)


def pack(settings: Sensitivity, store: Store, out: Path) -> None:
    """Write ``VARIANT/BENCHMARK/part-*.parquet`` of all responses into tar files, base first."""
    out.mkdir(parents=True, exist_ok=True)
    packs: list[dict[str, bytes]] = [{}]
    for (name, benchmark), job in jobs(settings).items():
        for part in job.responses(store).parts():
            content = store.read_bytes(part)
            if sum(map(len, packs[-1].values())) + len(content) > PACK_BYTES:
                packs.append({})
            packs[-1][f"{name}/{benchmark}/{part.rsplit('/', 1)[-1]}"] = content
    for number, parts in enumerate(packs):
        with tarfile.open(out / f"pack_{number:02}.tar", "w") as tar:
            for name, content in parts.items():
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
    total = sum(len(content) for parts in packs for content in parts.values())
    print(f"{len(packs)} packs of {total / 1e6:.1f} MB in {out}", flush=True)


def adopt(settings: Sensitivity, store: Store, packs: list[Path]) -> None:
    wanted = jobs(settings)
    count = 0
    for path in packs:
        with tarfile.open(path) as tar:
            for entry in tar:
                name, benchmark, part = entry.name.split("/")
                content = tar.extractfile(entry)
                folder = wanted[name, benchmark].responses(store).address
                store.write_bytes(f"{folder}/{part}", content.read())
                count += 1
    print(f"{count} parts under {store.root}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("conf", type=Path)
    parser.add_argument("--root", help="where responses are kept; default: SENTINEL_ROOT")
    parser.add_argument("--out", type=Path, help="folder of the packs")
    parser.add_argument("--adopt", type=Path, nargs="+", help="packs to take in")
    parser.add_argument("--at-once", type=int, default=6, help="batches in flight")
    parser.add_argument("--budget-s", type=float, default=420, help="begin no job after this long")
    options = parser.parse_args()
    settings = load_sensitivity(options.conf)
    store = Store(options.root) if options.root else Workspace.from_environment().store
    if options.adopt:
        adopt(settings, store, options.adopt)
        return
    try:
        answer(settings, store, options.at_once, time.monotonic() + options.budget_s)
    finally:
        if options.out:
            pack(settings, store, options.out)


if __name__ == "__main__":
    main()
