"""What entropies cost vLLM: tokens/s with none, captured on the device, and from log-probabilities.

``PYTHONPATH=. python tests/perf/bench_capture.py --model DIR --concurrency 400 1000 --out F.json``

All ways run in one engine, in alternating rounds and with the same prompts, so that engine starts
(which differ by 10-40 %) and a machine's drift are shared. Capture is switched on and off between
rounds by a call to the workers; while it is off the sampler is vLLM's own object, unchanged, and no
option that reaches the scheduler or the model runner differs from an engine that knows no capture.
The clock runs from the first request to the last one's numbers in this process, as arrays.

First of all the captured numbers are compared, token by token, with the log-probabilities of the
same requests. Needs vLLM, torch and numpy only, and this repository on the path.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import statistics
import time
from pathlib import Path

os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "2")
os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")

import numpy as np

from tasks.engines.capture.collector import EXTENSION, Collector

K = 20
WAYS = ("none", "device", "flat", "plain")


def params(way: str, max_tokens: int, temperature: float, *, full_length: bool = True):
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    logprobs = way in ("flat", "plain")
    return SamplingParams(
        temperature=temperature,
        max_tokens=max_tokens,
        ignore_eos=full_length,
        detokenize=False,
        logprobs=K if logprobs else None,
        flat_logprobs=way == "flat",
        output_kind=RequestOutputKind.FINAL_ONLY,
    )


def entropies_of_flat(logprobs, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Entropy, chosen log-probability and tail mass, as the engine computes them."""
    flat = np.asarray(logprobs.logprobs, dtype=np.float32).reshape(n, -1)
    top = flat[:, 1:]
    p = np.exp(top)
    terms = np.zeros_like(p)
    np.multiply(p, top, out=terms, where=p > 0)
    return -terms.sum(axis=1), flat[:, 0], np.clip(1 - p.sum(axis=1), 0, 1)


def entropies_of_plain(logprobs) -> np.ndarray:
    top = np.array(
        [
            sorted((entry.logprob for entry in position.values()), reverse=True)[:K]
            for position in logprobs
        ],
        dtype=np.float32,
    )
    return -(np.exp(top) * top).sum(axis=1)


