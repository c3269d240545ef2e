"""How long a run's heartbeats may stay out before it is taken for lost; no server is started."""

from __future__ import annotations

import pytest

from flows.lost import lost_runs
from tasks.errors import SentinelError
from tasks.host.workspace import FAULTS

# A server is restarted, or upgraded with its database, in less.
LONGEST_RESTART_S = 600


def silence_s() -> float:
    within: float = lost_runs({"experiment"}).trigger.within.total_seconds()
    return within


def test_a_restart_of_the_server_is_not_the_loss_of_all_runs(monkeypatch) -> None:
    monkeypatch.delenv("SENTINEL_LOST_AFTER_S", raising=False)
    assert silence_s() >= LONGEST_RESTART_S + int(FAULTS["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"])
    assert silence_s() == 900


def test_the_time_can_be_set(monkeypatch) -> None:
    monkeypatch.setenv("SENTINEL_LOST_AFTER_S", "150")
    assert silence_s() == 150


@pytest.mark.parametrize("said", ["0", "-1", "59", "soon", "nan", "inf", "1e300"])
def test_a_time_that_would_end_live_runs_is_refused(monkeypatch, said: str) -> None:
    monkeypatch.setenv("SENTINEL_LOST_AFTER_S", said)
    with pytest.raises(SentinelError, match="SENTINEL_LOST_AFTER_S is"):
        lost_runs({"experiment"})
