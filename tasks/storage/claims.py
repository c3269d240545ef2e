"""What runs under way at once share: what one of them has in hand, the others leave to it.

A run claims a batch before it asks, by a small file beside what it will store. A claim is a hint
and no lock: rows are right without it, and a store that fails here fails nobody.

It names no time, as clocks of machines differ. Its holder writes another number into it every
:data:`HEARTBEAT_S` seconds for as long as it is at work, however long that takes; a claim that does
not change for :data:`PATIENCE_S` seconds, by the clock of the one who looks, is that of a killed
run. Claims are watched from the start: what killed runs had in hand is answered last, and where
nothing else is left to do meanwhile, a rerun waits for it one patience in all.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from tasks.errors import SentinelError
from tasks.storage.store import Artefact

_log = logging.getLogger(__name__)

#: Between two signs of life: one small write for each batch in hand.
HEARTBEAT_S = 5.0

#: Without a sign of life a run counts as killed. Several heartbeats, as a write may take seconds on
#: a machine or a store that others use, and a batch that is asked twice may cost money.
PATIENCE_S = 20.0

#: Between two looks whether others have stored, or given back, what they had in hand.
LOOK_S = 0.5


@dataclass(frozen=True)
class _Seen:
    """What another run's claim said (``None``: it could not be read), and since when it does."""

    content: bytes | None
    since: float


class Line:
    """Batches that wait to be worked on, in their order. Use as a context manager.

    Parameters
    ----------
    names : iterable of str
        Of the batches; runs that have the same batch must give it the same name.
    artefact : Artefact
        Where the batches are stored; claims lie beside its parts.
    stored : callable
        Whether the batch of a name is stored; called from the thread that takes.
    working : callable, optional
        Whether the work goes on, and does not wait for something that another run may hold, such
        as a GPU: it would wait for us in turn. Called from a thread of the line's own, which
        gives signs of life only then, inside the context.
    """

    def __init__(
        self,
        names: Iterable[str],
        artefact: Artefact,
        stored: Callable[[str], bool],
        working: Callable[[], bool] = lambda: True,
    ) -> None:
        self._waiting = list(names)
        self._artefact, self._stored, self._working = artefact, stored, working
        self._me = uuid.uuid4().hex
        self._beats = 0
        # Names in hand; held while their claims are written, which must not follow their deletion.
        self._in_hand: set[str] = set()
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._overtaken = self._told = False
        self._others: dict[str, _Seen] = {}
        if self._waiting:
            self._look_around()

    def __bool__(self) -> bool:
        """Whether any batch waits."""
        return bool(self._waiting)

    def __enter__(self) -> Self:
        if self._waiting:
            # Ends with the process: nothing but a process that lives may look alive.
            threading.Thread(target=self._keep_beating, name="claims", daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give back all that is in hand."""
        self._over.set()
        for name in list(self._in_hand):
            self.done(name)

    def take(self) -> str | None:
        """The next batch that is neither stored nor in another run's hands.

        ``None`` where others are at work on all that is left, or may be: look again after a while.
        """
        # What others had in hand at the last look comes last.
        for name in sorted(self._waiting, key=self._others.__contains__):
            if name in self._others and not self._is_free(name):
                continue
            if not self._claim(name):
                continue
            # In this order: what is stored is given back only afterwards.
            self._waiting.remove(name)
            if not self._is_stored(name):
                with self._lock:
                    self._in_hand.add(name)
                return name
            self._overtaken = True
            self._release(name)
        if self._waiting and not self._in_hand and not self._told:
            self._told = True
            _log.info(
                "%s: another run has the last %d batch(es) in hand; they are taken over where it "
                "gives no sign of life for %g s",
                self._artefact.address,
                len(self._waiting),
                PATIENCE_S,
            )
        return None

    def overtaken(self) -> bool:
        """Whether another run has stored batches of this line since the last call."""
        found, self._overtaken = self._overtaken, False
        return found

    def done(self, name: str) -> None:
        """Give back a batch that was stored, or could not be answered."""
        with self._lock:
            self._in_hand.remove(name)
        self._release(name)

    def beat(self) -> None:
        """Give a sign of life for all that is in hand."""
        with self._lock:
            self._beats += 1
            for name in self._in_hand:
                with contextlib.suppress(SentinelError):
                    self._artefact.store.write_bytes(self._path(name), self._sign())

    def _keep_beating(self) -> None:
        while not self._over.wait(HEARTBEAT_S):
            if self._working():
                self.beat()

    def _look_around(self) -> None:
        """Note the claims that are there, so that those of killed runs grow old from now on."""
        try:
            there = set(self._artefact.store.list(self._artefact.address))
        except SentinelError:  # The store fails; writing what was asked will tell how.
            return
        for name in self._waiting:
            if self._path(name) in there:
                self._is_free(name)

    def _is_free(self, name: str) -> bool:
        """Whether another run's claim is gone, or has said the same for a patience."""
        try:
            content = self._artefact.store.read_bytes(self._path(name))
        except FileNotFoundError:
            self._others.pop(name, None)
            return True
        except SentinelError:  # A store that stays silent for long keeps nobody waiting either.
            content = None
        return self._unchanged_s(name, content) >= PATIENCE_S

    def _unchanged_s(self, name: str, content: bytes | None) -> float:
        """Seconds for which another run's claim was seen to say just this."""
        now = time.monotonic()
        seen = self._others.get(name)
        if seen is None or seen.content != content:
            seen = self._others[name] = _Seen(content, now)
        return now - seen.since

    def _claim(self, name: str) -> bool:
        """Put our claim where there is none, or where a killed run's is."""
        store, path = self._artefact.store, self._path(name)
        try:
            store.write_bytes(path, self._sign(), once=name not in self._others)
            content = store.read_bytes(path)
        except FileNotFoundError:  # Given back in between: it is stored by now.
            return False
        except SentinelError:  # The store fails; writing what was asked will tell how.
            return True
        if content.startswith(self._me.encode()):
            self._others.pop(name, None)
            return True
        self._unchanged_s(name, content)
        return False

    def _is_stored(self, name: str) -> bool:
        try:
            return self._stored(name)
        except SentinelError:  # To ask again is the lesser harm: others' answers are under way.
            return False

    def _release(self, name: str) -> None:
        with contextlib.suppress(SentinelError):
            self._artefact.store.delete(self._path(name))

    def _sign(self) -> bytes:
        return f"{self._me} {self._beats}".encode()

    def _path(self, name: str) -> str:
        return f"{self._artefact.address}/claim-{name}.txt"
