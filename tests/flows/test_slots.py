"""Slots: what a job did is worth more than a slot that cannot be given back."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from flows import slots


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that gives a slot, and is away when it is to be given back."""

    @contextmanager
    def concurrency(*_: object, **__: object) -> Iterator[None]:
        yield
        raise httpx.ConnectError("refused")

    monkeypatch.setattr(slots, "concurrency", concurrency)
    monkeypatch.setattr(slots, "_is_set", lambda _: True)
    monkeypatch.setattr(slots, "get_run_logger", lambda: logging.getLogger("tasks.test"))


def test_a_job_outlives_the_return_of_its_slot(away: None, caplog) -> None:
    done = []
    with slots.slot("jobs", needed=True):
        done.append("the job")
    assert done == ["the job"]
    assert "jobs: the server was not told that a slot is free" in caplog.text


def test_an_error_of_the_job_is_its_own(away: None) -> None:
    with pytest.raises(KeyError), slots.slot("jobs", needed=True):
        raise KeyError
