"""Inside vLLM's worker process: rows computed around each sampling step, kept until fetched.

vLLM adds :class:`CaptureExtension` to its worker (``worker_extension_cls``), which makes its
methods callable from our process and changes nothing else. ``sentinel_capture_start`` then replaces
the class of the one sampler object by a subclass that also reduces the raw logits; ``_stop`` gives
it its own class back. It runs after the engine's warm-up and outside its CUDA graphs, of which the
sampler is no part in either model runner.

Nothing waits for the device: a step's rows are copied to pinned memory on the stream of the step
itself. vLLM reads the step's tokens after that point of the same stream, so whoever has seen a
token can fetch its row.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from tasks.engines.capture.reduction import Reduce, reduce_rows
from tasks.engines.capture.rows import WIDTH, Parcel, pack

# Rows kept at most (some 40 bytes each): the collector has gone away, or cannot keep up.
_ROWS_KEPT = 1 << 22

# Rows a pinned buffer holds; one is written front to back and released once fetched.
_BUFFER_ROWS = 1 << 13


@dataclass(frozen=True, slots=True)
class Batch:
    """Which requests the rows of a step belong to, in the rows' order.

    ``index`` is the position of the sampled token among its request's output tokens, int32 of
    shape (rows,); -1 where the row samples nothing, its prompt being only partly prefilled.
    """

    requests: Sequence[str]
    index: NDArray[np.int32]


class Runner(Protocol):
    """What differs between vLLM's two model runners."""

    name: str

    def batch(self, arguments: tuple[Any, ...]) -> Batch:
        """Requests of the step, given the sampler's arguments after the logits."""
        ...

    def unchanged(self, logits: torch.Tensor) -> torch.Tensor:
        """The logits, or a copy of them if the sampler may write into them."""
        ...


class RunnerV1:
    """``vllm.v1.worker.gpu_model_runner``: rows are the persistent batch, in its order."""

    name = "V1"

    def __init__(self, runner: Any) -> None:
        self._runner = runner

    def batch(self, arguments: tuple[Any, ...]) -> Batch:
        """From the runner's own state, which stays that of the step until the next one."""
        runner, batch = self._runner, self._runner.input_batch
        n = batch.num_reqs
        # Sequence lengths count tokens computed so far, the prompt's and, after a preemption, those
        # generated before it: the next token's position does not depend on how it was reached.
        length = runner.optimistic_seq_lens_cpu[:n].numpy()
        index = (length - batch.num_prompt_tokens[:n]).astype(np.int32)
        index[runner.discard_request_mask.np[:n]] = -1
        return Batch(batch.req_ids.copy(), index)

    def unchanged(self, logits: torch.Tensor) -> torch.Tensor:
        """The sampler works on a float32 copy, which is no copy of float32 logits."""
        return logits.clone() if logits.dtype == torch.float32 else logits


class RunnerV2:
    """``vllm.v1.worker.gpu.model_runner``: the step's own batch is handed to the sampler."""

    name = "V2"

    def __init__(self, runner: Any) -> None:
        self._states = runner.req_states

    def batch(self, arguments: tuple[Any, ...]) -> Batch:
        """From the step's batch, the sampler's second argument."""
        batch = arguments[0]
        n = batch.num_reqs
        # An upper bound with speculative decoding, which is refused; exact without.
        length = batch.seq_lens_cpu_upper_bound[:n].numpy()
        index = (length - self._states.prompt_len.np[batch.idx_mapping_np]).astype(np.int32)
        index[length < batch.prefill_len_np] = -1
        return Batch(batch.req_ids, index)

    def unchanged(self, logits: torch.Tensor) -> torch.Tensor:
        """The sampler of vLLM 0.26 applies temperature and penalties in place."""
        return logits.clone()


class StepLog:
    """Rows of past steps that nobody has fetched yet; bounded by dropping new ones."""

    def __init__(self, limit: int = _ROWS_KEPT) -> None:
        self._limit = limit
        self._steps: deque[tuple[torch.Tensor, Any, Batch]] = deque()
        self._rows = 0
        self._buffer: torch.Tensor | None = None
        self._used = 0

    def append(self, words: torch.Tensor, batch: Batch) -> None:
        """Keep a step's rows, (rows, WIDTH) int32 on any device, without waiting for them."""
        n = len(words)
        if self._rows + n > self._limit:
            return
        ready = None
        if words.device.type == "cuda":
            host = self._pinned(n)
            host.copy_(words, non_blocking=True)
            ready = torch.cuda.Event()
            ready.record()
            words = host
        self._steps.append((words, ready, batch))
        self._rows += n

    def drain(self) -> Parcel:
        """Hand over, and forget, the steps whose rows have arrived, oldest first."""
        done = []
        while self._steps and (self._steps[0][1] is None or self._steps[0][1].query()):
            words, _, batch = self._steps.popleft()
            self._rows -= len(words)
            done.append((words.numpy(), batch.requests, batch.index))
        return pack(done)

    def _pinned(self, n: int) -> torch.Tensor:
        if self._buffer is None or self._used + n > len(self._buffer):
            rows = max(n, _BUFFER_ROWS)
            self._buffer = torch.empty((rows, WIDTH), dtype=torch.int32, pin_memory=True)
            self._used = 0
        self._used += n
        return self._buffer[self._used - n : self._used]


