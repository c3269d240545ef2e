"""Asks a model judge for what is not stored yet, and stores what it says in small parts."""

from __future__ import annotations

import dataclasses
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from tasks.conf import LlmJudge
from tasks.endpoint import Chat, summary
from tasks.errors import SentinelError
from tasks.judging.llm import ModelJudge
from tasks.judging.prompts import Case
from tasks.records import Judgement, Status, from_table, to_table
from tasks.storage import claims
from tasks.storage.keys import digest
from tasks.storage.store import Artefact

#: Judgements a stored part: what a killed judge may have to ask again, besides what is in flight.
PART_ROWS = 16

_chats: dict[tuple[str, str | None], Chat] = {}
_lock = threading.Lock()


@dataclass(frozen=True)
class Spending:
    """What was asked just now and replied to, and what that cost in the judge's currency."""

    asked: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    cost: float | None = None
    currency: str | None = None

    def __str__(self) -> str:
        """As in ``12 asked of the model, 3400 + 120 tokens, 0.0007 USD``."""
        money = "" if self.cost is None else f", {self.cost:.4f} {self.currency}"
        tokens = f"{self.tokens_in} + {self.tokens_out} tokens"
        return f"{self.asked} asked of the model, {tokens}{money}"


NOTHING = Spending()


@dataclass(frozen=True)
class Asked:
    """Judgements by the digest of their case; ``problem`` is what kept others from being given."""

    judgements: dict[str, Judgement]
    spending: Spending
    problem: SentinelError | None


def ask(
    judge: LlmJudge,
    cases: Sequence[Case],
    stored: Artefact,
    *,
    quiet: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Asked:
    """Judgements on ``cases``: stored ones as they are, the others asked for and stored.

    Runs at once share the cases (:mod:`tasks.storage.claims`), so that none is paid for twice.
    A stored ``judge_error`` for want of a readable reply is taken up again where the judge's
    ``attempts`` have been raised since; its earlier replies count.

    Parameters
    ----------
    stored : Artefact
        Judgements by this judge's settings; grows by parts of :data:`PART_ROWS`.
    quiet : bool
        See :class:`tasks.judging.llm.ModelJudge`.
    progress : callable, optional
        Called with (judged, total).
    """
    known = _Known(stored)

    def missing(among: Sequence[Case]) -> list[Case]:
        waiting = []
        for case in among:
            earlier = known.judgements.get(case.digest)
            if earlier is None or _may_go_on(earlier, judge):
                waiting.append(dataclasses.replace(case, earlier=earlier))
        return waiting

    def settled(name: str) -> bool:
        known.look()
        left[name] = len(missing(chunks[name]))
        return not left[name]

    chunks = dict(_chunks(judge, cases))
    left = {name: count for name, chunk in chunks.items() if (count := len(missing(chunk)))}
    given: list[Judgement] = []
    earlier: dict[str, Judgement] = {}
    problems: list[SentinelError] = []
    model: ModelJudge | None = None
    with claims.Line(list(left), stored, settled) as line:
        while line:
            name = line.take()
            if line.overtaken() and progress:
                progress(len(cases) - sum(left.values()), len(cases))
            if name is None:
                time.sleep(claims.LOOK_S if line else 0)
                continue
            waiting = missing(chunks[name])
            earlier |= {case.digest: case.earlier for case in waiting if case.earlier}
            model = model or ModelJudge(judge, _chat(judge), quiet=quiet)
            unsaved: list[Judgement] = []
            try:
                for outcome in model.each(waiting):
                    if isinstance(outcome, SentinelError):
                        problems.append(outcome)
                        continue
                    given.append(outcome)
                    unsaved.append(outcome)
                    left[name] -= 1
                    if len(unsaved) == PART_ROWS:
                        known.save(unsaved)
                    if progress:
                        progress(len(cases) - sum(left.values()), len(cases))
            finally:  # An interrupt keeps what has been paid for.
                known.save(unsaved)
            line.done(name)
    asked = len(given) + len(problems)
    problem = summary(problems, asked, "responses to be judged")
    return Asked(known.judgements, _spending(judge, earlier, given), problem)


def _chunks(judge: LlmJudge, cases: Sequence[Case]) -> Iterator[tuple[str, Sequence[Case]]]:
    """Cases by the name under which runs share them, whatever of them is stored already.

    Many times what is asked at once, as each chunk waits for its slowest reply.
    """
    size = PART_ROWS * max(1, judge.endpoint.concurrency // 2)
    for start in range(0, len(cases), size):
        chunk = cases[start : start + size]
        yield digest([case.digest for case in chunk]), chunk


def judgements_in(stored: Artefact) -> dict[str, Judgement]:
    """Stored judgements by digest; of several on one case that after the most replies."""
    return _Known(stored).judgements


class _Known:
    """Judgements by digest as they are stored, by this run and by others."""

    def __init__(self, stored: Artefact) -> None:
        self._stored = stored
        self._read: set[str] = set()
        self.judgements: dict[str, Judgement] = {}
        self.look()

    def look(self) -> None:
        """Read the parts that were added since the last look."""
        for name in self._stored.names():
            if name not in self._read:
                part = self._stored.store.read_parquet(f"{self._stored.address}/{name}")
                self._note(name, from_table(part, Judgement))

    def save(self, unsaved: list[Judgement]) -> None:
        """Store judgements as one more part, and empty their list."""
        if unsaved:
            self._note(self._stored.append(to_table(unsaved, Judgement)), unsaved)
            unsaved.clear()

    def _note(self, name: str, judgements: Sequence[Judgement]) -> None:
        self._read.add(name)
        for judgement in judgements:
            other = self.judgements.get(judgement.digest)
            if other is None or other.replies <= judgement.replies:
                self.judgements[judgement.digest] = judgement


def _chat(judge: LlmJudge) -> Chat:
    """The chat of an endpoint, one a process: its limits hold for all jobs judged side by side."""
    endpoint = judge.endpoint
    key = os.environ.get(endpoint.api_key_env) if endpoint.api_key_env else None
    name = (digest([judge.model, dataclasses.asdict(endpoint)]), key)
    with _lock:
        chat = _chats.get(name)
        if chat is None or chat.hopeless:  # What was refused once may have been mended since.
            chat = _chats[name] = Chat(f"judge {judge.name!r}", judge.model, endpoint)
        return chat


def _may_go_on(earlier: Judgement, judge: LlmJudge) -> bool:
    unreadable = earlier.status == Status.JUDGE_ERROR and earlier.replies > 0
    return unreadable and earlier.replies < judge.attempts


def _spending(
    judge: LlmJudge, earlier: Mapping[str, Judgement], given: Sequence[Judgement]
) -> Spending:
    before = [earlier[j.digest] for j in given if j.digest in earlier]
    tokens_in = sum(j.tokens_in for j in given) - sum(j.tokens_in for j in before)
    tokens_out = sum(j.tokens_out for j in given) - sum(j.tokens_out for j in before)
    replied = sum(judgement.replies > 0 for judgement in given)
    if (price := judge.price) is None:
        return Spending(replied, tokens_in, tokens_out)
    cost = price.of(tokens_in, tokens_out)
    return Spending(replied, tokens_in, tokens_out, cost, price.currency)
