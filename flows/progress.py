"""Progress of a step: a bar on its page in Prefect and lines in its log, at a bearable rate."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any, Self

import httpx
from prefect import get_run_logger
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

# Each update is a request to the server; a person does not look more often than this.
_SECONDS_BETWEEN = 2.0
# One that a server leaves without an answer takes up to a minute, in which no work is handed out.
_AFTER_SILENCE_S = 120.0


class Progress:
    """Call it with (done, total); the bar is full when the block ends without an error.

    Parameters
    ----------
    what : str
        Shown beside the bar and in the log.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._logger = get_run_logger()
        self._last = self._silent_until = 0.0
        self._bar: Any = None
        self._show(0.0)

    def __call__(self, done: int, total: int) -> None:
        """Report ``done`` of ``total``; calls in quick succession are dropped."""
        now = time.monotonic()
        if now - self._last >= _SECONDS_BETWEEN:
            self._last = now
            if now >= self._silent_until:
                self._show(100.0 * done / max(total, 1))
            self._logger.info("%s: %d of %d", self._what, done, total)

    def _show(self, percent: float) -> None:
        # A bar is not worth the work that it tells of, nor waiting for a server that is away.
        try:
            with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}):
                if self._bar is None:
                    # The stub says it may be a coroutine; in synchronous code it never is.
                    self._bar = create_progress_artifact(percent, description=self._what)
                else:
                    update_progress_artifact(self._bar, percent)
        except httpx.HTTPError as error:
            self._silent_until = time.monotonic() + _AFTER_SILENCE_S
            self._logger.warning("%s: the server takes no progress now: %s", self._what, error)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self._show(100.0)
