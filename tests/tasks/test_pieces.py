"""What a person is told of tasks that Ray gave up; no Ray is started."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import ray.exceptions

from tasks.cluster import pieces
from tasks.errors import SentinelError
from tasks.host.workspace import Workspace
from tasks.storage.store import Store

# As Ray spells it.
RETRIES = "RAY_task_oom_retries"

KILLED = """1 worker(s) were killed due to the node running low on memory. Memory on the node (IP: \
192.0.2.2) was 9.29GB used / 23.54GB limit (0.39)
Top 10 memory users: PID MEM(GB) COMMAND
19326 0.81 another program of this machine
"""


@pytest.fixture
def given_up(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Ray as it is when one task was killed for memory too often; collects what is cancelled."""
    cancelled: list[str] = []

    def get(task: str) -> bytes:
        if task == "hungry":
            raise ray.exceptions.OutOfMemoryError(KILLED)
        return b"done"

    monkeypatch.setattr(pieces.ray, "wait", lambda tasks, **_: (tasks[:1], tasks[1:]))
    monkeypatch.setattr(pieces.ray, "get", get)
    monkeypatch.setattr(pieces.ray, "cancel", lambda task, **_: cancelled.append(task))
    return cancelled


def test_memory_that_does_not_suffice_is_told_with_a_remedy(
    given_up: list[str], tmp_path: Path
) -> None:
    store, tasks = Store(str(tmp_path)), {"modest": "a", "hungry": "b", "late": "c"}
    with pytest.raises(SentinelError) as told:
        pieces.compute_pieces(tasks, store, 3, None)
    assert "9.29GB used / 23.54GB limit" in told.value.problem
    assert "another program" not in told.value.problem
    assert "fewer tasks" in told.value.remedy
    assert "more" in told.value.remedy
    assert (tmp_path / "a").read_bytes() == b"done"
    assert "late" in given_up


def test_tries_after_memory_ran_out_are_bounded(tmp_path: Path, monkeypatch) -> None:
    """By a variable that Ray reads in the process that submits; its own default is for ever."""
    monkeypatch.delenv(RETRIES, raising=False)
    Workspace(str(tmp_path), tmp_path).prepare_environment()
    assert int(os.environ[RETRIES]) >= 0
    monkeypatch.setenv(RETRIES, "2")
    Workspace(str(tmp_path), tmp_path).prepare_environment()
    assert os.environ[RETRIES] == "2"
