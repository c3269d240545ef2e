"""Any OpenAI-compatible chat endpoint as an engine: hosted APIs, ``vllm serve``, gateways.

:mod:`tasks.endpoint` asks, paces and retries. A request the server calls bad is an answer of its
own (asking again would not help); anything else leaves the item unanswered and names the problem,
so that a rerun asks only for what is missing.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, TypeGuard

import openai
from pydantic import BaseModel

from entropy.chat import candidates
from entropy.trace import TraceError
from tasks.conf import Decoding, Endpoint, Model
from tasks.endpoint import Ask, Chat, Refused, summary
from tasks.engines.contract import Batch, Prompt, Recorder, TokenTrace, to_generation_table
from tasks.errors import EndpointError, SentinelError
from tasks.records import Finish, Response

# Hosted APIs do not say whether temperature was applied first; OpenAI documents raw values.
LOGPROBS_MODE = "as_served"


class OpenAIEngine:
    """A remote model. Thread-safe; its endpoint's limits hold for all calls together.

    Parameters are those of :class:`tasks.engines.vllm.VllmEngine`.

    Raises
    ------
    EndpointError
        If the environment variable that should hold the key is not set.
    """

    def __init__(self, model: Model, decoding: Decoding, keep_top: bool) -> None:
        if model.endpoint is None:
            raise ValueError(f"model {model.name!r} has no endpoint")
        self._model = model
        self._endpoint: Endpoint = model.endpoint
        self._decoding = decoding
        self._keep_top = keep_top
        self._recorder = Recorder(
            "openai", openai.__version__, LOGPROBS_MODE, decoding, model.price
        )
        self._chat = Chat(f"model {model.name!r}", model.model, model.endpoint)

    def generate(self, prompts: Sequence[Prompt]) -> Batch:
        """Answer ``prompts`` with bounded concurrency; see the module's text for failures."""
        answered: list[tuple[Response, TokenTrace]] = []
        problems: list[SentinelError] = []
        for outcome in self._chat.each(self._one, prompts):
            if isinstance(outcome, SentinelError):
                problems.append(outcome)
            else:
                answered.append(outcome)
        table = to_generation_table([r for r, _ in answered], [t for _, t in answered])
        return Batch(table, summary(problems, len(prompts), "prompts"))

    def close(self) -> None:
        """End the engine's thread."""
        self._chat.close()

    async def _one(self, ask: Ask, prompt: Prompt) -> tuple[Response, TokenTrace]:
        start = time.monotonic()
        decoding = prompt.decoding or self._decoding
        try:
            completion = await ask(
                f"item {prompt.benchmark}/{prompt.item_id}",
                messages=[{"role": "user", "content": prompt.text}],
                temperature=decoding.temperature,
                top_p=decoding.top_p,
                max_tokens=decoding.max_tokens,
                seed=decoding.seed,
                stop=list(decoding.stop) or openai.omit,
                logprobs=True,
                top_logprobs=decoding.top_k,
            )
        except Refused as error:
            return self._refused(prompt, time.monotonic() - start, str(error))
        return self._record(prompt, completion, time.monotonic() - start)

    def _record(
        self, prompt: Prompt, completion: Any, seconds: float
    ) -> tuple[Response, TokenTrace]:
        choice = completion.choices[0]
        content = getattr(choice.logprobs, "content", None)
        if content is None:
            raise EndpointError(
                f"model {self._model.name!r}: {self._endpoint.base_url} returns no logprobs",
                "use an endpoint and model that give top_logprobs on chat completions",
            )
        try:
            k = (prompt.decoding or self._decoding).top_k
            top, chosen = candidates(_tokens(content), k)
            trace = TokenTrace.from_logprobs(top, chosen, self._keep_top)
        except TraceError as error:
            raise EndpointError(
                f"model {self._model.name!r}, item {prompt.benchmark}/{prompt.item_id}, "
                f"token {error.token}: {error.problem}",
                error.remedy,
            ) from None
        except (ValueError, OverflowError) as error:
            raise EndpointError(
                f"model {self._model.name!r}, item {prompt.benchmark}/{prompt.item_id}: {error}",
                "use an endpoint that gives natural logarithms of probabilities",
            ) from None
        usage = completion.usage
        response = self._recorder.response(
            prompt,
            text=choice.message.content or "",
            finish=Finish.LENGTH if choice.finish_reason == "length" else Finish.STOP,
            n_tokens=len(content),
            seconds=seconds,
            tokens_in=usage.prompt_tokens if usage else 0,
            tokens_out=usage.completion_tokens if usage else len(content),
        )
        return response, trace

    def _refused(self, prompt: Prompt, seconds: float, message: str) -> tuple[Response, TokenTrace]:
        response = self._recorder.response(
            prompt,
            text=None,
            finish=Finish.ERROR,
            n_tokens=0,
            seconds=seconds,
            tokens_in=0,
            tokens_out=0,
            error=message,
        )
        return response, TokenTrace.empty()


def _tokens(content: Any) -> list[dict[str, Any]]:
    """``logprobs.content`` as plain documents; the openai package has not looked at their types.

    Raises
    ------
    TraceError
        If one is no token: the row is 0.
    """
    remedy = "the server, or a gateway before it, does not keep to the protocol"
    if not isinstance(content, list):
        raise TraceError(0, 0, "logprobs.content is no list", remedy)
    tokens = []
    for t, token in enumerate(content):
        plain = token.model_dump(warnings=False) if isinstance(token, BaseModel) else None
        listed = plain.get("top_logprobs") if plain else None
        if not _is_candidate(plain) or not (
            listed is None or (isinstance(listed, list) and all(map(_is_candidate, listed)))
        ):
            raise TraceError(0, t, "no token with its log-probability", remedy)
        tokens.append(plain)
    return tokens


def _is_candidate(value: Any) -> TypeGuard[dict[str, Any]]:
    return (
        isinstance(value, dict)
        and isinstance(value.get("token"), str)
        and isinstance(value.get("logprob"), int | float | None)
    )
