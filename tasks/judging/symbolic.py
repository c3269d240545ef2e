"""Equivalence of two expressions, decided by SymPy in processes that can be killed.

SymPy and math-verify may run for ever or take all memory on short inputs, and math-verify's own
timeout needs SIGALRM in the main thread. Here each comparison runs in a child process under a
CPU limit that the child's kernel enforces; the pool replaces a child that hit it and goes on.
"""

from __future__ import annotations

import contextlib
import enum
import os
import queue
import subprocess
import sys
import threading
import weakref
from multiprocessing.connection import Pipe
from typing import Any, NamedTuple, Protocol

from tasks.judging.guard import objection
from tasks.judging.markup import as_latex

#: CPU seconds for one comparison. Nearly all take milliseconds; of those that take 5 s few end.
DEADLINE_S = 5.0

#: Wall-clock limit as a multiple of the CPU limit: verdicts must not depend on how busy the
#: machine is, but a child that sleeps or is starved must not hold the job for ever either.
WALL_FACTOR = 12.0

#: Importing SymPy on a loaded machine with a cold disk.
START_S = 120.0


class SymPyUnavailableError(RuntimeError):
    """No SymPy process can be started here; the message ends with its last words."""


class Outcome(enum.StrEnum):
    """Answer to "is this expression equal to the reference?"."""

    EQUAL = "equal"
    DIFFERENT = "different"
    TIMEOUT = "timeout"
    GOLD_UNPARSABLE = "gold_unparsable"
    ANSWER_UNPARSABLE = "answer_unparsable"


class Opinion(NamedTuple):
    """An outcome and the reason in words."""

    outcome: Outcome
    reason: str


class Equivalence(Protocol):
    """Anything that can compare a reference (first) with an answer (second), both as written."""

    def __call__(self, gold: str, answer: str, tolerance: float | None) -> Opinion:
        """Opinion on ``answer``; ``tolerance`` is relative and applies to constants only."""
        ...


class SymbolicPool:
    """A fixed number of SymPy processes, usable from any thread.

    Processes start on first use. A context manager; ``close`` or garbage collection or the end of
    the interpreter kills them, and a child whose parent was killed ends by itself: at once if it
    is idle (end of file on its pipe), at its CPU limit if it is computing.

    Parameters
    ----------
    workers
        Processes at most; as many comparisons run at the same time.
    deadline_s
        CPU seconds per comparison. A comparison that is killed gives ``Outcome.TIMEOUT``.
    """

    def __init__(self, workers: int = 1, deadline_s: float = DEADLINE_S) -> None:
        if workers < 1:
            raise ValueError(f"workers must be at least 1, not {workers}")
        if not deadline_s > 0:
            raise ValueError(f"deadline_s must be positive, not {deadline_s}")
        self.deadline_s = deadline_s
        self.kills = 0
        self._slots: queue.LifoQueue[_Child | None] = queue.LifoQueue()
        for _ in range(workers):
            self._slots.put(None)
        self._living: set[_Child] = set()
        self._lock = threading.Lock()
        self._finalizer = weakref.finalize(self, _kill_all, self._living)

    def __enter__(self) -> SymbolicPool:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Kill all children; a comparison still running in another thread ends as a timeout."""
        self._finalizer()

    def __call__(self, gold: str, answer: str, tolerance: float | None = None) -> Opinion:
        """Compare; see ``Equivalence``. Waits for a free process."""
        gold, answer = as_latex(gold), as_latex(answer)
        if reason := objection(gold):
            return Opinion(Outcome.GOLD_UNPARSABLE, f"reference not evaluated: {reason}")
        if reason := objection(answer):
            return Opinion(Outcome.TIMEOUT, f"answer not evaluated: {reason}")
        child = self._slots.get()
        try:
            if child is None or not child.alive:
                child = self._start()
            reply = child.ask((gold, answer, tolerance), self.deadline_s * WALL_FACTOR)
            if reply is None:
                self._discard(child)
                return Opinion(Outcome.TIMEOUT, f"no result within {self.deadline_s:g} CPU seconds")
            return Opinion(Outcome(reply[0]), reply[1])
        finally:
            self._slots.put(child)

    def _start(self) -> _Child:
        if not self._finalizer.alive:
            raise RuntimeError("the pool of SymPy processes is closed")
        child = _Child(self.deadline_s)
        with self._lock:
            self._living.add(child)
        return child

    def _discard(self, child: _Child) -> None:
        child.kill()
        with self._lock:
            self._living.discard(child)
            self.kills += 1


class _Child:
    """One SymPy process and the pipe to it.

    A plain subprocess, not ``multiprocessing``: that would import the caller's main module again
    (Ray's worker script, a user's unguarded script) and forbids children of daemonic processes.
    """

    def __init__(self, deadline_s: float) -> None:
        self._pipe, theirs = Pipe()
        path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
        self._process = subprocess.Popen(  # noqa: S603 (our own module)
            [sys.executable, "-m", "tasks.judging.sympy_child", str(theirs.fileno()),
             str(deadline_s)],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
            start_new_session=True,  # Ctrl-C is for the parent, which then kills us.
        )  # fmt: skip
        theirs.close()
        if self._receive(START_S) != "ready":
            self.kill()
            raise SymPyUnavailableError(f"a SymPy process did not start: {self._last_words()}")

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    @property
    def pid(self) -> int:
        return self._process.pid

    def ask(self, question: tuple[str, str, float | None], wait_s: float) -> Any | None:
        """The child's reply, or ``None`` if it died or ran out of time."""
        try:
            self._pipe.send(question)
        except OSError:
            return None
        return self._receive(wait_s)

    def _receive(self, wait_s: float) -> Any | None:
        try:
            return self._pipe.recv() if self._pipe.poll(wait_s) else None
        except (EOFError, OSError):
            return None

    def _last_words(self) -> str:
        words = self._process.stderr.read() if self._process.stderr else b""
        return words.decode(errors="replace").strip()[-500:] or "no message"

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        with contextlib.suppress(OSError):
            self._pipe.close()


def _kill_all(children: set[_Child]) -> None:
    for child in list(children):
        child.kill()
    children.clear()
