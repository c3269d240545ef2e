"""Models side by side, and an interrupt that does not wait for them."""

import signal
import threading
import time

import pytest

from flows import side_by_side as module
from flows.side_by_side import side_by_side


def test_all_are_done_and_the_first_error_is_raised_after_all_have_ended() -> None:
    done = []

    def work(number: int) -> None:
        if number == 1:
            raise ValueError(number)
        time.sleep(0.05 * number)
        done.append(number)

    with pytest.raises(ValueError, match="1"):
        side_by_side(work, [3, 1, 2], at_once=3)
    assert sorted(done) == [2, 3]


def test_an_interrupt_leaves_at_once_what_is_under_way_and_starts_nothing_more(monkeypatch) -> None:
    waits, let_go, started, ended = threading.Event(), threading.Event(), {}, []
    wait = module.wait

    def told(calls: list, timeout: float) -> object:
        waits.set()
        return wait(calls, timeout)

    def work(number: int) -> None:
        started[number] = threading.current_thread()
        if number == 0:
            waits.wait(60)
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
            let_go.wait(60)
        ended.append(number)

    monkeypatch.setattr(module, "wait", told)
    # A shell that starts the tests in the background has Python ignore interrupts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            side_by_side(work, range(3), at_once=1)
        assert ended == []
    finally:
        let_go.set()
    started[0].join(60)
    assert ended == list(started) == [0]