class Tap:
    """Computes and keeps the rows of each sampling step."""

    def __init__(self, runner: Runner, reduce: Reduce, top_k: int) -> None:
        self._runner, self._reduce, self._top_k = runner, reduce, top_k
        self.log = StepLog()

    def around(self, sample: Any, logits: torch.Tensor, *arguments: Any, **named: Any) -> Any:
        """Run ``sample`` (the sampler's own method) and log the step; returns what it returns."""
        batch = self._runner.batch((*arguments, *named.values()))
        if len(batch.requests) != logits.shape[0]:
            # No step of ours: a dummy run, or several logits a request.
            return sample(logits, *arguments, **named)
        raw = self._runner.unchanged(logits)
        output = sample(logits, *arguments, **named)
        self.log.append(self._reduce(raw, output.sampled_token_ids[:, 0], self._top_k), batch)
        return output


class CaptureExtension:
    """Methods that vLLM's worker gains; names are prefixed, for a clash would stop the worker."""

    model_runner: Any
    vllm_config: Any
    sentinel_capture_tap: Tap | None

    def sentinel_capture_start(self, top_k: int) -> dict[str, str]:
        """Begin to capture; answers what is in use, or under ``refused`` why it cannot be."""
        from vllm.distributed.parallel_state import get_tp_group

        self.sentinel_capture_stop()
        runner = self.model_runner
        refused = _obstacle(runner, self.vllm_config)
        if refused:
            return {"refused": refused}
        if get_tp_group().rank_in_group != 0:
            # Every rank has the gathered logits; the first is the one whose tokens count.
            return {"role": "silent"}
        adapter: Runner = RunnerV2(runner) if _is_v2(runner) else RunnerV1(runner)
        reduce, kernel = best_for(torch.device(runner.device))
        tap = Tap(adapter, reduce, top_k)
        runner.sampler.__class__ = _tapped(type(runner.sampler), tap, adapter.name)
        self.sentinel_capture_tap = tap
        asynchronous = self.vllm_config.scheduler_config.async_scheduling
        return {
            "runner": adapter.name,
            "kernel": kernel,
            "async_scheduling": str(bool(asynchronous)),
            "device": str(runner.device),
        }

    def sentinel_capture_stop(self) -> None:
        """Leave the sampler as vLLM made it; rows not yet fetched are dropped."""
        runner = self.model_runner
        plain = getattr(type(runner.sampler), "sentinel_plain", None)
        if plain is not None:
            runner.sampler.__class__ = plain
        self.sentinel_capture_tap = None

    def sentinel_capture_drain(self) -> Parcel | None:
        """Rows that have arrived since the last call; ``None`` from ranks that capture nothing."""
        tap: Tap | None = getattr(self, "sentinel_capture_tap", None)
        return None if tap is None else tap.log.drain()


def _is_v2(runner: Any) -> bool:
    return hasattr(runner, "req_states")


def _obstacle(runner: Any, config: Any) -> str | None:
    """Why the rows of this worker's sampler could not be told apart, if so."""
    parallel = config.parallel_config
    if config.speculative_config is not None:
        return "speculative decoding"
    if parallel.pipeline_parallel_size > 1:
        return "pipeline parallelism"
    if getattr(parallel, "enable_batch_sharded_sampling", False):
        return "batch-sharded sampling"
    if getattr(runner, "sampler", None) is None:
        return "a model without a sampler"
    wanted = (
        ("req_states.prompt_len.np",)
        if _is_v2(runner)
        else (
            "input_batch.num_prompt_tokens",
            "input_batch.req_ids",
            "optimistic_seq_lens_cpu",
            "discard_request_mask.np",
        )
    )
    for path in wanted:
        found = runner
        for part in path.split("."):
            found = getattr(found, part, None)
        if found is None:
            return f"this vLLM's model runner, which has no {path}"
    return None


def _tapped(plain: type, tap: Tap, runner: str) -> type:
    """Subclass of a sampler's class whose call goes through ``tap``."""
    # V1's sampler is a torch module, called through `forward`; V2's is a plain callable.
    method = "__call__" if runner == "V2" else "forward"
    original = getattr(plain, method)

    def call(self: Any, logits: torch.Tensor, *arguments: Any, **named: Any) -> Any:
        return tap.around(original.__get__(self), logits, *arguments, **named)

    return type(plain.__name__, (plain,), {method: call, "sentinel_plain": plain})


def best_for(device: torch.device) -> tuple[Reduce, str]:
    """The fastest reduction that works on ``device`` and its name; compiles and checks it first.

    The name says why where it is not the fastest there is.
    """
    if device.type != "cuda":
        return reduce_rows, "torch"
    try:
        from tasks.engines.capture import kernel

        reduce = kernel.reduce_rows
        for dtype in (torch.bfloat16, torch.float32):
            _check(reduce, device, dtype)
    except Exception as error:
        # Whatever a compiler or driver raises, the plain way remains.
        return reduce_rows, f"torch, Triton failed: {type(error).__name__}: {error}"[:200]
    return reduce, "triton"


def _check(reduce: Reduce, device: torch.device, dtype: torch.dtype) -> None:
    # A generator of its own: the engine's seed must go on as if nothing had been drawn.
    dice = torch.Generator(device).manual_seed(0)
    logits = (8 * torch.randn((5, 12_295), generator=dice, device=device)).to(dtype)
    logits[1, ::2] = -torch.inf
    tokens = torch.arange(1, 6, device=device)
    found = reduce(logits, tokens, 20)[:, :-1].view(torch.float32)
    expected = reduce_rows(logits, tokens, 20)[:, :-1].view(torch.float32)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
