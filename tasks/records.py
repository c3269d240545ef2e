"""The records that travel between stages, each defined once.

A record is a frozen dataclass; its Arrow schema is derived from its fields, so code, files and
documentation cannot drift apart. Every table is keyed by ``benchmark, item_id``. The schema's
metadata carries the record's name and ``SCHEMA_VERSION``; raise the version when a field changes
meaning, and stored artefacts of the old version are then recomputed rather than misread.
"""

from __future__ import annotations

import dataclasses
import enum
import types
import typing
from collections.abc import Iterable
from typing import Any, TypeVar

import pyarrow as pa

SCHEMA_VERSION = 1

KEY = ("benchmark", "item_id")


class AnswerType(enum.StrEnum):
    """How a reference answer is to be compared."""

    NUMERIC = "numeric"
    LATEX = "latex"
    MULTIPLE_CHOICE = "multiple_choice"
    TEXT = "text"


class Finish(enum.StrEnum):
    """Why generation ended. ``LENGTH`` means the response is cut off at the token limit."""

    STOP = "stop"
    LENGTH = "length"
    ERROR = "error"


class Status(enum.StrEnum):
    """Outcome of judging one response. Only the first three say something about the model."""

    CORRECT = "correct"
    INCORRECT = "incorrect"
    NO_ANSWER = "no_answer"
    TIMEOUT = "timeout"
    GOLD_UNPARSABLE = "gold_unparsable"
    JUDGE_ERROR = "judge_error"


#: Statuses that become a 0/1 label. The rest are unscorable: neither right nor wrong.
SCORED = {Status.CORRECT: 1, Status.INCORRECT: 0, Status.NO_ANSWER: 0}


def storable(text: str) -> str:
    """Text without lone surrogates, which JSON can spell and no file can hold; U+FFFD for each."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


@dataclasses.dataclass(frozen=True, slots=True)
class Item:
    """One question with its reference answer.

    ``tolerance`` is relative (0.05 means 5 %); ``None`` leaves it to the benchmark's conf.
    ``solution`` is an expert's written solution, where the benchmark has one.
    """

    benchmark: str
    item_id: str
    question: str
    answer: str
    solution: str | None = None
    answer_type: str = AnswerType.NUMERIC.value
    tolerance: float | None = None
    unit: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Response:
    """One generated answer and what it cost.

    ``text`` is ``None`` where the experiment keeps numbers only. ``n_tokens`` is the length of the
    trace; ``tokens_out`` what the engine bills, which may also count hidden reasoning tokens.
    ``seconds`` is from submission to completion, queueing included. ``cost`` is in the currency of
    the model's price table, ``None`` without one. ``error`` explains ``finish == "error"``.
    """

    benchmark: str
    item_id: str
    text: str | None
    finish: str
    n_tokens: int
    request_digest: str
    engine: str
    engine_version: str
    logprobs_mode: str
    top_k: int
    temperature: float
    seconds: float
    tokens_in: int
    tokens_out: int
    cost: float | None = None
    error: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Trace:
    """What decoding left behind, one value a generated token.

    ``entropy`` is over the top-k log-probabilities in nats, not renormalised; ``chosen_logprob`` is
    the sampled token's natural-log probability (at most 0); ``tail_mass`` is 1 minus the top-k
    probability mass. ``full_entropy`` is over the whole vocabulary, where the engine computes it;
    ``top_logprobs`` is the top k itself, flattened and sorted from high to low, where it is kept.
    """

    benchmark: str
    item_id: str
    entropy: list[float]
    chosen_logprob: list[float]
    tail_mass: list[float]
    full_entropy: list[float] | None = None
    top_logprobs: list[float] | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Verdict:
    """What a judge decided about one response, and why. ``extracted`` is the answer it read."""

    benchmark: str
    item_id: str
    status: str
    extracted: str | None
    reason: str
    judge: str

    @property
    def label(self) -> int | None:
        """1 correct, 0 wrong or no answer, ``None`` where nothing can be said."""
        return SCORED.get(Status(self.status))


@dataclasses.dataclass(frozen=True, slots=True)
class Judgement:
    """What a model judge said about one response, and what that cost.

    ``digest`` is that of what was judged. ``replies`` counts the replies that came, readable or
    not; tokens, ``cost`` (in the currency of the judge's price table, ``None`` without one) and
    ``seconds`` are of all of them together.
    """

    benchmark: str
    item_id: str
    digest: str
    status: str
    extracted: str | None
    reason: str
    judge: str
    replies: int
    tokens_in: int
    tokens_out: int
    seconds: float
    cost: float | None = None

    @property
    def verdict(self) -> Verdict:
        """The verdict alone."""
        return Verdict(
            self.benchmark, self.item_id, self.status, self.extracted, self.reason, self.judge
        )


Record = TypeVar("Record", Item, Response, Trace, Verdict, Judgement)

_ARROW: dict[Any, pa.DataType] = {
    str: pa.string(),
    int: pa.int64(),
    float: pa.float64(),
    bool: pa.bool_(),
    # Entropies need no more than single precision: engines compute them from bfloat16 logits.
    list[float]: pa.list_(pa.float32()),
    list[str]: pa.list_(pa.string()),
    tuple[str, ...]: pa.list_(pa.string()),
    tuple[float, ...]: pa.list_(pa.float64()),
}


def arrow_schema(record: type) -> pa.Schema:
    """Arrow schema of a record class; fields that admit ``None`` are nullable, others are not."""
    hints = typing.get_type_hints(record)
    fields = []
    for field in dataclasses.fields(record):
        hint = hints[field.name]
        nullable = isinstance(hint, types.UnionType) and type(None) in typing.get_args(hint)
        if nullable:
            (hint,) = (a for a in typing.get_args(hint) if a is not type(None))
        fields.append(pa.field(field.name, _ARROW[hint], nullable=nullable))
    metadata = {"record": record.__name__.lower(), "schema_version": str(SCHEMA_VERSION)}
    return pa.schema(fields, metadata=metadata)


def to_table(rows: Iterable[Any], record: type) -> pa.Table:
    """Arrow table of ``rows`` in the schema of ``record``; no rows give an empty table."""
    return pa.Table.from_pylist(
        [{f.name: getattr(r, f.name) for f in dataclasses.fields(r)} for r in rows],
        schema=arrow_schema(record),
    )


def from_table(table: pa.Table, record: type[Record]) -> list[Record]:
    """Rows of ``table`` as records; columns that the record does not know are ignored."""
    names = [f.name for f in dataclasses.fields(record) if f.name in table.column_names]
    return [record(**row) for row in table.select(names).to_pylist()]
