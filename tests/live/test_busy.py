"""The Prefect pages answer while many write: over SQLite, too, nothing stands still."""

from __future__ import annotations

import contextlib
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest

from tests.live.site import Site

WRITERS, FOR_S = 4, 20
#: One that holds what others wait for would be waited for a minute: SQLite's time for a lock.
STILL_S = 45


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path, "http://127.0.0.1:9/v1")
    made.experiment(1)
    with made.pages():
        yield made


def test_nothing_stands_still_while_many_write(site: Site) -> None:
    flow = site.api("/flows/", {"name": "busy"})["id"]

    def post(path: str, body: object) -> dict:
        """The answer; that the database is locked is one as well."""
        json_ = {"Content-Type": "application/json"}
        asked = urllib.request.Request(
            f"{site.prefect}/api{path}", json.dumps(body).encode(), json_
        )
        with (
            contextlib.suppress(urllib.error.HTTPError),
            urllib.request.urlopen(asked, timeout=200) as answer,
        ):
            return json.loads(answer.read() or "{}")
        return {}

    def run() -> None:
        made = post("/flow_runs/", {"flow_id": flow, "state": {"type": "PENDING"}}).get("id")
        for state in ("RUNNING", "COMPLETED") if made else ():
            post(f"/flow_runs/{made}/set_state", {"state": {"type": state}})

    def tell() -> None:
        told = {"event": "something", "resource": {"prefect.resource.id": "busy"}}
        now = datetime.now(UTC).isoformat()
        post("/events", [told | {"id": str(uuid4()), "occurred": now} for _ in range(20)])

    def look() -> None:
        post("/flow_runs/filter", {"sort": "START_TIME_ASC"})

    deadline = time.monotonic() + FOR_S
    with ThreadPoolExecutor(WRITERS + 4) as pool:
        asking = [*[run] * WRITERS, tell, tell, look, look]
        taken = [pool.submit(_repeat, one, deadline) for one in asking]
    longest = [max(one.result()) for one in taken]
    assert max(longest) < STILL_S, longest


def _repeat(what: Callable[[], None], deadline: float) -> list[float]:
    """Seconds that each took, until the deadline."""
    taken = []
    while (start := time.monotonic()) < deadline:
        what()
        taken.append(time.monotonic() - start)
    return taken
