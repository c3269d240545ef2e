"""Profiling against the loop one would write, and against copying the same bytes.

``python -m tests.perf.bench_profile --out profile.json``

The loop takes one response after the other and computes each of the eleven statistics by its NumPy
function. All three go over the same float32 values in turn, so that they meet the same load; the
ratio is taken round by round. Copying is the least any code could do that reads and keeps each
value; it is the distance to memory bandwidth.
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

# ruff: noqa: E402 - BLAS reads these when numpy is first imported.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"
sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np
from numpy.typing import NDArray

from entropy.profile import profile
from entropy.trace import Ragged

LENGTHS = (32, 128, 512, 2048)


def responses(mean_length: int, tokens: int, seed: int = 0) -> Ragged:
    """Entropies that fall off like real ones, in responses of geometric length."""
    rng = np.random.default_rng(seed)
    lengths = rng.geometric(1 / mean_length, size=tokens // mean_length)
    offsets = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
    values = rng.exponential(0.4, size=offsets[-1]).clip(0, 3).astype(np.float32)
    return Ragged(values, offsets)


def loop(trace: Ragged) -> NDArray[np.float64]:
    rows = []
    for start, stop in zip(trace.offsets[:-1], trace.offsets[1:], strict=True):
        x = trace.values[start:stop].astype(np.float64)
        mean, std = x.mean(), x.std(ddof=1) if len(x) > 1 else 0.0
        quantiles = [np.quantile(x, q) for q in (0.1, 0.25, 0.5, 0.75, 0.9)]
        skewness = ((x - mean) ** 3).mean() / (std**3 + 1e-8)
        kurtosis = ((x - mean) ** 4).mean() / (std**4 + 1e-8)
        rows.append([mean, std, x.max(), *quantiles, skewness, kurtosis, x.sum()])
    return np.array(rows)


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def measure(mean_length: int, tokens: int, rounds: int) -> dict[str, float]:
    trace = responses(mean_length, tokens)
    # The loop is slow: it gets a tenth of the responses, and rates are compared.
    few = len(trace.offsets) // 10
    part = Ragged(trace.values[: trace.offsets[few]], trace.offsets[: few + 1])
    np.testing.assert_allclose(profile(part), loop(part), rtol=1e-9, atol=1e-9)
    rates: dict[str, list[float]] = {"profile": [], "loop": [], "copy": []}
    for _ in range(rounds):
        rates["profile"].append(len(trace.values) / seconds(lambda: profile(trace)))
        rates["loop"].append(len(part.values) / seconds(lambda: loop(part)))
        rates["copy"].append(len(trace.values) / seconds(trace.values.copy))
    ours = rates["profile"]
    against_loop = [a / b for a, b in zip(ours, rates["loop"], strict=True)]
    against_copy = [a / b for a, b in zip(ours, rates["copy"], strict=True)]
    return {
        "tokens_a_response": mean_length,
        "million_tokens_a_second": statistics.median(ours) / 1e6,
        "times_the_loop": statistics.median(against_loop),
        "times_the_loop_min": min(against_loop),
        "times_the_loop_max": max(against_loop),
        "share_of_copy": statistics.median(against_copy),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=4_000_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    rows = [measure(length, options.tokens, options.rounds) for length in LENGTHS]
    print("tokens/response  M tokens/s  x loop (min-max)    share of a copy's rate")
    for r in rows:
        spread = f"({r['times_the_loop_min']:.0f}-{r['times_the_loop_max']:.0f})"
        print(
            f"{r['tokens_a_response']:15.0f} {r['million_tokens_a_second']:11.1f} "
            f"{r['times_the_loop']:7.0f} {spread:11} {r['share_of_copy']:15.3f}"
        )
    if options.out:
        options.out.write_text(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
