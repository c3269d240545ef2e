"""Progress of a step: what reaches the server, and that a server that is away ends no work."""

import logging
from types import SimpleNamespace

import httpx
import pytest
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES

from flows import progress
from flows.progress import Progress


@pytest.fixture
def shown(monkeypatch) -> list[float]:
    """Percentages that reached the server, at a moment that does not pass."""
    reached: list[float] = []
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: 1000.0))
    monkeypatch.setattr(progress, "get_run_logger", lambda: logging.getLogger("tasks.test"))
    monkeypatch.setattr(progress, "create_progress_artifact", lambda *_, **__: "bar")
    monkeypatch.setattr(progress, "update_progress_artifact", lambda _, p: reached.append(p))
    return reached


def test_calls_in_quick_succession_are_one_and_the_end_is_full(shown) -> None:
    with Progress("work") as report:
        for done in range(1, 5):
            report(done, 8)
    assert shown == [12.5, 100.0]


def test_calls_that_are_seconds_apart_are_all_shown(shown, monkeypatch) -> None:
    with Progress("work") as report:
        for done in range(1, 3):
            now = SimpleNamespace(monotonic=lambda done=done: 2000.0 + 2 * done)
            monkeypatch.setattr(progress, "time", now)
            report(done, 8)
    assert shown == [12.5, 25.0, 100.0]


def test_work_that_failed_leaves_the_bar_where_it_was(shown) -> None:
    def fail_half_way() -> None:
        with Progress("work") as report:
            report(1, 2)
            raise KeyError

    with pytest.raises(KeyError):
        fail_half_way()
    assert shown == [50.0]


def test_a_server_that_is_away_ends_no_work(shown, monkeypatch, caplog) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise httpx.ConnectError("refused")

    monkeypatch.setattr(progress, "create_progress_artifact", refuse)
    with Progress("work") as report:
        report(1, 2)
    assert "takes no progress now: refused" in caplog.text
    caplog.clear()
    monkeypatch.setattr(progress, "create_progress_artifact", lambda *_, **__: "bar")
    monkeypatch.setattr(progress, "update_progress_artifact", refuse)
    with Progress("work") as report:
        report(1, 2)
    assert "takes no progress now: refused" in caplog.text


def test_a_silent_server_is_left_alone_for_two_minutes(shown, monkeypatch, caplog) -> None:
    clock, tries = [5000.0], []
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: clock[0]))

    def say_nothing(*_: object) -> None:
        tries.append(clock[0])
        clock[0] += 60.0
        raise httpx.ReadTimeout("silence")

    monkeypatch.setattr(progress, "update_progress_artifact", say_nothing)
    caplog.set_level(logging.INFO)
    with Progress("work") as report:
        for done in range(40):
            report(done, 40)
            clock[0] += 5.0
        assert tries == [5000.0, 5000.0 + 60 + 120]
    assert "work: 39 of 40" in caplog.text


def test_a_bar_is_not_waited_for(shown, monkeypatch) -> None:
    tries: list[int] = []

    def count(*_: object) -> None:
        tries.append(PREFECT_CLIENT_MAX_RETRIES.value())

    monkeypatch.setattr(progress, "update_progress_artifact", count)
    with Progress("work") as report:
        report(1, 2)
    assert tries == [0, 0]
