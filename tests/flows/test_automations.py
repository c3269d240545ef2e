"""Automations are kept as one each: made, left alone or updated, as the server has them."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from prefect.automations import Automation, AutomationCore

from flows.deploy import _added_model_runs, _keep
from flows.lost import lost_runs

DEPLOYMENT = uuid4()


class Server:
    """A client of a server with these automations; it notes what it is asked to change."""

    def __init__(self, *automations: AutomationCore) -> None:
        self.there = [Automation(id=uuid4(), **a.model_dump()) for a in automations]
        self.changes: list[tuple[str, UUID | None]] = []
        self.written: list[AutomationCore] = []

    async def read_automations_by_name(self, _: str) -> list[Automation]:
        return self.there

    async def create_automation(self, automation: AutomationCore) -> None:
        self.changes.append(("create", None))
        self.written.append(automation)

    async def update_automation(self, which: UUID, automation: AutomationCore) -> None:
        self.changes.append(("update", which))
        self.written.append(automation)

    async def delete_automation(self, which: UUID) -> None:
        self.changes.append(("delete", which))


@pytest.mark.parametrize("wanted", [_added_model_runs(DEPLOYMENT), lost_runs({"a", "b"})])
def test_one_that_says_the_same_is_left_alone(wanted: AutomationCore) -> None:
    server = Server(wanted)
    asyncio.run(_keep(server, wanted))
    assert server.changes == []


def test_one_that_is_not_there_is_made_and_another_updated() -> None:
    server = Server()
    asyncio.run(_keep(server, lost_runs({"a"})))
    assert server.changes == [("create", None)]
    longer = lost_runs({"a"})
    longer.trigger.within += timedelta(seconds=1)
    server = Server(lost_runs({"a"}))
    asyncio.run(_keep(server, longer))
    assert server.changes == [("update", server.there[0].id)]


def test_twins_are_removed_and_a_paused_one_stays_paused() -> None:
    server = Server(*[_added_model_runs(DEPLOYMENT)] * 3)
    server.there[0].enabled = False
    asyncio.run(_keep(server, _added_model_runs(DEPLOYMENT)))
    assert server.changes == [("delete", twin.id) for twin in server.there[1:]]
    server = Server(_added_model_runs(DEPLOYMENT))
    server.there[0].enabled = False
    asyncio.run(_keep(server, _added_model_runs(uuid4())))
    assert server.changes == [("update", server.there[0].id)]
    assert not server.written[0].enabled
