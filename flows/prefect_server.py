"""Prefect's server as one host needs it: ``python -m flows.prefect_server MODULE WORDS``.

Runs a module that serves Prefect's API, with three things changed where the database is SQLite, for
which Prefect 3.7 has no settings: it could stand still for a minute, or for ever, and lose events.
Over PostgreSQL it does not, and the server is left as it is.
"""

from __future__ import annotations

import asyncio
import runpy
import sys
from typing import Any

#: Words before those of Prefect's server; the folder that a person works in is not looked into
#: for modules, which could hide ours.
COMMAND = (sys.executable, "-P", "-m", "flows.prefect_server")

#: Seconds before the first retry of an event, doubled for each of the next two.
PAUSE_S = 0.5


def prepare() -> None:
    """Change what this process will serve, if its database is SQLite."""
    from prefect.server.events.models import automations
    from prefect.server.utilities.database import get_dialect
    from prefect.server.utilities.messaging.memory import Subscription
    from prefect.settings import get_current_settings

    from tasks.host.garbage import collect_aside

    url = get_current_settings().server.database.connection_url
    if url is not None and get_dialect(url.get_secret_value()).name != "sqlite":
        return
    collect_aside()
    automations._notify = _found_within_seconds  # type: ignore[assignment]
    _retry_later(Subscription)


async def _found_within_seconds(*_: object) -> None:
    """Instead of telling the server's triggers at once that an automation has changed.

    For that the event loop waits for a lock that one of its own coroutines may hold: the server
    stands still for ever (Prefect issue 23055). It looks for changes every five seconds anyway.
    """


def _retry_later(subscription: Any) -> None:
    """Let an event whose handling failed be tried again after a pause.

    SQLite refuses a transaction that has read and is to write while another one writes. Three
    retries at once fail in the same few milliseconds, and an added model would start no run.
    """
    retry = subscription.retry

    async def later(self: Any, message: Any) -> None:
        await asyncio.sleep(PAUSE_S * 2**message.retry_count)
        await retry(self, message)

    subscription.retry = later


if __name__ == "__main__":
    prepare()
    del sys.argv[0]  # The module is to find its own name there, and what follows it.
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
