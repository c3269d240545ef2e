"""The V2 model runner, vLLM's default on GPUs, on the CPU: its Triton kernels interpreted.

The CPU build refuses V2 for want of a Triton that compiles for the CPU. Triton's interpreter runs
the same kernels, a thousand times slower, once vLLM is told that there is such a Triton.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

_PRETEND = """
import triton.backends

class Driver:
    is_active = staticmethod(lambda: True)

class Backend:
    driver, compiler = Driver, None

triton.backends.backends["cpu"] = Backend
"""

# Five requests for four places; ten blocks of 32 tokens, of which four requests come to need
# twelve; prompts of one and of several prefill chunks; greedy and sampled.
_RUN = """
import asyncio, json, sys
import numpy as np

async def main():
    from vllm import SamplingParams
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.sampling_params import RequestOutputKind
    from vllm.v1.engine.async_llm import AsyncLLM
    from vllm.v1.metrics.reader import get_metrics_snapshot
    from entropy.trace import reduce_topk
    from tasks.engines.capture.collector import EXTENSION, Collector

    engine = AsyncLLM.from_engine_args(AsyncEngineArgs(
        model=sys.argv[1], max_model_len=256, enforce_eager=True, dtype="bfloat16",
        max_num_seqs=4, max_num_batched_tokens=64, num_gpu_blocks_override=10, block_size=32,
        worker_extension_cls=EXTENSION, max_logprobs=20, disable_log_stats=False))
    collector = await Collector(engine).start(20)
    dice = np.random.default_rng(0)

    async def one(i):
        params = SamplingParams(
            temperature=0.7 * (i % 2), max_tokens=(10, 3, 12, 11, 9)[i], logprobs=20,
            flat_logprobs=True, detokenize=False, ignore_eos=True,
            output_kind=RequestOutputKind.FINAL_ONLY)
        prompt = dice.integers(100, 40_000, (58, 70, 60, 57, 61)[i]).tolist()
        collector.expect(f"v2/{i}")
        async for output in engine.generate({"prompt_token_ids": prompt}, params, f"v2/{i}"):
            final = output.outputs[0]
        values = await collector.take(f"v2/{i}", final.token_ids)
        n = len(final.token_ids)
        flat = np.asarray(final.logprobs.logprobs, dtype=np.float32).reshape(n, -1)
        top = reduce_topk(flat[:, 1:])
        pairs = ((values.entropy, top.entropy), (values.chosen, flat[:, 0]),
                 (values.tail_mass, top.tail_mass), (values.top1, flat[:, 1:].max(1)))
        return [n, max(float(np.abs(a - b).max()) for a, b in pairs)]

    found = await asyncio.gather(*(one(i) for i in range(5)))
    preempted = sum(m.value for m in get_metrics_snapshot() if m.name == "vllm:num_preemptions")
    print("FOUND", json.dumps(
        {"facts": collector.facts, "requests": found, "preemptions": preempted}), flush=True)
    engine.shutdown()

if __name__ == "__main__":
    asyncio.run(main())
"""


def test_v2_rows_are_those_of_the_log_probabilities(model_folder: str, tmp_path: Path):
    pytest.importorskip("triton", reason="Triton is not installed; the V2 runner needs it")
    (tmp_path / "sitecustomize.py").write_text(_PRETEND)
    (tmp_path / "run.py").write_text(_RUN)
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, str(tmp_path / "run.py"), model_folder],
        env={
            **os.environ,
            "PYTHONPATH": f"{tmp_path}:{root}",
            "TRITON_INTERPRET": "1",
            "VLLM_USE_V2_MODEL_RUNNER": "1",
            "VLLM_CPU_KVCACHE_SPACE": "1",
            "VLLM_NO_USAGE_STATS": "1",
        },
        cwd=root,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("FOUND")]
    assert lines, (done.stdout + done.stderr)[-3000:]
    found = json.loads(lines[0].removeprefix("FOUND"))
    print(found)
    assert found["facts"]["runner"] == "V2"
    assert found["preemptions"] > 0, "the cache was large enough: the test shows too little"
    assert [n for n, _ in found["requests"]] == [10, 3, 12, 11, 9]
    assert max(difference for _, difference in found["requests"]) < 1e-4
