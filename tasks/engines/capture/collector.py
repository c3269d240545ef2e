"""In our process: fetches captured rows from vLLM and gives each finished request its own.

Fetching is a call into vLLM's engine process between two steps, so it is done seldom and for all
requests at once: at once when something has finished, then no more often than every quarter of a
second. Rows of requests that nobody expects (aborted ones) are dropped.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any

from tasks.engines.capture.rows import Parcel, Rows, Values, unpack

#: Value that vLLM's option ``worker_extension_cls`` must have.
EXTENSION = "tasks.engines.capture.worker.CaptureExtension"

# Seconds between two fetches. With workers in processes of their own vLLM lets the step in flight
# finish before it answers, a few milliseconds each time.
_PAUSE = 0.25

# Seconds to wait before a fetch: requests that end in the same step wake one by one.
_GRACE = 0.005

# Seconds after which rows are fetched although nothing has finished, to keep vLLM's memory small.
_LONGEST = 5.0

# vLLM tells requests apart by a suffix of its own: "-" and this many characters.
_SUFFIX = 8


class CaptureRefused(Exception):
    """An engine's entropies cannot be captured; the message says why."""


class Gap(Exception):
    """A request's rows are not all there or not its own; the message says which and why."""


class Collector:
    """Rows of the requests in flight of one ``AsyncLLM`` engine; use within one event loop.

    Attributes
    ----------
    facts : dict
        What is in use: ``runner`` (V1 or V2), ``kernel``, ``async_scheduling``, ``device``.
    """

    def __init__(self, engine: Any, pause: float = _PAUSE) -> None:
        self._engine, self._pause = engine, pause
        self._expected: dict[str, list[Rows]] = {}
        self._fetch: asyncio.Task[None] | None = None
        self._lookout: asyncio.Task[None] | None = None
        self._last = float("-inf")
        self.facts: dict[str, str] = {}

    async def start(self, top_k: int) -> Collector:
        """Begin to capture entropies over the top ``top_k``; returns itself.

        The engine must have been made with ``worker_extension_cls=EXTENSION``.

        Raises
        ------
        CaptureRefused
            If some worker cannot capture.
        """
        answers = await self._engine.collective_rpc("sentinel_capture_start", args=(top_k,))
        for answer in answers:
            if "refused" in answer:
                await self.stop()
                raise CaptureRefused(answer["refused"])
        self.facts = next(a for a in answers if "runner" in a)
        return self

    async def stop(self) -> None:
        """Leave the engine as it was before :meth:`start`."""
        if self._lookout is not None:
            self._lookout.cancel()
            self._lookout = None
        self._expected.clear()
        await self._engine.collective_rpc("sentinel_capture_stop")

    def expect(self, request: str) -> None:
        """Keep the rows of ``request`` from now on; call it before the request is sent."""
        self._expected[request] = []
        if self._lookout is None or self._lookout.done():
            self._lookout = asyncio.create_task(self._look_out())

    def forget(self, request: str) -> None:
        """Drop the rows of a request that failed."""
        self._expected.pop(request, None)

    async def take(self, request: str, tokens: Sequence[int]) -> Values:
        """Numbers of a finished request's output tokens; the request is then forgotten.

        Raises
        ------
        Gap
            If there is not exactly one row for each token, computed for that very token.
        """
        try:
            values = self._found(request, tokens)
            # Rows are there when their token is: the fetch under way may have begun too early for
            # this one's, the next cannot.
            for _ in range(2):
                if isinstance(values, str):
                    await self._fetched()
                    values = self._found(request, tokens)
            if isinstance(values, str):
                raise Gap(values)
            return values
        finally:
            self.forget(request)

    def _found(self, request: str, tokens: Sequence[int]) -> Values | str:
        return Rows.join(self._expected[request]).of(tokens)

    async def _fetched(self) -> None:
        """Return after the fetch under way, or after a new one."""
        if self._fetch is None or self._fetch.done():
            self._fetch = asyncio.create_task(self._fetch_soon())
        # Several requests wait for one fetch; one that is cancelled must not take it along.
        await asyncio.shield(self._fetch)

    async def _fetch_soon(self) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(max(_GRACE, self._last + self._pause - loop.time()))
        self._last = loop.time()
        for parcel in await self._engine.collective_rpc("sentinel_capture_drain"):
            if parcel is not None:
                self._deliver(parcel)

    def _deliver(self, parcel: Parcel) -> None:
        for name, rows in unpack(parcel):
            wanted = self._expected.get(name)
            if wanted is None:
                wanted = self._expected.get(name[: -_SUFFIX - 1])
            if wanted is not None:
                wanted.append(rows)

    async def _look_out(self) -> None:
        """Fetch now and then while requests are in flight; a dead engine is theirs to report."""
        with contextlib.suppress(Exception):
            while self._expected:
                await asyncio.sleep(_LONGEST)
                if asyncio.get_running_loop().time() - self._last >= _LONGEST:
                    await self._fetched()
