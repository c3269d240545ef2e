"""vLLM as an engine: one asynchronous engine in a Ray actor, logprobs reduced where they arise.

Requests of several benchmarks run together by continuous batching. Log-probabilities are *raw*
(before temperature and penalties). Where it can, the engine reduces them beside vLLM's sampler
(:mod:`tasks.engines.capture`), at nearly full decoding speed; elsewhere it asks for them flat,
never detokenised one candidate at a time. Either way only a few floats a token cross to the caller.
"""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import logging
import os
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tasks.conf import Decoding, Model
from tasks.engines import causes
from tasks.engines.capture.collector import EXTENSION, CaptureRefused, Collector, Gap
from tasks.engines.contract import Batch, Prompt, Recorder, TokenTrace, to_generation_table
from tasks.engines.processes import Processes
from tasks.errors import EngineDied, SentinelError
from tasks.records import Finish, Response
from tasks.storage.versions import check_code

LOGPROBS_MODE = "raw_logprobs"

#: Follows the engine's version in responses whose numbers were computed on the device.
DEVICE_CAPTURE = " device-capture"

_log = logging.getLogger(__name__)

# Memory for the attention cache of the CPU build, in GB; its own default takes half the machine.
_CPU_CACHE_GB = "2"


class VllmEngine:
    """One loaded model. Made inside a Ray actor; :meth:`generate` calls may overlap.

    Parameters
    ----------
    model : Model
        What to load; ``resources`` were already granted by Ray.
    decoding : Decoding
        Sampling settings, the same for all prompts.
    keep_top : bool
        Whether to return the top-k log-probabilities with each trace.
    code : str, optional
        :func:`tasks.storage.versions.code_version` of the driver, which this node's has to equal.
    """

    def __init__(
        self, model: Model, decoding: Decoding, keep_top: bool, code: str | None = None
    ) -> None:
        self._model, self._code = model, code
        self._decoding = decoding
        self._keep_top = keep_top
        self._ids = itertools.count()
        self._capture: Collector | None = None
        self._notice: str | None = None

    async def load(self) -> Processes:
        """Load the weights; returns the engine's processes, this one first.

        Raises
        ------
        SentinelError
            If the model cannot be loaded: not found, too large, or an option vLLM does not know; if
            the conf insists on device capture and it cannot be used; or if this node lacks vLLM,
            the model's folder or the driver's version of this package.
        """
        self._check_node()
        obstacle = _obstacle_to_capture(self._model, self._keep_top)
        if obstacle and self._model.capture == "device":
            raise self._cannot_capture(obstacle)
        on_cpu = self._model.resources.gpus == 0
        if on_cpu:
            os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", _CPU_CACHE_GB)
        os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
        # Imported here: it takes many seconds, and only an engine's process needs it.
        try:
            import vllm
            from vllm.v1.engine.async_llm import AsyncLLM
        except ImportError as error:
            raise SentinelError(
                f"model {self._model.name!r}: node {socket.gethostname()} cannot import vLLM: "
                f"{causes.said(error)}",
                "install it there, or name nodes that have it in `resources.labels` of its YAML",
            ) from None

        output = causes.Output()
        try:
            self._engine = AsyncLLM.from_engine_args(
                _engine_args(self._model, self._decoding, capture=obstacle is None)
            )
        except (OSError, ValueError, TypeError, RuntimeError, NotImplementedError) as error:
            cause = output.cause() or causes.said(error)
            raise SentinelError(
                f"model {self._model.name!r}: vLLM cannot load {self._model.model!r}: {cause}",
                causes.MEMORY_REMEDY
                if causes.of_memory(cause)
                else "check `model`, `revision` and `options` in its YAML, and the memory it needs",
            ) from None
        self._tokenizer: Any = self._engine.get_tokenizer()
        self._seeded = not on_cpu
        await self._start_capture(obstacle)
        self._recorder = Recorder(
            "vllm",
            vllm.__version__,
            LOGPROBS_MODE,
            self._decoding,
            self._model.price,
        )
        self._output = causes.Output()
        return Processes.mine()

    def _check_node(self) -> None:
        if self._code is not None:
            check_code(self._code)
        folder = Path(self._model.model)
        if folder.is_absolute() and not folder.is_dir():
            raise SentinelError(
                f"model {self._model.name!r}: node {socket.gethostname()} has no folder {folder}",
                "put it at the same path on every node, or give `model` a hub id",
            )

    async def _start_capture(self, obstacle: str | None) -> None:
        if obstacle is None:
            collector = Collector(self._engine)
            try:
                self._capture = await collector.start(self._decoding.top_k)
                return
            except CaptureRefused as refused:
                obstacle = str(refused)
        if self._model.capture == "device":
            self._engine.shutdown()
            raise self._cannot_capture(obstacle)
        if self._model.capture == "auto":
            self._notice = (
                f"model {self._model.name!r}: entropies come from flat log-probabilities, which "
                f"is slower, not from the device: {obstacle}"
            )
            _log.warning(self._notice)

    async def notice(self) -> str | None:
        """What the user should know about the loaded engine, which may live in another process."""
        return self._notice

    def _cannot_capture(self, obstacle: str) -> SentinelError:
        return SentinelError(
            f"model {self._model.name!r}: entropies cannot be captured on the device: {obstacle}",
            "set `capture: auto` in its YAML to fall back to log-probabilities",
        )

    async def close(self) -> None:
        """Stop the engine's processes and free its memory.

        At once: they keep nothing, and take the five seconds of grace that vLLM gives them to no
        purpose.
        """
        self._engine.shutdown(timeout=0)

    async def generate(self, prompts: Sequence[Prompt]) -> Batch:
        """Answer ``prompts`` concurrently with whatever else is in flight.

        A prompt that vLLM refuses (longer than the context) is answered by a response with
        ``finish == "error"``; it would be refused again, so it counts as done.

        Raises
        ------
        EngineDied
            If the engine's own process has ended; none of the batch is returned.
        """
        pairs = await asyncio.gather(*(self._one(p) for p in prompts))
        return Batch(to_generation_table([r for r, _ in pairs], [t for _, t in pairs]))

    async def _one(self, prompt: Prompt) -> tuple[Response, TokenTrace]:
        start = time.monotonic()
        tokens = self._tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt.text}],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=False,
            **self._model.chat_template,
        )
        request = f"{prompt.benchmark}/{prompt.item_id}/{next(self._ids)}"
        decoding = prompt.decoding or self._decoding
        if decoding.top_k != self._decoding.top_k:
            raise ValueError(f"the engine was loaded for top_k {self._decoding.top_k}")
        recorder, trace = self._recorder, None
        try:
            if self._capture is not None:
                bare = _sampling_params(decoding, seeded=self._seeded, logprobs=False)
                completion, trace = await self._captured(self._capture, tokens, bare, request)
            if trace is not None:
                recorder = dataclasses.replace(
                    recorder, engine_version=recorder.engine_version + DEVICE_CAPTURE
                )
            else:
                params = _sampling_params(decoding, seeded=self._seeded)
                completion = await self._complete(tokens, params, f"{request}/logprobs")
                trace = self._flat_trace(completion)
        except _request_errors() as error:
            refused = recorder.response(
                prompt,
                text=None,
                finish=Finish.ERROR,
                n_tokens=0,
                seconds=time.monotonic() - start,
                tokens_in=len(tokens),
                tokens_out=0,
                error=causes.said(error),
            )
            return refused, TokenTrace.empty()
        n = len(completion.token_ids)
        response = recorder.response(
            prompt,
            text=self._tokenizer.decode(completion.token_ids, skip_special_tokens=True),
            finish=Finish.LENGTH if completion.finish_reason == "length" else Finish.STOP,
            n_tokens=n,
            seconds=time.monotonic() - start,
            tokens_in=len(tokens),
            tokens_out=n,
        )
        return response, trace

    async def _complete(self, tokens: list[int], params: Any, request: str) -> Any:
        """The one completion of a prompt; :class:`EngineDied` if vLLM's process has ended."""
        from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

        final = None
        try:
            async for output in self._engine.generate(
                {"prompt_token_ids": tokens}, params, request
            ):
                final = output
        except (EngineDeadError, EngineGenerateError):
            raise self._died() from None
        if final is None:
            raise EngineDied("vLLM ended a request without an answer", "rerun")
        return final.outputs[0]

    async def _captured(
        self, capture: Collector, tokens: list[int], params: Any, request: str
    ) -> tuple[Any, TokenTrace | None]:
        """A completion with the numbers captured for it, or none if they do not fit its tokens."""
        from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

        capture.expect(request)
        try:
            completion = await self._complete(tokens, params, request)
            values = await capture.take(request, completion.token_ids)
        except Gap as gap:
            _log.warning("request %s is answered again, with log-probabilities: %s", request, gap)
            return None, None
        except (EngineDeadError, EngineGenerateError):
            raise self._died() from None
        finally:
            capture.forget(request)
        # A sampled token's own log-probability may round to a hair above 0.
        return completion, TokenTrace(
            values.entropy,
            np.minimum(values.chosen, 0),
            values.tail_mass,
            full_entropy=values.full_entropy,
        )

    def _flat_trace(self, completion: Any) -> TokenTrace:
        # A position holds the sampled token first and then the k best, among them, as a rule, the
        # sampled token again: the first column is the choice, the others are the candidates.
        n = len(completion.token_ids)
        flat = np.asarray(completion.logprobs.logprobs, dtype=np.float32).reshape(n, -1)
        return TokenTrace.from_logprobs(flat[:, 1:], flat[:, 0], self._keep_top)

    def _died(self) -> EngineDied:
        cause = self._output.cause()
        return EngineDied(
            f"model {self._model.name!r}: the vLLM engine ended: "
            f"{cause or 'its process is gone and wrote no error, as if it was killed'}",
            f"rerun; what was stored is kept. If it recurs, {causes.MEMORY_REMEDY}"
            if cause and causes.of_memory(cause)
            else "rerun; what was stored is kept. If it recurs, lower max_num_seqs or max_tokens",
        )


