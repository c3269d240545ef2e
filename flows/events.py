"""The event that a model was added, and sending it to the Prefect server.

Anything that can send an HTTP request can send it too; ``docs/pages.md`` has the line for curl.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import httpx
from prefect.client.orchestration import get_client
from prefect.exceptions import PrefectHTTPStatusError
from prefect.settings import get_current_settings

from tasks.errors import EndpointError

MODEL_ADDED = "sentinel.model.added"
RESOURCE = "sentinel.model"

#: What to do where the server does not take something.
START_IT = (
    "start it with `sentinel ui`, or set PREFECT_API_URL, "
    "and PREFECT_API_AUTH_STRING where it has a password"
)


def model_added(model: str, experiment: str) -> dict[str, Any]:
    """Event that ``model`` (a name in conf) is new in ``experiment`` (a path)."""
    return {
        "id": str(uuid4()),
        "occurred": datetime.now(UTC).isoformat(),
        "event": MODEL_ADDED,
        "resource": {
            "prefect.resource.id": f"{RESOURCE}.{model}",
            "prefect.resource.name": model,
        },
        "payload": {"model": model, "experiment": experiment},
    }


def server() -> str:
    """Address of the Prefect API in use.

    Raises
    ------
    EndpointError
        If none is set: Prefect would start a temporary one, which nobody else sees.
    """
    url = get_current_settings().api.url
    if not url:
        raise EndpointError(
            "no Prefect server is known", "start one with `sentinel ui`, or set PREFECT_API_URL"
        )
    return str(url)


def send(events: list[dict[str, Any]]) -> None:
    """Send events to the Prefect server, in one request.

    Raises
    ------
    EndpointError
        If no server answers or it refuses them.
    """
    server()
    asyncio.run(_post(events))


async def _post(events: list[dict[str, Any]]) -> None:
    try:
        async with get_client() as client:
            await client.request("POST", "/events", json=events)
    except (httpx.HTTPError, PrefectHTTPStatusError, RuntimeError, ValueError) as error:
        raise EndpointError(
            f"the Prefect server did not take the event: {error}",
            START_IT,
        ) from None
