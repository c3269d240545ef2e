"""The line of batches that a job has to answer, shared with other runs of the same experiment.

A run claims a batch before it asks, so that another run takes a different one. A claim is a hint
and no lock: rows are right without it. It names no time, as clocks of machines differ, and so it
never expires: one that a killed run left behind only puts its batch at the end of the line.
"""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Sequence

from tasks.engines.contract import Prompt
from tasks.errors import SentinelError
from tasks.storage.store import Artefact, part_name

Prompts = list[Prompt]

# How long a run that was heard of may say nothing at the least. Batches of short answers take
# less time than a store or a machine that others use may take for one write.
_PATIENCE_S = 10.0


class Line:
    """Batches that wait to be answered, in their order.

    Parameters
    ----------
    batches : sequence
        Each is stored as one part of ``responses``.
    """

    def __init__(self, batches: Sequence[Prompts], responses: Artefact) -> None:
        self._waiting = list(batches)
        self._responses = responses
        self._me = uuid.uuid4().hex.encode()
        self._in_hand: dict[str, float] = {}
        self._longest_s = 0.0
        self._heard = float("-inf")
        self._seen = self._claims()
        self._overtaken = False

    def __bool__(self) -> bool:
        """Whether any batch waits."""
        return bool(self._waiting)

    def take(self, *, idle: bool) -> Prompts | None:
        """The next batch that nobody has stored or claimed.

        Where others have claimed all that is left, the first of it if this run is ``idle`` and
        has no reason to think that they are still at it, else ``None``.
        """
        for batch in list(self._waiting):
            mine = self._claim(batch)
            # In this order: what is stored is given back only afterwards.
            if self._responses.holds(_keys(batch)):
                self._waiting.remove(batch)
                self._overtaken, self._heard = True, time.monotonic()
                if mine:
                    self._release(self._path(batch))
            elif mine:
                return self._out(batch)
            elif (path := self._path(batch)) not in self._seen:
                self._seen.add(path)
                self._heard = time.monotonic()
        # Another run that claimed or stored something lately will store what it has in hand in
        # about the time that a batch takes here; a killed one never will, and did neither while
        # this one ran.
        silence = time.monotonic() - self._heard
        alive = silence < max(2 * self._longest_s, _PATIENCE_S)
        return self._out(self._waiting[0]) if idle and self._waiting and not alive else None

    def overtaken(self) -> bool:
        """Whether another run has stored batches of this line since the last call."""
        found, self._overtaken = self._overtaken, False
        return found

    def done(self, batch: Prompts) -> None:
        """Give back a batch that was stored, or could not be answered."""
        path = self._path(batch)
        self._longest_s = max(self._longest_s, time.monotonic() - self._in_hand.pop(path))
        self._release(path)

    def close(self) -> None:
        """Give back all that is in hand."""
        for path in self._in_hand:
            self._release(path)

    def _out(self, batch: Prompts) -> Prompts:
        self._waiting.remove(batch)
        self._in_hand[self._path(batch)] = time.monotonic()
        return batch

    def _claims(self) -> set[str]:
        """Claims that are there before this run has made any; a killed run's are among them."""
        try:
            return set(self._responses.store.list(self._responses.address))
        except SentinelError:  # The store fails; writing the answers will tell how.
            return set()

    def _claim(self, batch: Prompts) -> bool:
        store, path = self._responses.store, self._path(batch)
        try:
            store.write_bytes(path, self._me, once=True)
            return store.read_bytes(path) == self._me
        except FileNotFoundError:  # Given back in between: it is stored by now.
            return False
        except SentinelError:  # The store fails; writing the answers will tell how.
            return True

    def _release(self, path: str) -> None:
        with contextlib.suppress(SentinelError):
            self._responses.store.delete(path)

    def _path(self, batch: Prompts) -> str:
        return f"{self._responses.address}/claim-{part_name(_keys(batch))}.txt"


def _keys(batch: Prompts) -> list[tuple[str, str]]:
    return [(prompt.benchmark, prompt.item_id) for prompt in batch]
