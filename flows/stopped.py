"""Runs that ended because their worker was stopped: told on their pages, as they can't know it."""

from __future__ import annotations

from uuid import UUID

import httpx
from prefect.client.orchestration import get_client
from prefect.exceptions import PrefectHTTPStatusError
from prefect.settings import (
    PREFECT_API_REQUEST_TIMEOUT,
    PREFECT_CLIENT_MAX_RETRIES,
    temporary_settings,
)
from prefect.states import Crashed

from tasks.errors import EndpointError

MESSAGE = (
    "The worker was stopped before this run had ended. What it stored is kept; run it again for "
    "the rest."
)


def mark_stopped(run: str) -> None:
    """Set the state of a flow run to crashed, unless it had come to an end of its own.

    Raises
    ------
    EndpointError
        If the server does not answer.
    """
    try:
        # A server that is away is not waited for long: somebody waits for the worker to end.
        with (
            temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 2, PREFECT_API_REQUEST_TIMEOUT: 10.0}),
            get_client(sync_client=True) as client,
        ):
            state = client.read_flow_run(UUID(run)).state
            if state is None or not state.is_final() or state.is_crashed():
                client.set_flow_run_state(UUID(run), Crashed(message=MESSAGE), force=True)
    except (httpx.HTTPError, PrefectHTTPStatusError, RuntimeError) as error:
        raise EndpointError(
            f"the Prefect server was not told that run {run} was stopped: {error}",
            "set its state in the pages",
        ) from None
