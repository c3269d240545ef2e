"""Asks a model judge for what is not stored yet, and stores what it says in small parts."""

from __future__ import annotations

import dataclasses
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from tasks.conf import LlmJudge
from tasks.endpoint import Chat, summary
from tasks.errors import SentinelError
from tasks.judging.llm import ModelJudge
from tasks.judging.prompts import Case
from tasks.records import Judgement, Status, from_table, to_table
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
    known = judgements_in(stored)
    missing = []
    for case in cases:
        earlier = known.get(case.digest)
        if earlier is None or _may_go_on(earlier, judge):
            missing.append(dataclasses.replace(case, earlier=earlier))
    given: list[Judgement] = []
    problems: list[SentinelError] = []
    unsaved: list[Judgement] = []
    try:
        for outcome in _judgements(judge, missing, quiet):
            if isinstance(outcome, SentinelError):
                problems.append(outcome)
                continue
            given.append(outcome)
            unsaved.append(outcome)
            if len(unsaved) == PART_ROWS:
                _save(unsaved, stored)
            if progress:
                progress(len(cases) - len(missing) + len(given), len(cases))
    finally:  # An interrupt keeps what has been paid for.
        _save(unsaved, stored)
    spending = _spending(judge, known, given)
    known |= {judgement.digest: judgement for judgement in given}
    return Asked(known, spending, summary(problems, len(missing), "responses to be judged"))


def judgements_in(stored: Artefact) -> dict[str, Judgement]:
    """Stored judgements by digest; of several on one case that after the most replies."""
    found: dict[str, Judgement] = {}
    for part in stored.parts():
        for judgement in from_table(stored.store.read_parquet(part), Judgement):
            other = found.get(judgement.digest)
            if other is None or other.replies <= judgement.replies:
                found[judgement.digest] = judgement
    return found


def _judgements(
    judge: LlmJudge, missing: Sequence[Case], quiet: bool
) -> Iterator[Judgement | SentinelError]:
    if not missing:  # A judge that has nothing to do needs no key.
        return iter(())
    return ModelJudge(judge, _chat(judge), quiet=quiet).each(missing)


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


def _save(unsaved: list[Judgement], stored: Artefact) -> None:
    if unsaved:
        stored.append(to_table(unsaved, Judgement))
        unsaved.clear()


def _spending(
    judge: LlmJudge, known: Mapping[str, Judgement], given: Sequence[Judgement]
) -> Spending:
    before = [known[j.digest] for j in given if j.digest in known]
    tokens_in = sum(j.tokens_in for j in given) - sum(j.tokens_in for j in before)
    tokens_out = sum(j.tokens_out for j in given) - sum(j.tokens_out for j in before)
    replied = sum(judgement.replies > 0 for judgement in given)
    if (price := judge.price) is None:
        return Spending(replied, tokens_in, tokens_out)
    cost = price.of(tokens_in, tokens_out)
    return Spending(replied, tokens_in, tokens_out, cost, price.currency)
