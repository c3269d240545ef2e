"""Side by side: several models at once, and no more steps of one than its engine can use."""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any, TypeVar

from prefect.futures import PrefectFuture, as_completed

T = TypeVar("T")

# A signal that comes just before a wait begins is handled only when that wait ends.
_LOOK_S = 1.0


def side_by_side(work: Callable[[T], object], things: Iterable[T], at_once: int) -> None:
    """Call ``work`` on each of ``things``, ``at_once`` of them at a time, and wait for all.

    Each call sees the caller's context, and so belongs to the caller's flow run.

    Raises
    ------
    Exception
        The first one that a call raised, in the order of ``things``, after all calls have ended.
    BaseException
        What interrupts the waiting, as a cancellation does. Calls under way are left to end by
        themselves, so the caller has to take from them what they work with.
    """
    threads = ThreadPoolExecutor(max_workers=at_once)
    try:
        calls = [threads.submit(contextvars.copy_context().run, work, thing) for thing in things]
        while wait(calls, timeout=_LOOK_S).not_done:
            pass
    finally:
        threads.shutdown(wait=False, cancel_futures=True)
    for call in calls:
        call.result()


def completed(
    submit: Callable[[T], PrefectFuture[Any]], things: Iterable[T], at_once: int
) -> Iterator[tuple[T, PrefectFuture[Any]]]:
    """Submit a task for each of ``things``, ``at_once`` in flight; yields them as they end.

    A flow's threads serve first who asks first: a model that submitted all its steps at once would
    keep another model's engine waiting.
    """
    waiting = list(things)
    running: dict[PrefectFuture[Any], T] = {}
    while waiting or running:
        while waiting and len(running) < at_once:
            thing = waiting.pop(0)
            running[submit(thing)] = thing
        done = next(as_completed(list(running)))
        yield running.pop(done), done
