"""The items that an experiment asks, and what kept some benchmarks from being read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from tasks.benchmarks import load_items
from tasks.conf import Experiment
from tasks.errors import SentinelError


@dataclass(frozen=True)
class Questions:
    """Items by benchmark, and why the items of the other benchmarks could not be had."""

    items: Mapping[str, pa.Table]
    problems: Mapping[str, SentinelError]


def load_questions(experiment: Experiment) -> Questions:
    """Items of every benchmark; one that cannot be read is a problem and leaves the others."""
    items: dict[str, pa.Table] = {}
    problems: dict[str, SentinelError] = {}
    for benchmark in experiment.benchmarks:
        try:
            items[benchmark.name] = load_items(benchmark, experiment.limit)
        except SentinelError as error:
            problems[benchmark.name] = error
    return Questions(items, problems)
