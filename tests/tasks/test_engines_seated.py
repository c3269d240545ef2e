"""Whether a pool has the room it needs: only then do other runs wait for what it has in hand."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import ray.exceptions

from tasks.conf import Endpoint, Model, Resources
from tasks.engines.pool import EnginePool, _RayEngine, _Slot


@pytest.fixture
def pool(make_experiment) -> EnginePool:
    """A pool of two engines that were asked for; a node has to take them in."""
    model = Model("m", "vllm", "org/m", resources=Resources(replicas=2))
    made = EnginePool(model, make_experiment(models=(model,)))
    for name in ("first", "second"):
        engine = _RayEngine.__new__(_RayEngine)
        engine._placed = SimpleNamespace(name=name)
        made._engines.append(_Slot(engine))
    return made


@pytest.mark.parametrize("placed", [(), ("first",), ("second",), ("first", "second")])
def test_one_engine_that_a_node_took_in_is_enough(pool, monkeypatch, placed) -> None:
    def wait(refs: list, timeout: float) -> tuple[list, list]:
        assert timeout == 0  # Signs of life do not wait for it.
        return [r for r in refs if r.name in placed], [r for r in refs if r.name not in placed]

    monkeypatch.setattr("tasks.engines.pool.ray.wait", wait)
    assert pool.seated == bool(placed)


def test_a_cluster_that_does_not_answer_gives_no_room(pool, monkeypatch) -> None:
    def wait(refs: list, timeout: float) -> tuple[list, list]:
        raise ray.exceptions.RaySystemError("the head is gone")

    monkeypatch.setattr("tasks.engines.pool.ray.wait", wait)
    assert not pool.seated


def test_an_endpoint_needs_no_room_once_it_is_asked(make_experiment) -> None:
    model = Model("m", "openai", "org/m", endpoint=Endpoint("http://127.0.0.1:9", None))
    with EnginePool(model, make_experiment(models=(model,))) as pool:
        assert not pool.seated
        with pool._best():
            assert pool.seated
