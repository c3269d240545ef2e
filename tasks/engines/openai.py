"""Any OpenAI-compatible chat endpoint as an engine: hosted APIs, ``vllm serve``, gateways.

The openai package retries refused connections, timeouts, 408, 409, 429 and 5xx with exponential
backoff and honours Retry-After. What is left after that is sorted here: a request the server calls
bad is an answer of its own (asking again would not help), anything else leaves the item unanswered
and names the problem, so that a rerun asks only for what is missing.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Sequence
from typing import Any

import httpx
import openai

from entropy.chat import candidates
from entropy.trace import TraceError
from tasks.conf import Decoding, Endpoint, Model
from tasks.engines.contract import Batch, Prompt, Recorder, TokenTrace, to_generation_table
from tasks.errors import EndpointError, SentinelError
from tasks.records import Finish, Response

# Hosted APIs do not say whether temperature was applied first; OpenAI documents raw values.
LOGPROBS_MODE = "as_served"


class OpenAIEngine:
    """A remote model. Thread-safe: calls share one event loop in a thread of the engine.

    ``concurrency`` and ``requests_per_minute`` therefore bound the model, however many benchmarks
    are asked side by side. Parameters are those of :class:`tasks.engines.vllm.VllmEngine`.

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
        self._key = _read_key(model.name, model.endpoint)
        self._recorder = Recorder(
            "openai", openai.__version__, LOGPROBS_MODE, decoding, model.price
        )
        self._gate = asyncio.Semaphore(self._endpoint.concurrency)
        self._pace = _Pace(self._endpoint.requests_per_minute)
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="openai", daemon=True).start()

    def generate(self, prompts: Sequence[Prompt]) -> Batch:
        """Answer ``prompts`` with bounded concurrency; see the module's text for failures."""
        answering = asyncio.run_coroutine_threadsafe(self._generate(prompts), self._loop)
        try:
            return answering.result()
        except BaseException:  # An interrupt must not leave requests running that cost money.
            answering.cancel()
            raise

    def close(self) -> None:
        """End the engine's thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)

    async def _generate(self, prompts: Sequence[Prompt]) -> Batch:
        async with openai.AsyncOpenAI(
            base_url=self._endpoint.base_url,
            api_key=self._key,
            timeout=self._endpoint.timeout_s,
            max_retries=self._endpoint.max_retries,
        ) as client:

            async def answer(prompt: Prompt) -> tuple[Response, TokenTrace]:
                async with self._gate:
                    await self._pace.turn()
                    return await self._one(client, prompt)

            outcomes = await asyncio.gather(*map(answer, prompts), return_exceptions=True)
        answered: list[tuple[Response, TokenTrace]] = []
        problems: list[SentinelError] = []
        for outcome in outcomes:
            if isinstance(outcome, SentinelError):
                problems.append(outcome)
            elif isinstance(outcome, BaseException):
                raise outcome
            else:
                answered.append(outcome)
        table = to_generation_table([r for r, _ in answered], [t for _, t in answered])
        return Batch(table, _summary(problems, len(prompts)))

    async def _one(self, client: openai.AsyncOpenAI, prompt: Prompt) -> tuple[Response, TokenTrace]:
        start = time.monotonic()
        try:
            completion = await client.chat.completions.create(
                model=self._model.model,
                messages=[{"role": "user", "content": prompt.text}],
                temperature=self._decoding.temperature,
                top_p=self._decoding.top_p,
                max_tokens=self._decoding.max_tokens,
                seed=self._decoding.seed,
                stop=list(self._decoding.stop) or openai.omit,
                logprobs=True,
                top_logprobs=self._decoding.top_k,
                extra_body=self._endpoint.extra_body or None,
            )
        except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
            return self._refused(prompt, time.monotonic() - start, error)
        except openai.OpenAIError as error:
            raise self._problem(error) from None
        except (httpx.HTTPError, ValueError) as error:  # A body cut short, or one that is no JSON.
            raise self._not_a_completion(prompt, str(error)) from None
        if not getattr(completion, "choices", None):
            raise self._not_a_completion(prompt, "no choices")
        return self._record(prompt, completion, time.monotonic() - start)

    def _record(
        self, prompt: Prompt, completion: Any, seconds: float
    ) -> tuple[Response, TokenTrace]:
        choice = completion.choices[0]
        content = choice.logprobs.content if choice.logprobs else None
        if content is None:
            raise EndpointError(
                f"model {self._model.name!r}: {self._endpoint.base_url} returns no logprobs",
                "use an endpoint and model that give top_logprobs on chat completions",
            )
        try:
            top, chosen = candidates([t.model_dump() for t in content], self._decoding.top_k)
            trace = TokenTrace.from_logprobs(top, chosen, self._keep_top)
        except TraceError as error:
            raise EndpointError(
                f"model {self._model.name!r}, item {prompt.benchmark}/{prompt.item_id}, "
                f"token {error.token}: {error.problem}",
                error.remedy,
            ) from None
        except ValueError as error:
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

    def _not_a_completion(self, prompt: Prompt, why: str) -> EndpointError:
        return EndpointError(
            f"model {self._model.name!r}: {self._endpoint.base_url} answered item "
            f"{prompt.benchmark}/{prompt.item_id} with something that is no chat completion: "
            f"{_public(why, self._key)}",
            "check base_url, which usually ends in /v1, and any proxy before the server",
        )

    def _refused(
        self, prompt: Prompt, seconds: float, error: openai.APIStatusError
    ) -> tuple[Response, TokenTrace]:
        response = self._recorder.response(
            prompt,
            text=None,
            finish=Finish.ERROR,
            n_tokens=0,
            seconds=seconds,
            tokens_in=0,
            tokens_out=0,
            error=_public(error.message, self._key),
        )
        return response, TokenTrace.empty()

    def _problem(self, error: openai.OpenAIError) -> EndpointError:
        """What a failed request means to the person who has to mend it; never shows the key."""
        who = f"model {self._model.name!r}: {self._endpoint.base_url}"
        if isinstance(error, (openai.AuthenticationError, openai.PermissionDeniedError)):
            return EndpointError(
                f"{who} refused the key (HTTP {error.status_code})",
                f"put a valid key into the environment variable {self._endpoint.api_key_env}",
            )
        if isinstance(error, openai.NotFoundError):
            return EndpointError(
                f"{who} does not serve {self._model.model!r}", "check `model` and `base_url`"
            )
        if isinstance(error, openai.APITimeoutError):
            return EndpointError(
                f"{who} did not answer within {self._endpoint.timeout_s:g} s",
                "raise endpoint.timeout_s or lower endpoint.concurrency, then rerun",
            )
        if isinstance(error, openai.APIConnectionError):
            return EndpointError(f"{who} cannot be reached", "start the server or check base_url")
        return EndpointError(
            f"{who}: {_public(str(error), self._key)}", "rerun for what is missing"
        )


class _Pace:
    """Spaces requests evenly so that no minute holds more than ``per_minute`` of them."""

    def __init__(self, per_minute: int | None) -> None:
        self._gap = 60 / per_minute if per_minute else 0.0
        self._next = 0.0

    async def turn(self) -> None:
        """Wait for the next free slot."""
        if not self._gap:
            return
        now = time.monotonic()
        slot = max(now, self._next)
        self._next = slot + self._gap
        await asyncio.sleep(slot - now)


def _read_key(name: str, endpoint: Endpoint) -> str:
    if endpoint.api_key_env is None:
        return "none"  # The client insists on some key; a server without keys ignores it.
    key = os.environ.get(endpoint.api_key_env)
    if not key:
        raise EndpointError(
            f"model {name!r}: the environment variable {endpoint.api_key_env} is not set",
            f"export {endpoint.api_key_env}=..., or api_key_env: null if the server has no keys",
        )
    return key


def _public(message: str, key: str) -> str:
    """Text of a server's error without the key, should the server echo it."""
    return message.replace(key, "***") if len(key) > 4 else message


def _summary(problems: Sequence[SentinelError], asked: int) -> SentinelError | None:
    if not problems:
        return None
    first = problems[0]
    return EndpointError(
        f"{len(problems)} of {asked} prompts got no answer; the first: {first.problem}",
        f"{first.remedy} (a rerun asks only for the missing ones)",
    )
