"""Closing engines: all of them, whatever one raises, and only processes that are ours to see."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from types import SimpleNamespace

import psutil
import pytest

from tasks.conf import Model
from tasks.engines.pool import EnginePool, _RayEngine, _Slot
from tasks.engines.processes import Processes


def ended() -> int:
    """Id of a process that has ended."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def test_processes_are_this_one_and_those_below_it() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        mine = Processes.mine()
        assert mine.pids[0] == os.getpid()
        assert child.pid in mine.pids
        assert {child.pid, os.getpid()} <= {p.pid for p in mine.left()}
    finally:
        child.communicate(b"\n")


def test_without_a_view_of_its_machine_an_engine_is_known_by_the_host(monkeypatch) -> None:
    def hidden(*_: object) -> str:
        raise PermissionError("in this sandbox")

    monkeypatch.setattr(os, "readlink", hidden)
    assert Processes.mine().table == socket.gethostname()
    assert os.getpid() in {p.pid for p in Processes.mine().left()}


def test_what_has_ended_is_not_left() -> None:
    gone = Processes(Processes.mine().table, (ended(), os.getpid()))
    assert [p.pid for p in gone.left()] == [os.getpid()]


def test_the_same_number_on_another_machine_is_another_process(monkeypatch) -> None:
    monkeypatch.setattr(psutil, "Process", lambda *_: pytest.fail("it was looked for here"))
    assert Processes("another start pid:[1]", (os.getpid(),)).left() == []


def test_a_process_that_ends_while_it_is_looked_for_keeps_no_engine_open(monkeypatch) -> None:
    """As the worker ends its engine while the pool looks which of its processes are left."""
    mine = Processes.mine()

    def just_ended(pid: int) -> psutil.Process:
        raise psutil.NoSuchProcess(pid)

    killed: list[object] = []
    monkeypatch.setattr("tasks.engines.pool.ray.get", lambda *_, **__: None)
    monkeypatch.setattr("tasks.engines.pool.ray.kill", lambda actor, **_: killed.append(actor))
    monkeypatch.setattr(psutil, "Process", just_ended)
    engine = _RayEngine.__new__(_RayEngine)
    engine._actor = SimpleNamespace(close=SimpleNamespace(remote=lambda: None))
    engine._processes = mine
    engine.close()
    assert killed == [engine._actor]


@pytest.mark.parametrize("fails", [0, 1, 2])
def test_all_engines_are_closed_whatever_one_raises(make_experiment, fails: int) -> None:
    closed: list[int] = []

    def close(number: int) -> None:
        closed.append(number)
        if number == fails:
            raise OSError("this one")

    model = Model("m", "vllm", "org/m")
    pool = EnginePool(model, make_experiment(models=(model,)))
    for number in range(3):
        engine = SimpleNamespace(close=lambda number=number: close(number))
        pool._engines.append(_Slot(engine))
    with pytest.raises(OSError, match="this one"), pool:
        pass
    assert sorted(closed) == [0, 1, 2]
    assert not pool.started
