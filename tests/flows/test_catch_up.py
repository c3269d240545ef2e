"""The nightly flow goes on with the next experiment whatever one of them fails with."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import pytest

from flows import catch_up as module
from tasks.errors import EndpointError, SentinelError

PATHS = ("conf/experiments/a.yaml", "conf/experiments/b.yaml", "conf/experiments/c.yaml")


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Each experiment lacks one job; returns those that are run. No server is asked."""
    found: list[str] = []
    planned = SimpleNamespace(steps=["one"], jobs=["m / b"], models=["m"], problems={})
    monkeypatch.setattr(module, "get_run_logger", lambda: logging.getLogger("nightly"))
    monkeypatch.setattr(module, "load_questions", lambda _: None)
    monkeypatch.setattr(module, "show_plan", lambda _: None)
    monkeypatch.setattr(module, "plan", lambda *_: planned)
    monkeypatch.setattr(
        module, "request", lambda path: SimpleNamespace(experiment=SimpleNamespace(name=path[-6]))
    )
    monkeypatch.setattr(module, "experiment", lambda path, models: found.append(path))
    return found


def test_all_that_lack_something_are_run(ran: list[str]) -> None:
    assert module.catch_up.fn(PATHS) == ["a: m / b", "b: m / b", "c: m / b"]
    assert tuple(ran) == PATHS


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (EndpointError("no server", "start it"), EndpointError),
        (ZeroDivisionError("a mistake of ours"), SentinelError),
    ],
)
def test_the_others_run_whatever_one_fails_with(
    ran: list[str], monkeypatch, caplog, error: Exception, kind: type[SentinelError]
) -> None:
    def experiment(path: str, models: tuple[str, ...]) -> None:
        if path == PATHS[1]:
            raise error
        ran.append(path)

    monkeypatch.setattr(module, "experiment", experiment)
    with pytest.raises(kind, match=r"experiments/b.yaml: .*(no server|a mistake of ours)"):
        module.catch_up.fn(PATHS)
    assert ran == [PATHS[0], PATHS[2]]
    traced = [record for record in caplog.records if record.exc_info]
    assert len(traced) == (kind is SentinelError)


def test_a_cancelled_one_runs_no_more(ran: list[str], monkeypatch) -> None:
    class Cancelled(BaseException):
        """As Prefect's signals are."""

    def experiment(path: str, models: tuple[str, ...]) -> None:
        ran.append(path)
        raise Cancelled

    monkeypatch.setattr(module, "experiment", experiment)
    with pytest.raises(Cancelled):
        module.catch_up.fn(PATHS)
    assert ran == [PATHS[0]]
