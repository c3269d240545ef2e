"""Benchmarks, and where their items come from."""

from __future__ import annotations

from typing import Annotated, Any

import pydantic
from pydantic import Discriminator, Field, Tag
from pydantic.dataclasses import dataclass

from tasks.conf.base import STRICT, Name, Positive, check_prompt
from tasks.records import AnswerType

Tolerance = Annotated[float, Field(ge=0, lt=1)]

#: Rows that are kept: those whose column equals the text, or for null, those without a value.
Where = dict[str, str | None]

#: A column, or several of which the first that has a value counts.
Columns = str | tuple[str, ...]


@dataclass(frozen=True, config=STRICT)
class Hub:
    """A dataset of the Hugging Face hub, pinned to a revision. Several configs are joined."""

    dataset: str
    split: str
    revision: str
    config: str | tuple[str, ...] | None = None
    where: Where = Field(default_factory=dict)

    @property
    def configs(self) -> tuple[str | None, ...]:
        """The configs in their order; one of ``None`` where the dataset has none."""
        return self.config if isinstance(self.config, tuple) else (self.config,)


@dataclass(frozen=True, config=STRICT)
class File:
    """A Parquet or JSONL file."""

    path: str
    where: Where = Field(default_factory=dict)


@dataclass(frozen=True, config=STRICT)
class Procedural:
    """At most ``size`` distinct questions of a reasoning-gym generator; fixed by the seed."""

    generator: str
    size: Positive
    seed: int = 7
    config: dict[str, Any] = Field(default_factory=dict)


_SOURCES = {"dataset": Hub, "path": File, "generator": Procedural}

#: Marks of the kinds of source where pydantic places a mistake; no words for people.
SOURCE_TAGS = tuple(f"<{key}>" for key in _SOURCES)


def _kind(source: Any) -> str | None:
    """Mark of a source's kind, by the key that only this kind has."""
    keys = (k for k, cls in _SOURCES.items() if isinstance(source, cls) or _has(source, k))
    return next((f"<{key}>" for key in keys), None)


def _has(source: Any, key: str) -> bool:
    return isinstance(source, dict) and key in source


Source = Annotated[
    Annotated[Hub, Tag("<dataset>")]
    | Annotated[File, Tag("<path>")]
    | Annotated[Procedural, Tag("<generator>")],
    Discriminator(
        _kind,
        custom_error_type="source",
        custom_error_message="needs `dataset` (of the hub), `path` (a file) or `generator`",
    ),
]


@dataclass(frozen=True, config=STRICT)
class Fields:
    """Which source column holds what. ``answer_after`` keeps the answer's text after a marker.

    ``tolerance`` is relative; ``absolute_error`` is in the answer's own unit and is divided by it.
    With ``scaled_by_unit`` a power of ten in front of the unit belongs to the answer: 2.9 in units
    of 10^-9 J becomes 2.9E-9 in J.
    """

    question: str = "question"
    answer: Columns = "answer"
    solution: Columns | None = None
    item_id: str | None = None
    answer_type: str | None = None
    tolerance: str | None = None
    absolute_error: str | None = None
    unit: str | None = None
    scaled_by_unit: bool = False
    answer_after: str | None = None


@dataclass(frozen=True, config=STRICT)
class AnswerRule:
    """How answers of one of the source's own kinds are compared."""

    type: AnswerType
    tolerance: Tolerance | None = None


@dataclass(frozen=True, config=STRICT)
class Hints:
    """What is known of a benchmark before it is read. Used for estimates only."""

    items: Positive | None = None
    question_tokens: Positive | None = None
    response_tokens: Positive | None = None


@dataclass(frozen=True, config=STRICT)
class Benchmark:
    """Questions with reference answers. Raise ``version`` when the items change.

    ``answer_types`` translates the kinds that ``fields.answer_type`` holds; a row whose kind is
    missing or not listed takes ``answer_type`` and ``tolerance``. ``gated`` says that the hub
    gives the dataset only to accounts that accepted its terms.
    """

    name: Name
    version: Positive
    source: Source
    fields: Fields = Fields()
    answer_type: AnswerType = AnswerType.NUMERIC
    answer_types: dict[str, AnswerRule] = Field(default_factory=dict)
    tolerance: Tolerance | None = None
    prompt: str | None = None
    show_items: bool = True
    gated: bool = False
    hints: Hints = Hints()

    @pydantic.field_validator("prompt")
    @classmethod
    def _asks_the_question(cls, prompt: str | None) -> str | None:
        return check_prompt(prompt)

    @pydantic.model_validator(mode="after")
    def _rules_have_what_they_need(self) -> Benchmark:
        if self.answer_types and self.fields.answer_type is None:
            raise ValueError("answer_types translates the column `fields.answer_type`; name it")
        if self.fields.absolute_error and self.fields.tolerance:
            raise ValueError("fields: `absolute_error` and `tolerance` exclude each other")
        if self.fields.scaled_by_unit and self.fields.unit is None:
            raise ValueError("fields: `scaled_by_unit` needs `unit`")
        return self
