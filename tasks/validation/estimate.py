"""Tokens, hours and money of an experiment, before any of it is spent.

Expected figures follow the benchmarks' ``hints`` and the assumptions below; the upper bounds let
every response run to the token limit. Stored work is not looked at: ``sentinel plan`` does that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from tasks.conf import Benchmark, ChainJudge, Experiment, Model, Price, Procedural
from tasks.storage.keys import prompt_of
from tasks.validation.access import judge_model
from tasks.validation.counts import count

# Mean over nine STEM benchmarks of a 0.5-billion-parameter model, at most 1,024 tokens.
RESPONSE_TOKENS = 470
QUESTION_TOKENS = 80
# The chat template's own tokens, and characters a token of English.
TEMPLATE_TOKENS = 20
CHARACTERS_A_TOKEN = 4

# Measured on one H100 with device capture at 400 requests (docs/performance.md). Larger models are
# taken to be slower in proportion to their parameters, which is on the safe side.
MEASURED_TOKENS_PER_S = 30_600
MEASURED_PARAMETERS_B = 0.49

# A judge's reply with what it bills for thinking, the seconds of one request, and the share of
# responses about which a chain has to ask.
JUDGE_TOKENS_OUT = 300
JUDGE_SECONDS = 3.0
CHAIN_ASKS = 0.5

# Core-seconds of one configuration over one response on the compiled path: 41,580 configurations
# over 4,580 responses took two cores 19.5 minutes (docs/performance.md).
SWEEP_CORE_S = 2 * 19.5 * 60 / 41_580 / 4_580

_ON_TOKENS = (
    f"a response without a hint has {RESPONSE_TOKENS} tokens, a question {QUESTION_TOKENS}; models "
    "that reason come nearer to the bound"
)
_ON_SPEED = (
    "a GPU model without `tokens_per_s` generates, as on an H100, "
    f"{MEASURED_TOKENS_PER_S:,} x {MEASURED_PARAMETERS_B} / (billions of parameters) tokens/s"
)
_ON_JUDGE = f"a model judge writes {JUDGE_TOKENS_OUT} tokens in {JUDGE_SECONDS:g} s"
_ON_CHAIN = f"a chain asks it about {CHAIN_ASKS:.0%} of the responses"
_ON_SUM = "hours of all models are their sum, and GPU time is not priced"


@dataclass(frozen=True)
class Load:
    """What one model has to do. ``hours`` and ``cost`` are ``None`` where the conf does not tell.

    ``at_most`` is ``tokens_out`` with every response at the token limit; ``hours_at_most`` and
    ``cost_at_most`` follow it.
    """

    model: str
    responses: int
    tokens_in: int
    tokens_out: int
    at_most: int
    hours: float | None
    hours_at_most: float | None
    cost: float | None
    cost_at_most: float | None
    currency: str | None


@dataclass(frozen=True)
class Asking:
    """What a model judge has to do; as :class:`Load`."""

    judge: str
    requests: int
    tokens_in: int
    tokens_out: int
    hours: float
    cost: float | None
    currency: str | None


@dataclass(frozen=True)
class Estimate:
    """Loads of the models, of the judge, and of the sweep."""

    models: tuple[Load, ...]
    judge: Asking | None
    sweep_core_hours: float
    #: Benchmarks whose number of items is not known; they are left out of everything above.
    unknown: tuple[str, ...]
    assumptions: tuple[str, ...]
    money: dict[str, float]

    @property
    def hours(self) -> float | None:
        """Expected hours of all models, one after another; ``None`` if one is not known."""
        found = [load.hours for load in self.models]
        return None if None in found else sum(h for h in found if h is not None)


def estimate(experiment: Experiment, items: dict[str, int]) -> Estimate:
    """Estimate what an experiment takes.

    Parameters
    ----------
    experiment : Experiment
        As read from conf.
    items : dict of str to int
        Items by benchmark, where known. ``limit`` is applied here.
    """
    known = {
        b.name: min(items[b.name], experiment.limit or items[b.name])
        for b in experiment.benchmarks
        if b.name in items
    }
    benchmarks = [b for b in experiment.benchmarks if b.name in known]
    loads = tuple(_load(experiment, m, benchmarks, known) for m in experiment.models)
    asking = _asking(experiment, benchmarks, known)
    configurations = count(experiment).configurations
    money: Counter[str] = Counter()
    for part in (*loads, *([asking] if asking else ())):
        if part.cost is not None and part.currency is not None:
            money[part.currency] += part.cost
    return Estimate(
        loads,
        asking,
        configurations * sum(known.values()) * SWEEP_CORE_S / 3600,
        tuple(b.name for b in experiment.benchmarks if b.name not in known),
        tuple(_assumptions(experiment)),
        dict(money),
    )


def _assumptions(experiment: Experiment) -> Iterator[str]:
    yield _ON_TOKENS
    if any(m.tokens_per_s is None and _on_gpu(m) for m in experiment.models):
        yield _ON_SPEED
    if judge_model(experiment):
        yield _ON_JUDGE
    if isinstance(experiment.judge, ChainJudge):
        yield _ON_CHAIN
    yield _ON_SUM


def items_hinted(benchmark: Benchmark) -> int | None:
    """Number of items as far as the conf tells; of a generator at most."""
    if isinstance(benchmark.source, Procedural):
        return benchmark.source.size
    return benchmark.hints.items


def tokens_per_s(model: Model) -> float | None:
    """Tokens that one replica generates a second: as the conf says, or by size on a GPU."""
    if model.tokens_per_s is not None:
        return model.tokens_per_s
    if not _on_gpu(model) or model.size is None:
        return None
    # Smaller models than the measured one are not known to be faster.
    larger = max(1.0, model.size.parameters_b / MEASURED_PARAMETERS_B)
    return MEASURED_TOKENS_PER_S / larger


def _on_gpu(model: Model) -> bool:
    return model.engine == "vllm" and model.resources.gpus > 0


def _load(
    experiment: Experiment, model: Model, benchmarks: list[Benchmark], items: dict[str, int]
) -> Load:
    limit = experiment.decoding.max_tokens
    read = sum(items[b.name] * _asked(experiment, b) for b in benchmarks)
    written = sum(items[b.name] * min(_answered(b), limit) for b in benchmarks)
    most = sum(items.values()) * limit
    speed = tokens_per_s(model)
    share = None if speed is None else speed * model.resources.replicas * 3600
    hours, longest = (None, None) if share is None else (written / share, most / share)
    if model.endpoint and model.endpoint.requests_per_minute:
        # However fast it answers, it may not be asked more often.
        least = sum(items.values()) / model.endpoint.requests_per_minute / 60
        hours, longest = max(hours or 0, least), max(longest or 0, least)
    return Load(
        model.name,
        sum(items.values()),
        read,
        written,
        most,
        hours,
        longest,
        _cost(model.price, read, written),
        _cost(model.price, read, most),
        model.price.currency if model.price else None,
    )


def _asked(experiment: Experiment, benchmark: Benchmark) -> int:
    prompt = prompt_of(experiment, benchmark).replace("{question}", "")
    question = benchmark.hints.question_tokens or QUESTION_TOKENS
    return question + len(prompt) // CHARACTERS_A_TOKEN + TEMPLATE_TOKENS


def _answered(benchmark: Benchmark) -> int:
    return benchmark.hints.response_tokens or RESPONSE_TOKENS


def _asking(
    experiment: Experiment, benchmarks: list[Benchmark], items: dict[str, int]
) -> Asking | None:
    judge = judge_model(experiment)
    if judge is None:
        return None
    share = CHAIN_ASKS if isinstance(experiment.judge, ChainJudge) else 1.0
    around = (len(judge.system) + len(judge.user)) // CHARACTERS_A_TOKEN
    requests, read = 0, 0
    for benchmark in benchmarks:
        asked = round(items[benchmark.name] * len(experiment.models) * share)
        question = benchmark.hints.question_tokens or QUESTION_TOKENS
        answered = min(_answered(benchmark), experiment.decoding.max_tokens)
        requests += asked
        read += asked * (around + question + answered)
    seconds = requests * JUDGE_SECONDS / judge.endpoint.concurrency
    if judge.endpoint.requests_per_minute:
        seconds = max(seconds, requests / judge.endpoint.requests_per_minute * 60)
    return Asking(
        experiment.judge.name,
        requests,
        read,
        requests * JUDGE_TOKENS_OUT,
        seconds / 3600,
        _cost(judge.price, read, requests * JUDGE_TOKENS_OUT),
        judge.price.currency if judge.price else None,
    )


def _cost(price: Price | None, read: int, written: int) -> float | None:
    return None if price is None else price.of(read, written)
