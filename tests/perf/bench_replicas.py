"""Two GPUs against one: the jobs of one model over two replicas, and a tensor-parallel engine.

``PYTHONPATH=. python tests/perf/bench_replicas.py --model DIR --out F.json``

Throughput: a pool of two engines under Ray answers the same batches, in alternating rounds, one at
a time (the first engine alone, the second loaded and idle) and two at a time. Only the number of
batches in flight differs, which is what a job sets.

Traces: the same greedy prompts through one GPU, the same GPU in another order (what batching alone
changes) and a tensor-parallel engine over both. Token ids are not in the table, so numbers are
compared over responses of equal text, and the share of those is told. In float32 where the model
loads in it, for bfloat16 rounds so coarsely that greedy answers part ways by themselves.

Needs this repository with what its engine pool imports: ray, vLLM, pydantic, yaml, numpy, pyarrow,
psutil, openai. On a machine without GPUs: ``--gpus 0 --tensor-parallel 1`` and small sizes.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
os.environ.setdefault("DO_NOT_TRACK", "1")

import numpy as np

from tasks.cluster.joining import ray_cluster
from tasks.conf import Benchmark, Decoding, Experiment, File, Model, Resources
from tasks.engines.contract import Prompt
from tasks.engines.pool import EnginePool
from tasks.errors import SentinelError


def experiment(model: Model, decoding: Decoding) -> Experiment:
    """What a pool needs to know; the benchmarks are only there because it has two."""
    nothing = [Benchmark(n, 1, File("nowhere.jsonl")) for n in ("left", "right")]
    return Experiment("bench", (model,), tuple(nothing), decoding=decoding, sweep={"sizes": (1,)})


def questions(n: int, salt: int) -> list[Prompt]:
    dice = np.random.default_rng(salt)
    numbers = dice.integers(2, 10_000, size=(n, 3)).tolist()
    return [
        Prompt("bench", f"{salt}-{i}", f"Explain step by step how to compute {a} * {b} + {c}.")
        for i, (a, b, c) in enumerate(numbers)
    ]


def answer(pool: EnginePool, batches: list[list[Prompt]], in_flight: int) -> tuple[int, float]:
    """Tokens and seconds of all batches, ``in_flight`` of them at a time."""
    start = time.monotonic()
    with ThreadPoolExecutor(in_flight) as threads:
        done = list(threads.map(pool.generate, batches))
    seconds = time.monotonic() - start
    tokens = 0
    for batch in done:
        if batch.problem is not None:
            raise batch.problem
        tokens += sum(batch.table["n_tokens"].to_pylist())
    return tokens, seconds


def model_of(options: argparse.Namespace, resources: Resources, **engine) -> Model:
    return Model(
        "bench",
        "vllm",
        options.model,
        capture=options.capture,
        resources=resources,
        options={"max_model_len": options.max_tokens + 256, "max_num_seqs": options.batch}
        | json.loads(options.engine_options)
        | engine,
    )


def throughput(options: argparse.Namespace, left) -> dict:
    share = Resources(gpus=1 if options.gpus else 0, cpus=1, replicas=2)
    model = model_of(options, share)
    decoding = Decoding(temperature=0.5, max_tokens=options.max_tokens)
    rates: dict[str, list[float]] = {"one": [], "two": []}
    with EnginePool(model, experiment(model, decoding)) as pool:
        start = time.monotonic()
        warm = [questions(options.batch, 1000 + i) for i in range(2)]
        answer(pool, warm, 2)
        answer(pool, warm[:1], 1)
        loading = time.monotonic() - start
        print(f"two engines loaded and warm in {loading:.0f} s", flush=True)
        slowest = 0.0
        for number in range(options.rounds):
            batches = [questions(options.batch, 10 * number + i) for i in range(options.batches)]
            ways = [("one", 1), ("two", 2)]
            for way, in_flight in ways if number % 2 == 0 else ways[::-1]:
                if left() < 1.5 * slowest:
                    print(f"  round {number + 1}, {way}: no time left", flush=True)
                    continue
                tokens, seconds = answer(pool, batches, in_flight)
                slowest = max(slowest, seconds)
                rates[way].append(tokens / seconds)
                print(
                    f"  round {number + 1}, {way}: {tokens} tokens, {rates[way][-1]:,.0f} tokens/s",
                    flush=True,
                )
    medians = {way: statistics.median(r) for way, r in rates.items() if r}
    return {
        "tokens_per_second": rates,
        "median": medians,
        "ratio": medians["two"] / medians["one"] if len(medians) == 2 else None,
        "ratio_by_round": [b / a for a, b in zip(rates["one"], rates["two"], strict=False)],
        "loading_seconds": loading,
    }


def traces(model: Model, prompts: list[Prompt], orders: int) -> tuple[list[dict], str]:
    """Rows by item of ``orders`` runs of one engine, each in another order, and its version."""
    decoding = Decoding(temperature=0, max_tokens=96)
    runs = []
    with EnginePool(model, experiment(model, decoding)) as pool:
        for order in range(orders):
            mixed = [prompts[i] for i in np.random.default_rng(order).permutation(len(prompts))]
            table = pool.generate(mixed).table
            runs.append({row["item_id"]: row for row in table.to_pylist()})
    return runs, table["engine_version"][0].as_py()


def difference(a: dict, b: dict) -> dict:
    """Largest and median differences over responses of equal text."""
    same = [i for i in a if a[i]["text"] == b[i]["text"] and a[i]["n_tokens"] == b[i]["n_tokens"]]
    out: dict = {"responses": len(a), "of_equal_text": len(same)}
    for name in ("entropy", "chosen_logprob", "tail_mass", "full_entropy"):
        pairs = [(a[i][name], b[i][name]) for i in same if a[i][name] is not None]
        if pairs:
            gap = np.abs(np.concatenate([np.subtract(x, y) for x, y in pairs]))
            out[name] = {"max": float(gap.max()), "median": float(np.median(gap))}
    return out


def parallel(options: argparse.Namespace) -> dict:
    n = options.tensor_parallel
    prompts = questions(options.compare, 99)
    one = Resources(gpus=1 if options.gpus else 0, cpus=1)
    both = replace(one, gpus=n if options.gpus else 0, tensor_parallel=n)
    problem = None
    for dtype in options.dtypes:
        try:
            eager = {"dtype": dtype, "enforce_eager": True}
            (first, second), version = traces(model_of(options, one, **eager), prompts, 2)
            print(f"one GPU, {dtype}: answered by {version}", flush=True)
            own = {"distributed_executor_backend": "mp"} if n > 1 else {}
            (sharded,), sharded_version = traces(
                model_of(options, both, **eager, **own), prompts, 1
            )
        except SentinelError as error:
            problem = str(error)
            print(f"{dtype}: {problem}", flush=True)
            continue
        return {
            "dtype": dtype,
            "tensor_parallel": n,
            "engine_versions": [version, sharded_version],
            "reordered": difference(first, second),
            "sharded": difference(first, sharded),
        }
    return {"problem": problem}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--gpus", type=int, default=2, help="0 runs the same on the CPU")
    parser.add_argument("--tensor-parallel", type=int, default=2)
    parser.add_argument("--batch", type=int, default=400, help="prompts in flight on one engine")
    parser.add_argument("--batches", type=int, default=4, help="of a round; an even number")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--max-tokens", type=int, default=256)
    parser.add_argument("--compare", type=int, default=64, help="prompts of the trace comparison")
    parser.add_argument(
        "--dtypes", nargs="+", default=["float32", "bfloat16"], help="tried in turn"
    )
    parser.add_argument("--capture", default="auto", choices=("auto", "device", "logprobs"))
    parser.add_argument("--skip", nargs="*", default=[], choices=("throughput", "parallel"))
    parser.add_argument("--engine-options", default="{}", help="further vLLM options, as JSON")
    parser.add_argument("--budget-s", type=float, default=540, help="stop cleanly after this long")
    parser.add_argument("--parallel-s", type=float, default=200, help="of it, for the traces")
    parser.add_argument("--out", type=Path, help="write all numbers here as JSON")
    options = parser.parse_args()
    end = time.monotonic() + options.budget_s
    keep = 0 if "parallel" in options.skip else options.parallel_s
    result: dict = {"options": {k: str(v) for k, v in vars(options).items()}}

    def save() -> None:
        if options.out:
            options.out.write_text(json.dumps(result, indent=1))

    try:
        with ray_cluster():
            if "throughput" not in options.skip:
                result["throughput"] = throughput(options, lambda: end - keep - time.monotonic())
                save()
            if "parallel" not in options.skip:
                result["parallel"] = parallel(options)
    finally:
        save()
        shown = {k: v for k, v in result.items() if k != "options"}
        print(json.dumps(shown, indent=1), flush=True)


if __name__ == "__main__":
    main()
