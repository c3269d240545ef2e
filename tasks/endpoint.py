"""One OpenAI-compatible chat endpoint: its key, its limits, and its failures in our words.

Engines and judges ask through it. The openai package retries refused connections, timeouts, 408,
409, 429 and 5xx with exponential backoff and honours a Retry-After of up to a minute; a longer one
is waited for here. What is left after that is sorted: a request the server calls bad is the
question's own fault (:class:`Refused`), anything else leaves the question unanswered and names the
problem, so that a rerun asks only for what is missing.
"""

from __future__ import annotations

import asyncio
import os
import queue
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, TypeGuard, TypeVar

import openai
from openai.types import CompletionUsage
from openai.types.chat import ChatCompletion, ChatCompletionMessage
from openai.types.chat.chat_completion import Choice

from tasks.conf import Endpoint
from tasks.errors import EndpointError, SentinelError
from tasks.records import storable

Q = TypeVar("Q")
A = TypeVar("A")

#: One request: a name of the question for messages, then the fields of a chat completion.
Ask = Callable[..., Awaitable[ChatCompletion]]

# A Retry-After the openai package does not wait for by itself, and the longest we wait for.
_SHORT_WAIT_S, _LONGEST_WAIT_S = 60, 3600

# Between two tries after a broken body, which the openai package does not retry.
_LONGEST_BACKOFF_S = 8.0

# A count beyond it is nonsense, and sums of such would not fit a column.
_TOO_MANY_TOKENS = 2**40


class Refused(Exception):
    """The server calls this one request bad (HTTP 400 or 422); asking again would not help."""


class Quoting(EndpointError):
    """A failure told in the server's own words, which may quote what it was asked."""


class NotACompletion(Quoting):
    """A body that is no chat completion: malformed, cut short, or from something else."""


class Chat:
    """A chat endpoint. Thread-safe: all calls share one event loop in a thread of their own.

    ``concurrency`` and ``requests_per_minute`` of the endpoint therefore bound the model, however
    many calls there are side by side. After a refused key or an unknown model nothing more is sent.

    Parameters
    ----------
    who : str
        Named in messages, as ``model 'small'``.
    model : str
        The endpoint's name for the model.
    endpoint : Endpoint
        Address, name of the key's variable, limits.

    Raises
    ------
    EndpointError
        If the environment variable that should hold the key is not set.
    """

    def __init__(self, who: str, model: str, endpoint: Endpoint) -> None:
        self._who, self._model, self._endpoint = who, model, endpoint
        self._key = _read_key(who, endpoint)
        self._gate = asyncio.Semaphore(endpoint.concurrency)
        self._pace = _Pace(endpoint.requests_per_minute)
        self._hopeless: EndpointError | None = None
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name=who, daemon=True).start()

    def each(
        self, answer: Callable[[Ask, Q], Awaitable[A]], questions: Sequence[Q]
    ) -> Iterator[A | SentinelError]:
        """Answers as they complete, or the problem that kept a question from being answered.

        Parameters
        ----------
        answer : callable
            Coroutine of (ask, question); it may ask several times and counts as one question in
            flight. What it raises besides a :class:`SentinelError` is raised here.
        questions : sequence
            All of them are under way at once, within the endpoint's limits.

        Notes
        -----
        Closing the iterator early, or an interrupt, cancels what is in flight: requests that nobody
        waits for would cost money.
        """
        found: queue.SimpleQueue[A | Exception | _Ended] = queue.SimpleQueue()
        asking = asyncio.run_coroutine_threadsafe(
            self._each(answer, questions, found.put), self._loop
        )
        asking.add_done_callback(lambda _: found.put(_Ended()))
        try:
            for _ in questions:
                outcome = found.get()
                if isinstance(outcome, _Ended):
                    asking.result()
                elif isinstance(outcome, Exception) and not isinstance(outcome, SentinelError):
                    raise outcome
                else:
                    yield outcome
            asking.result()
        finally:
            asking.cancel()

    @property
    def hopeless(self) -> bool:
        """Whether the endpoint refused the key or the model, so that nothing more is sent."""
        return self._hopeless is not None

    def close(self) -> None:
        """End the thread, and whatever is still in flight."""
        asyncio.run_coroutine_threadsafe(self._end(), self._loop)

    async def _end(self) -> None:
        rest = asyncio.all_tasks(self._loop) - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)
        self._loop.call_soon(self._loop.stop)

    async def _each(
        self,
        answer: Callable[[Ask, Q], Awaitable[A]],
        questions: Sequence[Q],
        give: Callable[[A | Exception], None],
    ) -> None:
        async with openai.AsyncOpenAI(
            base_url=self._endpoint.base_url,
            api_key=self._key,
            timeout=self._endpoint.timeout_s,
            max_retries=self._endpoint.max_retries,
        ) as client:

            async def ask(what: str, **request: Any) -> ChatCompletion:
                return await self._ask(client, what, request)

            async def one(question: Q) -> None:
                async with self._gate:
                    try:
                        give(await answer(ask, question))
                    except Exception as problem:
                        give(problem)

            await asyncio.gather(*map(one, questions))

    async def _ask(
        self, client: openai.AsyncOpenAI, what: str, request: dict[str, Any]
    ) -> ChatCompletion:
        waited, broken = 0.0, 0
        while True:
            if self._hopeless:
                raise self._hopeless
            await self._pace.turn()
            try:
                completion = await client.chat.completions.create(
                    model=self._model, extra_body=self._endpoint.extra_body or None, **request
                )
            except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
                raise Refused(self._public(error.message)) from None
            except openai.RateLimitError as error:
                wait = _retry_after(error)
                if not _SHORT_WAIT_S < wait <= _LONGEST_WAIT_S - waited:
                    raise self._problem(error) from None
                waited += wait
                await asyncio.sleep(wait)
                continue
            except openai.OpenAIError as error:
                raise self._problem(error) from None
            # No JSON at all, or JSON too deep to read.
            except (ValueError, RecursionError) as error:
                if broken == self._endpoint.max_retries:
                    raise self._not_a_completion(what, str(error)) from None
                broken += 1
                await asyncio.sleep(min(0.5 * 2**broken, _LONGEST_BACKOFF_S))
                continue
            try:
                return _checked(completion)
            except ValueError as fault:
                raise self._not_a_completion(what, str(fault)) from None

    def _not_a_completion(self, what: str, why: str) -> NotACompletion:
        return NotACompletion(
            f"{self._who}: {self._endpoint.base_url} answered {what} with something that is no "
            f"chat completion: {self._public(why)}",
            "check base_url, which usually ends in /v1, and any proxy before the server",
        )

    def _public(self, message: str) -> str:
        """Text of a server's message without the key, should the server echo it."""
        message = storable(message)
        return message.replace(self._key, "***") if len(self._key) > 4 else message

    def _problem(self, error: openai.OpenAIError) -> EndpointError:
        """What a failed request means to the person who has to mend it; never shows the key."""
        who = f"{self._who}: {self._endpoint.base_url}"
        if isinstance(error, (openai.AuthenticationError, openai.PermissionDeniedError)):
            self._hopeless = EndpointError(
                f"{who} refused the key (HTTP {error.status_code})",
                f"put a valid key into the environment variable {self._endpoint.api_key_env}",
            )
            return self._hopeless
        if isinstance(error, openai.NotFoundError):
            self._hopeless = EndpointError(
                f"{who} does not serve {self._model!r}", "check `model` and `base_url`"
            )
            return self._hopeless
        if isinstance(error, openai.APITimeoutError):
            return EndpointError(
                f"{who} did not answer within {self._endpoint.timeout_s:g} s",
                "raise endpoint.timeout_s or lower endpoint.concurrency, then rerun",
            )
        if isinstance(error, openai.APIConnectionError):
            return EndpointError(f"{who} cannot be reached", "start the server or check base_url")
        return Quoting(f"{who}: {self._public(str(error))}", "rerun for what is missing")


