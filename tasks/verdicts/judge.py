"""Verdicts for a whole table of responses: by rules on all cores, by a model, or by both."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from tasks.conf import ChainJudge, Judge
from tasks.errors import SentinelError
from tasks.judging.asking import Spending, ask
from tasks.judging.chain import decided, quieted, sampled
from tasks.judging.prompts import Case
from tasks.judging.rules import JUDGE_VERSION, judge
from tasks.judging.settings import LLM_VERSION
from tasks.judging.symbolic import DEADLINE_S, SymbolicPool
from tasks.records import KEY, Item, Judgement, Status, Verdict, from_table, to_table
from tasks.storage.store import Artefact

#: Responses between two calls of ``progress``, which may draw on a terminal.
PROGRESS_EVERY = 50

#: Keys named in an error about duplicates.
NAMED_KEYS = 5


def judge_table(
    items: pa.Table,
    responses: pa.Table,
    *,
    tolerance: float | None = None,
    workers: int | None = None,
    deadline_s: float = DEADLINE_S,
    quiet: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> pa.Table:
    """Verdict of the rule judge on each response, in the order of ``responses``.

    Parameters
    ----------
    items
        Table of ``Item`` records; further columns are ignored, items without response too.
    responses
        Table with at least ``benchmark``, ``item_id``, ``text`` and ``finish``.
    tolerance
        Relative tolerance for items without one of their own; ``None`` means exact.
    workers
        SymPy processes, and threads that feed them; ``None`` takes one per core allowed to this
        process. Verdicts do not depend on it.
    deadline_s
        CPU seconds that one comparison of expressions may take before it is killed.
    quiet
        Keep no word of items and answers; for benchmarks whose items must not be shown.
    progress
        Called with (judged, total), from the calling thread.

    Returns
    -------
    pyarrow.Table
        ``Verdict`` records, one a response. A response without its item gives ``judge_error``.

    Raises
    ------
    ValueError
        Missing columns, or keys that occur twice, with what to do about it.
    SymPyUnavailableError
        SymPy's processes cannot be started at all.
    """
    by_key, rows = _checked(items, responses)
    _refuse_duplicates(responses, "responses")
    workers = workers or len(os.sched_getaffinity(0))
    with SymbolicPool(workers, deadline_s) as pool, ThreadPoolExecutor(workers) as threads:

        def verdict(row: dict[str, Any]) -> Verdict:
            item = by_key.get((row["benchmark"], row["item_id"]))
            if item is None:
                return _no_item(row, JUDGE_VERSION)
            found = judge(item, row["text"], row["finish"], tolerance=tolerance, equivalence=pool)
            return quieted(found) if quiet else found

        try:
            verdicts = _followed(threads.map(verdict, rows), len(rows), progress)
        except BaseException:  # An interrupt drops what is queued instead of judging it first.
            threads.shutdown(wait=False, cancel_futures=True)
            raise
    return to_table(verdicts, Verdict)


@dataclass(frozen=True)
class Judged:
    """Verdicts in the responses' order, ``None`` where the endpoint failed, and ``problem`` why.

    ``judgements`` are those of the model, in the same order.
    """

    verdicts: list[Verdict | None]
    judgements: list[Judgement | None]
    spending: Spending
    problem: SentinelError | None = None


def judge_by_model(
    judge: Judge,
    items: pa.Table,
    responses: pa.Table,
    judgements: Artefact,
    *,
    rules: Sequence[Verdict] = (),
    quiet: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Judged:
    """Verdicts of a model judge, or of a chain that ends in one.

    Parameters
    ----------
    judge
        One that asks a model.
    items, responses
        As for :func:`judge_table`, but that keys of responses may recur.
    judgements
        Where the model's judgements are stored; those that are there are not asked for again.
    rules
        A chain needs the rules' verdicts, in the order of ``responses``.
    quiet
        Keep no word of items and replies; for benchmarks whose items must not be shown.
    progress
        Called with (judged, total) of what is put to the model, from the calling thread.

    Raises
    ------
    ValueError
        Missing columns, or items that occur twice.
    """
    if judge.llm is None:
        raise ValueError(f"judge {judge.name!r} asks no model")
    by_key, rows = _checked(items, responses)
    cases = [
        Case(item, row["text"], row["finish"])
        if (item := by_key.get((row["benchmark"], row["item_id"])))
        else None
        for row in rows
    ]
    first: Sequence[Verdict | None] = [None] * len(rows)
    sample: Callable[[Case], bool] = lambda case: True  # noqa: E731
    if isinstance(judge, ChainJudge):
        first = [verdict if decided(verdict) else None for verdict in rules]
        sample = lambda case: sampled(case.item, judge.sample, judge.seed)  # noqa: E731
    wanted = [
        case
        for case, verdict in zip(cases, first, strict=True)
        if case is not None and (verdict is None or sample(case))
    ]
    asked = ask(judge.llm, wanted, judgements, quiet=quiet, progress=progress)
    said = [None if case is None else asked.judgements.get(case.digest) for case in cases]
    verdicts = [
        judgement.verdict if verdict is None and judgement is not None else verdict
        for verdict, judgement in zip(first, said, strict=True)
    ]
    for place, case in enumerate(cases):
        if case is None and verdicts[place] is None:
            verdicts[place] = _no_item(rows[place], LLM_VERSION)
    return Judged(verdicts, said, asked.spending, asked.problem)


def _no_item(key: dict[str, Any], judge: str) -> Verdict:
    reason = "the items table has no such item"
    return Verdict(key["benchmark"], key["item_id"], Status.JUDGE_ERROR.value, None, reason, judge)


def _checked(
    items: pa.Table, responses: pa.Table
) -> tuple[dict[tuple[str, str], Item], list[dict[str, Any]]]:
    """Items by key, and the rows of the responses; bad tables are a :class:`ValueError`."""
    _require(items, (*KEY, "question", "answer", "answer_type"), "items")
    _require(responses, (*KEY, "text", "finish"), "responses")
    _refuse_duplicates(items, "items")
    by_key = {(item.benchmark, item.item_id): item for item in from_table(items, Item)}
    return by_key, responses.select([*KEY, "text", "finish"]).to_pylist()


def _followed(
    verdicts: Iterable[Verdict], total: int, progress: Callable[[int, int], None] | None
) -> list[Verdict]:
    done: list[Verdict] = []
    for verdict in verdicts:
        done.append(verdict)
        if progress and (len(done) % PROGRESS_EVERY == 0 or len(done) == total):
            progress(len(done), total)
    return done


def _require(table: pa.Table, columns: tuple[str, ...], name: str) -> None:
    missing = [column for column in columns if column not in table.column_names]
    if missing == ["text"]:
        raise ValueError(
            "responses have no column 'text', so there is nothing to judge; generate with "
            "store_text: true, or bring your own labels"
        )
    if missing:
        raise ValueError(
            f"{name} lack the column(s) {', '.join(missing)}; they have "
            f"{', '.join(table.column_names) or 'none'}. Rename or add them"
        )


def _refuse_duplicates(table: pa.Table, name: str) -> None:
    keys = zip(*(table.column(column).to_pylist() for column in KEY), strict=True)
    twice = [f"{b}/{i}" for (b, i), n in Counter(keys).items() if n > 1]
    if twice:
        shown = ", ".join(twice[:NAMED_KEYS]) + (", ..." if len(twice) > NAMED_KEYS else "")
        raise ValueError(
            f"{name} hold {len(twice)} key(s) more than once: {shown}. Keep one row for each "
            "benchmark and item_id"
        )
