"""An experiment: models x benchmarks, decoded, judged, profiled and swept."""

from __future__ import annotations

from typing import Annotated

import pydantic
from pydantic import Field
from pydantic.dataclasses import dataclass

from tasks.conf.base import STRICT, Name, Positive, check_prompt
from tasks.conf.benchmarks import Benchmark
from tasks.conf.judges import Judge, RuleJudge
from tasks.conf.models import Model
from tasks.conf.sweeps import Sweep


@dataclass(frozen=True, config=STRICT)
class Decoding:
    """How tokens are drawn. ``top_k`` is the number of log-probabilities kept a token."""

    temperature: Annotated[float, Field(ge=0, le=2)] = 0.5
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    max_tokens: Positive = 2048
    seed: int = 42
    top_k: Annotated[int, Field(ge=1, le=100)] = 20
    stop: tuple[str, ...] = ()


@dataclass(frozen=True, config=STRICT)
class Experiment:
    """Models x benchmarks, decoded, judged, profiled and swept. ``limit`` takes the first items."""

    name: Name
    models: Annotated[tuple[Model, ...], Field(min_length=1)]
    benchmarks: tuple[Benchmark, ...]
    prompt: str = "{question}"
    decoding: Decoding = Decoding()
    judge: Judge = RuleJudge()
    sweep: Sweep = Sweep()
    limit: Positive | None = None
    batch_items: Positive = 64
    models_at_once: Positive = 1
    store_text: bool = True
    keep_top_logprobs: bool = False
    profile_top_k: Positive | None = None

    @pydantic.field_validator("prompt")
    @classmethod
    def _asks_the_question(cls, prompt: str) -> str:
        return check_prompt(prompt) or prompt

    @pydantic.field_validator("benchmarks")
    @classmethod
    def _some_are_left_to_score(cls, benchmarks: tuple[Benchmark, ...]) -> tuple[Benchmark, ...]:
        if len(benchmarks) < 2:
            raise ValueError(
                f"at least two are needed, to train on some and score the others, not "
                f"{len(benchmarks)}"
            )
        return benchmarks

    @pydantic.model_validator(mode="after")
    def _profiles_have_what_they_need(self) -> Experiment:
        k = self.profile_top_k or self.decoding.top_k
        if k > self.decoding.top_k:
            raise ValueError(f"profile_top_k: {k} is more than decoding.top_k records")
        if k < self.decoding.top_k and not self.keep_top_logprobs:
            raise ValueError("profile_top_k: fewer candidates need keep_top_logprobs: true")
        return self

    @pydantic.model_validator(mode="after")
    def _names_are_distinct(self) -> Experiment:
        for kind, members in (("model", self.models), ("benchmark", self.benchmarks)):
            names = [m.name for m in members]
            twice = {n for n in names if names.count(n) > 1}
            if twice:
                raise ValueError(f"{kind} {sorted(twice)[0]!r} is listed twice")
        too_large = [k for k in self.sweep.sizes if k >= len(self.benchmarks)]
        if too_large:
            raise ValueError(
                f"sweep.sizes: k = {too_large[0]} leaves no unseen benchmark among "
                f"{len(self.benchmarks)}; use at most {len(self.benchmarks) - 1}"
            )
        return self
