"""Prefect's server over SQLite: it does not wait for itself, and tries events again."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from flows.prefect_server import COMMAND

POSTGRES = "postgresql+asyncpg://nobody@127.0.0.1:9/nothing"

# Modules that the launcher runs in place of the server's own.
CHANGED = """
import gc
from prefect.server.events.models import automations
from prefect.server.utilities.messaging.memory import Subscription
print(not gc.isenabled(), automations._notify.__name__, Subscription.retry.__name__)
"""

# An automation is written while a coroutine of the same loop reads them.
AUTOMATION = """
import asyncio
from prefect.server.database import provide_database_interface
from prefect.server.events import triggers
from prefect.server.events.models.automations import automations_session, create_automation
from prefect.server.events.schemas.automations import Automation

MADE = Automation.model_validate({
    "name": "one", "actions": [{"type": "do-nothing"}],
    "trigger": {"type": "event", "posture": "Reactive", "threshold": 1, "expect": ["it"]},
})

async def main():
    await provide_database_interface().create_db()
    async with triggers._automations_lock():
        async with automations_session(begin_transaction=True) as session:
            await create_automation(session, MADE)
    assert await triggers.reconcile_automations()
    print([a.name for a in triggers.automations_by_id.values()])

asyncio.run(main())
"""

# What handles an event fails while another writes, for a tenth of a second.
EVENT = """
import asyncio, time
from prefect.server.utilities.messaging.memory import Consumer, MemoryMessage

async def main():
    consumer, handled = Consumer("events"), asyncio.Event()
    start = time.monotonic()

    async def handle(message):
        if time.monotonic() - start < 0.1:
            raise RuntimeError("database is locked")
        handled.set()

    running = asyncio.create_task(consumer.run(handle))
    await consumer.subscription.deliver(MemoryMessage(data=b"an event", attributes={}))
    lost = consumer.subscription.dead_letter_queue_path
    while not (handled.is_set() or lost.exists()):
        await asyncio.sleep(0.05)
    print("handled" if handled.is_set() else "lost")
    running.cancel()

asyncio.run(main())
"""


def served(folder: Path, code: str, *launcher: str, **more: str) -> str:
    """What a module prints that is run by the launcher, in a folder with names like ours."""
    (folder / "modules").mkdir(exist_ok=True)
    (folder / "modules" / "served.py").write_text(code)
    (folder / "tasks.py").write_text("raise AssertionError('not this one')")
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT")}
    own = {"PREFECT_HOME": str(folder / "home"), "PYTHONPATH": str(folder / "modules")}
    done = subprocess.run(
        [*launcher, "served"], cwd=folder, env=kept | own | more,
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_over_sqlite_it_is_changed_and_over_postgresql_it_is_not(tmp_path: Path) -> None:
    assert served(tmp_path, CHANGED, *COMMAND) == "True _found_within_seconds later"
    other = served(tmp_path, CHANGED, *COMMAND, PREFECT_API_DATABASE_CONNECTION_URL=POSTGRES)
    assert other == "False _notify retry"


def test_an_automation_is_written_while_others_are_read(tmp_path: Path) -> None:
    assert served(tmp_path, AUTOMATION, *COMMAND) == "['one']"


@pytest.mark.parametrize(
    ("launcher", "told"), [((sys.executable, "-m"), "lost"), (COMMAND, "handled")]
)
def test_an_event_that_could_not_be_handled(tmp_path: Path, launcher: tuple, told: str) -> None:
    assert served(tmp_path, EVENT, *launcher) == told
