"""Garbage is collected by a thread that may wait, and not by the one that others wait for."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

# A thread waits for SQLite's write lock, which the main thread holds; among the garbage is a
# cursor of the thread's connection. Who collects it waits as long as the thread does.
HELD = """
import sqlite3, sys, threading, time, weakref

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
allocated = [[] for _ in range(5000)]
holder.execute("COMMIT")
thread.join()
deadline = time.monotonic() + 30
while left() and time.monotonic() < deadline:
    time.sleep(0.1)
print(*told, "collected" if left() is None else "left", *sys.argv[1:], sep=", ")
"""


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["held", "--port", "7"], "database is locked, collected, --port, 7"),
        (["tasks.host.garbage", "held", "--port", "7"], "written, collected, --port, 7"),
    ],
    ids=["in any thread", "in a thread of its own"],
)
def test_a_cursor_among_the_garbage(tmp_path: Path, words: list[str], told: str) -> None:
    (tmp_path / "held.py").write_text(HELD)
    done = subprocess.run(
        [sys.executable, "-m", *words], cwd=tmp_path, env=os.environ | {"PYTHONPATH": "."},
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.stdout.strip() == told, done.stderr
