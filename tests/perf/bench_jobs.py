"""What orchestration costs a job: 200 model x benchmark jobs against an endpoint of fixed latency.

The same jobs are done twice on fresh stores: by the flow, with Prefect and MLflow servers as
``sentinel ui`` starts them, and by a plain loop over the same functions with as many threads. The
difference is what Prefect costs; afterwards the pages are asked for their lists.

usage: python -m tests.perf.bench_jobs [--models 20] [--benchmarks 10] [--out FILE]
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

from tasks.benchmarks.questions import load_questions
from tasks.conf import load_experiment
from tasks.engines.pool import EnginePool
from tasks.generation.generate import generate
from tasks.jobs import jobs_of
from tasks.signals.profile import profile_artefact
from tasks.storage.store import Store
from tasks.verdicts.stored import judge_artefact
from tests.live import sums
from tests.live.site import Site

ITEMS = 10
LATENCY_S = 0.2
THREADS = 4


def conf(site: Site, models: int, benchmarks: int) -> Path:
    """An experiment of so many models and benchmarks, with the smallest possible sweep."""
    site.experiment(ITEMS)
    names = [f"m{i:02}" for i in range(models)]
    for name in names:
        site.write(f"conf/models/{name}.yaml", sums.model(name, site.endpoint))
    made = sums.benchmarks(ITEMS, **{f"b{i:02}": 2 for i in range(benchmarks)})
    for number, (name, document) in enumerate(made.items()):
        document["source"]["seed"] = number
        site.write(f"conf/benchmarks/{name}.yaml", document)
    sweep = {"sizes": [1], "estimators": ["constant"], "transfer": []}
    return site.folder / site.experiment(
        ITEMS, name="jobs", models=names, benchmarks=list(made), sweep=sweep
    )


def plain(path: Path, root: str) -> float:
    """Seconds for all jobs without Prefect."""
    settings = load_experiment(path)
    items, store = load_questions(settings).items, Store(root)
    start = time.monotonic()
    for model in settings.models:
        with EnginePool(model, settings) as pool, ThreadPoolExecutor(THREADS) as threads:

            def whole(job) -> None:
                generate(job, items[job.benchmark.name], pool, store)
                judge_artefact(job, items[job.benchmark.name], store)
                profile_artefact(job, store)

            list(threads.map(whole, jobs_of(settings, model)))
    return time.monotonic() - start


def flow(site: Site, path: Path) -> tuple[float, float]:
    """Seconds from the first task to the last profile, and of the whole command."""
    start = time.monotonic()
    site.sentinel("run", path.relative_to(site.folder).as_posix(), timeout=3600)
    whole = time.monotonic() - start
    stamps = []
    for offset in range(0, 10_000, 200):
        page = site.api("/task_runs/filter", {"limit": 200, "offset": offset})
        stamps += [
            datetime.fromisoformat(t[when])
            for t in page
            if t["name"].split(" ")[0] in ("generate", "judge", "profile")
            for when in ("start_time", "end_time")
        ]
        if len(page) < 200:
            break
    return (max(stamps) - min(stamps)).total_seconds(), whole


def answers(site: Site) -> dict[str, float]:
    """Median seconds of five requests to what the pages show first."""
    asked = {
        "prefect runs": (f"{site.prefect}/api/flow_runs/filter", {}),
        "prefect tasks of the run": (f"{site.prefect}/api/task_runs/filter", {"limit": 200}),
        "prefect page": (f"{site.prefect}/runs", None),
        "mlflow runs": (
            f"{site.mlflow}/api/2.0/mlflow/runs/search",
            {"experiment_ids": ["1"], "max_results": 100},
        ),
        "mlflow page": (f"{site.mlflow}/", None),
    }
    found = {}
    for name, (url, body) in asked.items():
        taken = []
        for _ in range(5):
            start = time.monotonic()
            request = urllib.request.Request(
                url,
                None if body is None else json.dumps(body).encode(),
                {"Content-Type": "application/json"},
            )
            with urllib.request.urlopen(request, timeout=60) as answer:
                answer.read()
            taken.append(time.monotonic() - start)
        found[name] = round(statistics.median(taken), 3)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=int, default=20)
    parser.add_argument("--benchmarks", type=int, default=10)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    jobs = options.models * options.benchmarks
    server = sums.adding(latency_s=LATENCY_S)
    with tempfile.TemporaryDirectory() as scratch:
        site = Site(Path(scratch), server.url)
        path = conf(site, options.models, options.benchmarks)
        alone = plain(path, f"{scratch}/plain")
        with site.pages():
            steps, whole = flow(site, path)
            again_start = time.monotonic()
            site.sentinel("run", path.relative_to(site.folder).as_posix(), timeout=3600)
            again = time.monotonic() - again_start
            pages = answers(site)
    server.close()
    found = {
        "jobs": jobs,
        "task runs": 3 * jobs,
        "items a job": ITEMS,
        "latency of a request, s": LATENCY_S,
        "plain loop, s": round(alone, 1),
        "flow, first task to last, s": round(steps, 1),
        "overhead a job, s": round((steps - alone) / jobs, 3),
        "whole command, s": round(whole, 1),
        "second run, nothing missing, s": round(again, 1),
        "pages answer in, s": pages,
    }
    print(json.dumps(found, indent=2))
    if options.out:
        options.out.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
