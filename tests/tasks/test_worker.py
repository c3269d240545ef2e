"""Ending servers and workers: at once, with all they started, also if something does not listen."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tasks.errors import EndpointError
from tasks.host import servers, worker
from tasks.host.servers import end, start
from tasks.host.workspace import Workspace

# A process that has a child and says the child's id; either may be deaf to SIGTERM.
PARENT = """
import os, signal, subprocess, sys, time
deaf, child = sys.argv[1] == "deaf", sys.argv[2]
if deaf:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
code = "import signal, time\\n" + "signal.signal(15, signal.SIG_IGN)\\n" * (child == "deaf")
code += "print(flush=True)\\ntime.sleep(60)"
run = os.environ | {"PREFECT__FLOW_RUN_ID": "the-run"}
started = subprocess.Popen([sys.executable, "-c", code], env=run, stdout=subprocess.PIPE)
started.stdout.readline()
print(started.pid, flush=True)
time.sleep(60)
"""


@pytest.fixture
def family(tmp_path: Path) -> Iterator:
    made = []

    def make(parent: str, child: str) -> tuple[subprocess.Popen, psutil.Process]:
        log = tmp_path / f"{len(made)}.log"
        process = start([sys.executable, "-c", PARENT, parent, child], log, dict(os.environ))
        made.append(process)
        while not log.read_text():
            assert process.poll() is None
            time.sleep(0.02)
        return process, psutil.Process(int(log.read_text()))

    yield make
    for process in made:
        end(process, within=0)


def soon(condition: Callable[[], bool]) -> bool:
    """Whether it comes to hold; signals that were sent take effect when the kernel gets to them."""
    deadline = time.monotonic() + 30
    while not (found := condition()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return found


def gone(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def ended_by(process: psutil.Process) -> int:
    """The signal that ended a process whose parent has not asked for its status yet."""
    after_name = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return int(after_name[-1]) & 0x7F


def test_a_server_that_listens_ends_by_itself_and_an_orphan_of_it_with_it(family) -> None:
    process, child = family("listens", "listens")
    end(process, within=0.5)
    assert process.returncode == -signal.SIGTERM
    # The child was not asked; it is not left behind.
    assert soon(lambda: gone(child))


class Clock:
    """Time that passes only where somebody sleeps."""

    def __init__(self) -> None:
        self.slept = 0.0

    def monotonic(self) -> float:
        return self.slept

    def sleep(self, seconds: float) -> None:
        self.slept += seconds
        time.sleep(seconds / 100)


def test_several_that_do_not_listen_are_killed_after_one_wait(family, monkeypatch) -> None:
    pairs = [family("deaf", "deaf") for _ in range(2)]
    clock = Clock()
    monkeypatch.setattr(servers, "time", clock)
    end(*(process for process, _ in pairs), within=10)
    assert 10 <= clock.slept < 12  # It also waits for what it has killed.
    for process, child in pairs:
        assert process.returncode == -signal.SIGKILL
        assert soon(lambda child=child: gone(child))


@pytest.mark.parametrize("child", ["listens", "deaf"])
def test_the_runs_of_a_worker_end_before_it(family, monkeypatch, child: str) -> None:
    monkeypatch.setattr(worker, "RUN_GRACE_S", 0.5)
    process, run = family("listens", child)
    assert worker._stop_runs(process) == ["the-run"]
    assert soon(lambda: gone(run))
    assert ended_by(run) == (signal.SIGTERM if child == "listens" else signal.SIGKILL)
    # Halted, the worker could start no other run meanwhile; it still hears that it is to end.
    halted = psutil.Process(process.pid)
    assert soon(lambda: halted.status() == psutil.STATUS_STOPPED)
    end(process, within=2)
    assert process.returncode == -signal.SIGTERM


def test_a_run_that_cannot_be_told_of_keeps_none_from_it(family, monkeypatch, tmp_path) -> None:
    process, _ = family("listens", "listens")
    told: list[str] = []

    def refuse(run: str) -> None:
        told.append(run)
        raise EndpointError("the server is away", "wait")

    monkeypatch.setattr(worker, "start", lambda *_: process)
    monkeypatch.setattr(worker, "_stop_runs", lambda _: ["one", "two", "three"])
    with (
        pytest.raises(EndpointError, match="the server is away"),
        worker.worker(Workspace(str(tmp_path), tmp_path), "http://127.0.0.1:9", "pool", 1, refuse),
    ):
        pass
    assert sorted(told) == ["one", "three", "two"]
    assert process.returncode == -signal.SIGTERM


def test_a_worker_that_has_ended_is_told_of(tmp_path: Path) -> None:
    process = start([sys.executable, "-c", "raise SystemExit(7)"], tmp_path / "log", {})
    process.wait()
    with pytest.raises(EndpointError, match="ended with status 7"):
        worker.Worker(process, tmp_path / "log").check()
    assert worker._stop_runs(process) == []
