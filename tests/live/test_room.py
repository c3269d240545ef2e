"""Engines and the room a cluster has for them, with an engine that loads nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import ray

from tasks.conf import Experiment, Model
from tasks.conf.models import Resources
from tasks.engines import pool as pools
from tasks.engines.processes import Processes
from tasks.errors import SentinelError


class Weightless:
    """The methods of an engine; answers with its process."""

    def __init__(self, *_: object) -> None:
        pass

    async def notice(self) -> None:
        return None

    async def load(self) -> Processes:
        return Processes.mine()

    async def close(self) -> None:
        pass

    async def generate(self, prompts: list) -> int:
        return os.getpid()


class Settings:
    decoding = None
    keep_top_logprobs = False


@pytest.fixture
def one_cpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(pools, "VllmEngine", Weightless)
    ray.init(
        num_cpus=1, include_dashboard=False, log_to_driver=False, object_store_memory=10**8,
    )  # fmt: skip
    yield
    ray.shutdown()


def pool(**resources: object) -> pools.EnginePool:
    model = Model(name="m", engine="vllm", model="x", resources=Resources(**resources))
    settings: Experiment = Settings  # type: ignore[assignment]
    return pools.EnginePool(model, settings)


def test_a_model_goes_on_with_the_replicas_there_is_room_for(one_cpu: None) -> None:
    with pool(cpus=1, replicas=2) as engines:
        answered = {engines.generate([]) for _ in range(5)}
    assert len(answered) == 1


def test_a_model_for_which_this_machine_is_too_small_is_an_error_at_once(one_cpu: None) -> None:
    with (
        pytest.raises(SentinelError, match=r"no node had room .*2 GPUs.*node-type.*0 of 0 GPUs"),
        pool(cpus=1, gpus=2, labels={"node-type": "gpu"}) as engines,
    ):
        engines.generate([])
