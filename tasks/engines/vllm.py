"""vLLM as an engine: one asynchronous engine in a Ray actor, logprobs reduced where they arise.

Requests of several benchmarks run together by continuous batching. Log-probabilities are *raw*
(before temperature and penalties), asked for flat and never detokenised one candidate at a time;
they become arrays inside the actor, so only a few floats a token cross to the caller.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import psutil

from tasks.conf import Decoding, Model
from tasks.engines.contract import Batch, Prompt, Recorder, TokenTrace, to_generation_table
from tasks.errors import EngineDied, SentinelError
from tasks.records import Finish, Response

LOGPROBS_MODE = "raw_logprobs"

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
    """

    def __init__(self, model: Model, decoding: Decoding, keep_top: bool) -> None:
        self._model = model
        self._decoding = decoding
        self._keep_top = keep_top
        self._ids = itertools.count()

    async def load(self) -> list[int]:
        """Load the weights; returns the ids of the engine's processes, this one first.

        Raises
        ------
        SentinelError
            If the model cannot be loaded: not found, too large, or an option vLLM does not know.
        """
        on_cpu = self._model.resources.gpus == 0
        if on_cpu:
            os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", _CPU_CACHE_GB)
        os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
        # Imported here: it takes many seconds, and only an engine's process needs it.
        import vllm
        from vllm.v1.engine.async_llm import AsyncLLM

        try:
            self._engine = AsyncLLM.from_engine_args(_engine_args(self._model, self._decoding))
        except (OSError, ValueError, TypeError, RuntimeError, NotImplementedError) as error:
            raise SentinelError(
                f"model {self._model.name!r}: vLLM cannot load {self._model.model!r}: "
                f"{_first_line(error)}",
                "check `model`, `revision` and `options` in its YAML, and the memory it needs",
            ) from None
        self._tokenizer: Any = self._engine.get_tokenizer()
        self._params = _sampling_params(self._decoding, seeded=not on_cpu)
        self._recorder = Recorder(
            "vllm",
            vllm.__version__,
            LOGPROBS_MODE,
            self._decoding,
            self._model.price,
        )
        me = psutil.Process()
        return [me.pid, *(child.pid for child in me.children(recursive=True))]

    async def close(self) -> None:
        """Stop the engine's processes and free its memory."""
        self._engine.shutdown()

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
        from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

        start = time.monotonic()
        tokens = self._tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt.text}],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=False,
            **self._model.chat_template,
        )
        request = f"{prompt.benchmark}/{prompt.item_id}/{next(self._ids)}"
        final = None
        try:
            async for output in self._engine.generate(
                {"prompt_token_ids": tokens}, self._params, request
            ):
                final = output
        except (EngineDeadError, EngineGenerateError) as error:
            raise EngineDied(
                f"model {self._model.name!r}: the vLLM engine ended: {_first_line(error)}",
                "rerun; what was stored is kept. If it recurs, lower max_num_seqs or max_tokens",
            ) from None
        except _request_errors() as error:
            refused = self._recorder.response(
                prompt,
                text=None,
                finish=Finish.ERROR,
                n_tokens=0,
                seconds=time.monotonic() - start,
                tokens_in=len(tokens),
                tokens_out=0,
                error=_first_line(error),
            )
            return refused, TokenTrace.empty()
        if final is None:
            raise EngineDied("vLLM ended a request without an answer", "rerun")
        return self._record(prompt, final, len(tokens), time.monotonic() - start)

    def _record(
        self, prompt: Prompt, final: Any, tokens_in: int, seconds: float
    ) -> tuple[Response, TokenTrace]:
        completion = final.outputs[0]
        n = len(completion.token_ids)
        response = self._recorder.response(
            prompt,
            text=self._tokenizer.decode(completion.token_ids, skip_special_tokens=True),
            finish=Finish.LENGTH if completion.finish_reason == "length" else Finish.STOP,
            n_tokens=n,
            seconds=seconds,
            tokens_in=tokens_in,
            tokens_out=n,
        )
        # A position holds the sampled token first and then the k best, among them, as a rule, the
        # sampled token again: the first column is the choice, the others are the candidates.
        flat = np.asarray(completion.logprobs.logprobs, dtype=np.float32).reshape(n, -1)
        return response, TokenTrace.from_logprobs(flat[:, 1:], flat[:, 0], self._keep_top)


def _engine_args(model: Model, decoding: Decoding) -> Any:
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
    return AsyncEngineArgs(model=model.model, **(settings | model.options))


def _sampling_params(decoding: Decoding, *, seeded: bool) -> Any:
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
        logprobs=decoding.top_k,
        flat_logprobs=True,
        output_kind=RequestOutputKind.FINAL_ONLY,
    )


def _request_errors() -> tuple[type[Exception], ...]:
    """What vLLM raises for a request it will not run; older releases know only ValueError."""
    import vllm.exceptions

    return (ValueError, getattr(vllm.exceptions, "VLLMClientError", ValueError))


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
