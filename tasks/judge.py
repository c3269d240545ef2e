"""Verdicts for a whole table of responses, on all cores."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa

from tasks.judging.rules import JUDGE_VERSION, judge
from tasks.judging.symbolic import DEADLINE_S, SymbolicPool
from tasks.records import KEY, Item, Status, Verdict, from_table, to_table

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
    _require(items, (*KEY, "question", "answer", "answer_type"), "items")
    _require(responses, (*KEY, "text", "finish"), "responses")
    _refuse_duplicates(items, "items")
    _refuse_duplicates(responses, "responses")
    by_key = {(item.benchmark, item.item_id): item for item in from_table(items, Item)}
    rows = responses.select([*KEY, "text", "finish"]).to_pylist()
    workers = workers or len(os.sched_getaffinity(0))
    with SymbolicPool(workers, deadline_s) as pool, ThreadPoolExecutor(workers) as threads:

        def verdict(row: dict[str, Any]) -> Verdict:
            item = by_key.get((row["benchmark"], row["item_id"]))
            if item is None:
                reason = "the items table has no such item"
                return Verdict(row["benchmark"], row["item_id"], Status.JUDGE_ERROR.value, None,
                               reason, JUDGE_VERSION)  # fmt: skip
            return judge(item, row["text"], row["finish"], tolerance=tolerance, equivalence=pool)

        try:
            verdicts = _followed(threads.map(verdict, rows), len(rows), progress)
        except BaseException:  # An interrupt drops what is queued instead of judging it first.
            threads.shutdown(wait=False, cancel_futures=True)
            raise
    return to_table(verdicts, Verdict)


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
