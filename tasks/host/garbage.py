"""Garbage collected by a thread of its own, for servers whose event loop must not wait.

Prefect's server over SQLite is one. A statement that failed because the database was locked leaves
its cursor in a cycle with its traceback, for Python's collector to find. Clearing that cursor
waits for the mutex of its connection, and a thread that itself waits for the database's write lock
holds that for up to a minute. The collector runs in whichever thread allocates. Where that is the
one of the event loop, the coroutine that has the write lock cannot go on either: all requests
stood still until the minute was over, several times in two minutes of 8 busy clients. A thread
that does nothing else may wait.

SQLAlchemy closes such cursors from 2.1 on; Prefect 3.7's scheduler needs 2.0.
"""

from __future__ import annotations

import gc
import threading
import time

_EVERY_S = 1.0
#: What survived a round is looked through in every tenth: a server's takes a tenth of a second.
_YOUNG_ROUNDS = 10


def collect_aside() -> None:
    """Stop the collection of garbage by all other threads, and start one that does it."""
    gc.disable()
    threading.Thread(target=_collect, name="garbage", daemon=True).start()


def _collect() -> None:
    while True:
        for _ in range(_YOUNG_ROUNDS):
            time.sleep(_EVERY_S)
            gc.collect(1)
        gc.collect()
