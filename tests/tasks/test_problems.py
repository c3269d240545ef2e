"""What is told at the end of a run of which parts failed."""

from __future__ import annotations

import pytest

from tasks.errors import EngineDied, SentinelError
from tasks.problems import Problems

FULL = "model 'm': vLLM cannot load 'org/m': Free memory on device cuda:0 (5/79 GiB) is too little"


def test_a_reason_that_several_parts_share_is_told_once() -> None:
    problems = Problems()
    for part in ("m / a", "m / b", "m / c"):
        problems.failed(part, SentinelError(FULL, "end the other process"))
    problems.failed("n / a", SentinelError("no model 'n'", "check it"))
    with pytest.raises(SentinelError) as raised:
        problems.none_or_raise(None)
    assert raised.value.problem == (
        f"m / a: {FULL}\n3 more: m / b, m / c: the same; n / a: no model 'n'"
    )
    assert raised.value.remedy == "end the other process. Finished work is kept"


def test_what_is_kept_is_told_once() -> None:
    """The nightly run collects the problems of the runs that it started."""
    inner, outer = Problems(), Problems()
    inner.failed("m / a", SentinelError(FULL, "end the other process"))
    with pytest.raises(SentinelError) as raised:
        inner.none_or_raise(None)
    outer.failed("conf/experiments/e.yaml", raised.value)
    with pytest.raises(SentinelError) as raised:
        outer.none_or_raise(None)
    assert raised.value.remedy == "end the other process. Finished work is kept"


def test_the_kind_of_the_first_problem_and_an_unforeseen_one() -> None:
    problems = Problems({"m / a": EngineDied("m / a: the engine ended", "rerun")})
    problems.failed("m / b", ValueError("2 'rows'"))
    with pytest.raises(EngineDied) as raised:
        problems.none_or_raise(None)
    assert raised.value.problem == (
        "m / a: the engine ended\n1 more: m / b: ValueError(\"2 'rows'\")"
    )


def test_without_problems_the_results_come_back() -> None:
    problems = Problems()
    assert not problems.failed("m / a", "address")
    assert problems.none_or_raise("results") == "results"