def _obstacle_to_capture(model: Model, keep_top: bool) -> str | None:
    """Why entropies cannot be captured on the device, as far as the conf tells."""
    if model.capture == "logprobs":
        return "the conf asks for log-probabilities"
    if keep_top:
        return "the experiment keeps the top log-probabilities, which stay on the device"
    if model.options.get("logprobs_mode", LOGPROBS_MODE) != LOGPROBS_MODE:
        return "`logprobs_mode` is not raw_logprobs"
    for option in ("worker_extension_cls", "speculative_config"):
        if model.options.get(option):
            return f"the option `{option}` is set"
    for option in ("pipeline_parallel_size", "data_parallel_size"):
        if model.options.get(option, 1) > 1:
            return f"the option `{option}` is above 1"
    return None


def _engine_args(model: Model, decoding: Decoding, *, capture: bool) -> Any:
    from vllm.engine.arg_utils import AsyncEngineArgs

    settings: dict[str, Any] = {
        "revision": model.revision,
        "seed": decoding.seed,
        "tensor_parallel_size": model.resources.tensor_parallel,
        "logprobs_mode": LOGPROBS_MODE,
        "max_logprobs": max(20, decoding.top_k),
        "disable_log_stats": True,
        "enable_log_requests": False,
    }
    if capture:
        settings["worker_extension_cls"] = EXTENSION
    return AsyncEngineArgs(model=model.model, **(settings | model.options))


def _sampling_params(decoding: Decoding, *, seeded: bool, logprobs: bool = True) -> Any:
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    # The CPU build dies on a seed of a sampled request whose prompt is prefilled in chunks ("CPU
    # Generator does not use offset"); there the engine's own seed has to do.
    return SamplingParams(
        temperature=decoding.temperature,
        top_p=decoding.top_p,
        max_tokens=decoding.max_tokens,
        seed=decoding.seed if seeded and decoding.temperature > 0 else None,
        stop=list(decoding.stop) or None,
        detokenize=bool(decoding.stop),
        logprobs=decoding.top_k if logprobs else None,
        flat_logprobs=logprobs,
        output_kind=RequestOutputKind.FINAL_ONLY,
    )


def _request_errors() -> tuple[type[Exception], ...]:
    """What vLLM raises for a request it will not run; older releases know only ValueError."""
    import vllm.exceptions

    return (ValueError, getattr(vllm.exceptions, "VLLMClientError", ValueError))
