"""A small experiment of two benchmarks, and a store of the test's own."""

from collections.abc import Callable

import pytest

from tasks.conf import Benchmark, Decoding, Experiment, File, Model
from tasks.jobs import Job
from tasks.storage.store import Store


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(str(tmp_path / "root"))


@pytest.fixture
def make_experiment() -> Callable[..., Experiment]:
    """An experiment with the fields given, and defaults for the others."""

    def make(**fields) -> Experiment:
        defaults = {
            "name": "small",
            "models": (Model("m", "vllm", "org/m"),),
            "benchmarks": (
                Benchmark("alpha", 1, File("alpha.jsonl")),
                Benchmark("beta", 1, File("beta.jsonl")),
            ),
            "decoding": Decoding(top_k=2, max_tokens=8),
            "sweep": {"sizes": (1,), "estimators": ("constant",)},
            "batch_items": 3,
        }
        return Experiment(**(defaults | fields))

    return make


@pytest.fixture
def make_job(make_experiment) -> Callable[..., Job]:
    def make(**fields) -> Job:
        experiment = make_experiment(**fields)
        return Job(experiment, experiment.models[0], experiment.benchmarks[0])

    return make