class Bench:
    """One engine, its prompts, and what was measured."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.end = time.monotonic() + options.budget_s
        self.numbers = 0
        self.dice = np.random.default_rng(options.seed)

    def left(self) -> float:
        return self.end - time.monotonic()

    async def load(self) -> None:
        from vllm.engine.arg_utils import AsyncEngineArgs
        from vllm.v1.engine.async_llm import AsyncLLM

        o = self.options
        settings = {
            "model": o.model,
            "max_model_len": o.prompt_tokens + o.max_tokens + 8,
            "max_num_seqs": max(o.concurrency),
            "enable_prefix_caching": False,
            "logprobs_mode": "raw_logprobs",
            "max_logprobs": K,
            "disable_log_stats": True,
            "worker_extension_cls": EXTENSION,
            "seed": o.seed,
        } | json.loads(o.engine_options)
        start = time.monotonic()
        self.engine = AsyncLLM.from_engine_args(AsyncEngineArgs(**settings))
        self.collector = await Collector(self.engine).start(K)
        await self.collector.stop()
        self.settings = settings
        self.load_seconds = time.monotonic() - start
        print(f"engine loaded in {self.load_seconds:.0f} s: {self.collector.facts}", flush=True)

    def prompt(self, length: int) -> list[int]:
        return self.dice.integers(1000, 40_000, length).tolist()

    async def answer(self, way: str, prompt: list[int], sampling):
        """Tokens and, but for ``none``, the entropy of each, as the engine would store them."""
        self.numbers += 1
        name = f"bench/{self.numbers}"
        if way == "device":
            self.collector.expect(name)
        async for output in self.engine.generate({"prompt_token_ids": prompt}, sampling, name):
            final = output.outputs[0]
        n = len(final.token_ids)
        if way == "device":
            return n, await self.collector.take(name, final.token_ids), final
        if way == "flat":
            return n, entropies_of_flat(final.logprobs, n), final
        if way == "plain":
            return n, entropies_of_plain(final.logprobs), final
        return n, None, final

    async def round(self, way: str, prompts: list[list[int]]) -> tuple[int, float]:
        """Tokens and seconds of all prompts at once."""
        o = self.options
        sampling = params(way, o.max_tokens, o.temperature)
        if way == "device":
            await self.collector.start(K)
        start = time.monotonic()
        answers = await asyncio.gather(*(self.answer(way, p, sampling) for p in prompts))
        seconds = time.monotonic() - start
        if way == "device":
            await self.collector.stop()
        return sum(a[0] for a in answers), seconds

    async def compare(self) -> dict:
        """Largest differences between captured and asked-for numbers, of the same requests."""
        o = self.options
        await self.collector.start(K)
        jobs = []
        for i in range(o.compare):
            sampling = params(
                "flat",
                int(self.dice.integers(1, o.max_tokens + 1)),
                (0.0, 0.7, 1.0)[i % 3],
                full_length=bool(i % 2),
            )
            prompt = self.prompt(int(self.dice.integers(2, o.prompt_tokens + 1)))
            jobs.append(self.answer("device", prompt, sampling))
        worst = {"entropy": 0.0, "chosen": 0.0, "tail_mass": 0.0}
        total, below = 0, 0
        for n, values, final in await asyncio.gather(*jobs):
            total += n
            asked = entropies_of_flat(final.logprobs, n)
            below += int((values.full_entropy < values.entropy - 1e-4).sum())
            for name, numbers in zip(worst, asked, strict=True):
                difference = float(np.abs(getattr(values, name) - numbers).max())
                worst[name] = max(worst[name], difference)
        await self.collector.stop()
        worst |= {"requests": o.compare, "tokens": total, "full_below_top_k": below}
        return worst

    async def measure(self, concurrency: int, share_s: float) -> dict:
        """Rounds of every way in turn, until done or ``share_s`` is used up."""
        o = self.options
        stop = time.monotonic() + share_s
        prompts = [self.prompt(o.prompt_tokens) for _ in range(concurrency)]
        rates: dict[str, list[float]] = {way: [] for way in o.ways}
        longest: dict[str, float] = {}
        # Shapes are compiled and buffers grow during the first rounds, which do not count.
        for way in ("none", "device"):
            await self.round(way, prompts)
        for number in range(o.rounds):
            # The order turns, so that no way always follows the slowest.
            ways = o.ways[number % len(o.ways) :] + o.ways[: number % len(o.ways)]
            for way in ways:
                if way == "plain" and number >= o.plain_rounds:
                    continue
                need = longest.get(way, 3 * max(longest.values(), default=0.0))
                if time.monotonic() + need > stop:
                    print(f"  {way}, round {number + 1}: no time left", flush=True)
                    continue
                tokens, seconds = await self.round(way, prompts)
                longest[way] = max(longest.get(way, 0.0), seconds)
                rates[way].append(tokens / seconds)
                print(
                    f"  {concurrency} requests, round {number + 1}, {way}: "
                    f"{tokens / seconds:,.0f} tokens/s",
                    flush=True,
                )
        return summary(rates)


def summary(rates: dict[str, list[float]]) -> dict:
    """Median, extremes and ratio to ``none``; the ratio also round by round."""
    base = statistics.median(rates["none"]) if rates.get("none") else float("nan")
    out = {}
    for way, values in rates.items():
        if values:
            median = statistics.median(values)
            rounds = [v / n for v, n in zip(values, rates.get("none", []), strict=False)]
            out[way] = {
                "median": median,
                "min": min(values),
                "max": max(values),
                "rounds": len(values),
                "ratio": median / base,
                "ratio_by_round": rounds,
                "tokens_per_second": values,
            }
    return out


def facts(bench: Bench) -> dict:
    import torch
    import vllm

    config = bench.engine.vllm_config
    on_gpu = torch.cuda.is_available()
    return {
        "vllm": vllm.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "device": torch.cuda.get_device_name(0) if on_gpu else platform.processor() or "cpu",
        "model": bench.options.model,
        "engine_options": bench.settings,
        "use_v2_model_runner": bool(getattr(config, "use_v2_model_runner", False)),
        "async_scheduling": bool(config.scheduler_config.async_scheduling),
        "cudagraph_mode": str(config.compilation_config.cudagraph_mode),
        "capture": bench.collector.facts,
        "load_seconds": bench.load_seconds,
    }


def report(result: dict) -> None:
    f = result["facts"]
    print(
        f"\n{f['device']}; vllm {f['vllm']}, torch {f['torch']}; model runner "
        f"{f['capture'].get('runner')}, asynchronous scheduling {f['async_scheduling']}, reduction "
        f"by {f['capture'].get('kernel')}\n"
        f"{result['max_tokens']} tokens a request, temperature {result['temperature']}, "
        f"prompts of {result['prompt_tokens']} tokens"
    )
    if result.get("equality"):
        print(f"captured against asked for: {result['equality']}")
    print(f"\n{'requests':>9s}  {'way':8s}{'tokens/s':>10s}{'min':>10s}{'max':>10s}{'of none':>9s}")
    for concurrency, ways in result["throughput"].items():
        for way, row in ways.items():
            print(
                f"{concurrency:>9s}  {way:8s}{row['median']:10,.0f}{row['min']:10,.0f}"
                f"{row['max']:10,.0f}{row['ratio']:9.3f}   median of {row['rounds']}"
            )


async def run(options: argparse.Namespace) -> dict:
    bench = Bench(options)
    await bench.load()
    result = {
        "facts": facts(bench),
        "max_tokens": options.max_tokens,
        "prompt_tokens": options.prompt_tokens,
        "temperature": options.temperature,
        "equality": None,
        "throughput": {},
    }

    def save() -> None:
        if options.out:
            options.out.write_text(json.dumps(result, indent=1))

    try:
        if options.compare:
            result["equality"] = await bench.compare()
            print(f"equality: {result['equality']}", flush=True)
        left = sum(options.concurrency)
        for concurrency in options.concurrency:
            # Time in proportion to the tokens; what one size leaves over goes to the next.
            share = bench.left() * concurrency / left
            left -= concurrency
            result["throughput"][str(concurrency)] = await bench.measure(concurrency, share)
            save()
    finally:
        bench.engine.shutdown()
        save()
        report(result)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, help="folder or hub id")
    parser.add_argument("--concurrency", type=int, nargs="+", default=[400, 1000])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--max-tokens", type=int, default=256)
    parser.add_argument("--prompt-tokens", type=int, default=64)
    parser.add_argument("--temperature", type=float, default=0.5, help="0 is greedy")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--plain-rounds", type=int, default=2, help="of the slowest way")
    parser.add_argument("--compare", type=int, default=96, help="requests of the equality check")
    parser.add_argument("--budget-s", type=float, default=500, help="stop cleanly after this long")
    parser.add_argument("--engine-options", default="{}", help="further vLLM options, as JSON")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="write all numbers here as JSON")
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