def _checked(body: Any) -> ChatCompletion:
    """The body, so that its readers find text or none, and counts of tokens or none.

    The openai package checks no types: a gateway's 200 may hold anything. What the answer does not
    depend on does not cost it.

    Raises
    ------
    ValueError
        If it is no chat completion; says what is amiss and quotes nothing.
    """
    choices = getattr(body, "choices", None)
    if not choices:
        raise ValueError("no choices")
    if not isinstance(choices, list) or not isinstance(choices[0], Choice):
        raise ValueError("its first choice is no object")
    message = getattr(choices[0], "message", None)
    if not isinstance(message, ChatCompletionMessage):
        raise ValueError("its message is no object")
    if not isinstance(message.content, str | None):
        raise ValueError("its content is no text")
    if message.content is not None:
        message.content = storable(message.content)
    body.usage = _counted(body.usage)
    completion: ChatCompletion = body
    return completion


def _counted(usage: Any) -> CompletionUsage | None:
    prompt, completion, total = (
        getattr(usage, f"{kind}_tokens", None) for kind in ("prompt", "completion", "total")
    )
    if not (_is_count(prompt) and _is_count(completion)):
        return None
    total = total if _is_count(total) else prompt + completion
    return CompletionUsage(prompt_tokens=prompt, completion_tokens=completion, total_tokens=total)


def _is_count(value: Any) -> TypeGuard[int]:
    return type(value) is int and 0 <= value < _TOO_MANY_TOKENS


class _Ended:
    """Marks the end of the questions; seen only if they ended before all were answered."""


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


def summary(problems: Sequence[SentinelError], asked: int, what: str) -> SentinelError | None:
    """One error for all questions that got no answer, ``None`` if there are none.

    ``what`` is their plural, as ``prompts``. It is :class:`Quoting` if it has a server's words.
    """
    if not problems:
        return None
    first = problems[0]
    kind = Quoting if isinstance(first, Quoting) else EndpointError
    return kind(
        f"{len(problems)} of {asked} {what} got no answer; the first: {first.problem}",
        f"{first.remedy} (a rerun asks only for the missing ones)",
    )


def _read_key(who: str, endpoint: Endpoint) -> str:
    if endpoint.api_key_env is None:
        return "none"  # The client insists on some key; a server without keys ignores it.
    key = os.environ.get(endpoint.api_key_env)
    if not key:
        raise EndpointError(
            f"{who}: the environment variable {endpoint.api_key_env} is not set",
            f"export {endpoint.api_key_env}=..., or api_key_env: null if the server has no keys",
        )
    return key


def _retry_after(error: openai.APIStatusError) -> float:
    """Seconds the server asks us to wait; 0 where it does not say so in seconds."""
    try:
        return float(error.response.headers.get("retry-after", 0))
    except ValueError:  # An HTTP date, which rate limiters hardly use.
        return 0.0
