"""Garbage is collected by a thread that may wait, and not by the one that others wait for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

# A thread waits for SQLite's write lock, which the main thread holds; among the garbage is a
# cursor of the thread's connection. Who collects it waits as long as the thread does.
HELD = """
import sqlite3, threading, time, weakref

collect_aside()

class Garbage: pass

def connect():
    return sqlite3.connect("held.db", check_same_thread=False, isolation_level=None, timeout=3)

def write():
    try:
        waiting.execute("BEGIN IMMEDIATE")
        told.append("written")
    except sqlite3.OperationalError as error:
        told.append(str(error))

holder, waiting, told = connect(), connect(), []
holder.execute("PRAGMA journal_mode = WAL")
holder.execute("BEGIN IMMEDIATE")
garbage = Garbage()
garbage.itself, garbage.cursor = garbage, waiting.execute("VALUES (1), (2)")
left = weakref.ref(garbage)
thread = threading.Thread(target=write)
thread.start()
time.sleep(0.5)
del garbage
allocated = [[] for _ in range(200_000)]
holder.execute("COMMIT")
thread.join()
deadline = time.monotonic() + 120
while left() and time.monotonic() < deadline:
    time.sleep(0.1)
print(*told, "collected" if left() is None else "left", sep=", ")
"""


def test_a_cursor_among_the_garbage_is_not_waited_for(tmp_path: Path) -> None:
    """Collected by the main thread it is: then the other is told that the database is locked."""
    done = subprocess.run(
        [sys.executable, "-c", f"from tasks.host.garbage import collect_aside\n{HELD}"],
        cwd=tmp_path, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.stdout.strip() == "written, collected", done.stderr
