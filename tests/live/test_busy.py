"""The Prefect pages answer while many write: over SQLite, too, nothing stands still."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.live.site import Site

WRITERS, FOR_S = 4, 20
#: One that holds what others wait for would be waited for a minute: SQLite's time for a lock.
STILL_S = 58


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path, "http://127.0.0.1:9/v1")
    made.experiment(1)
    with made.pages():
        yield made


class Clients:
    """Requests one after the other from several threads: how long each took, and what it made."""

    def __init__(self, site: Site) -> None:
        self._api = f"{site.prefect}/api"
        self._flow = site.api("/flows/", {"name": "busy"})["id"]
        self.taken: list[float] = []
        self.made: list[str] = []

    def post(self, path: str, body: object) -> Any:
        """The answer, or nothing where the server says that it is busy."""
        asked = urllib.request.Request(
            f"{self._api}{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        start = time.monotonic()
        try:
            with urllib.request.urlopen(asked, timeout=200) as answer:
                return json.loads(answer.read() or "{}")
        except urllib.error.HTTPError as error:
            if error.code != HTTPStatus.SERVICE_UNAVAILABLE:
                raise
            return {}
        finally:
            self.taken.append(time.monotonic() - start)

    def run(self) -> None:
        made = self.post("/flow_runs/", {"flow_id": self._flow, "state": {"type": "PENDING"}})
        if made:
            self.made.append(made["id"])
            for state in ("RUNNING", "COMPLETED"):
                self.post(f"/flow_runs/{made['id']}/set_state", {"state": {"type": state}})

    def tell(self) -> None:
        told = {"event": "something", "resource": {"prefect.resource.id": "busy"}}
        now = datetime.now(UTC).isoformat()
        self.post("/events", [told | {"id": str(uuid4()), "occurred": now} for _ in range(20)])

    def look(self) -> None:
        self.post("/flow_runs/filter", {"sort": "START_TIME_ASC"})


def test_nothing_stands_still_while_many_write(site: Site) -> None:
    clients = Clients(site)
    asking = [*[clients.run] * WRITERS, *[clients.tell] * 2, *[clients.look] * 2]
    deadline = time.monotonic() + FOR_S

    def repeat(what: Callable[[], None]) -> None:
        while time.monotonic() < deadline:
            what()

    with ThreadPoolExecutor(len(asking)) as pool:
        list(pool.map(repeat, asking))
    assert clients.made
    assert max(clients.taken) < STILL_S
