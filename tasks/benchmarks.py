"""Items from their three sources: a dataset hub, a file, or a procedural generator."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa

from tasks.conf import Benchmark, Fields, File, Hub, Procedural
from tasks.errors import SentinelError
from tasks.records import AnswerType, Item, to_table
from tasks.tables import check_unique, read_rows

# Draws from a generator for each item wanted, so that repeats can be left out.
_DRAWS_PER_ITEM = 4


def load_items(benchmark: Benchmark, limit: int | None = None) -> pa.Table:
    """Items of a benchmark in the source's order, the first ``limit`` of them.

    Raises
    ------
    SentinelError
        If the source cannot be read, lacks a mapped field, has no rows, a row without question or
        answer, or two rows of one id. Messages name rows, never questions.
    """
    source = benchmark.source
    if isinstance(source, Hub):
        rows: Iterable[Mapping[str, Any]] = _from_hub(benchmark.name, source)
    elif isinstance(source, File):
        rows = _from_file(source)
    else:
        rows = _from_generator(benchmark.name, source)
    items = [_item(benchmark, row, number) for number, row in enumerate(rows)]
    if not items:
        raise SentinelError(f"benchmark {benchmark.name!r} has no items", "check its source")
    table = to_table(items, Item)
    check_unique(table, f"benchmark {benchmark.name!r}")
    return table if limit is None else table.slice(0, limit)


def _from_hub(name: str, hub: Hub) -> Iterable[Mapping[str, Any]]:
    import datasets
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return datasets.load_dataset(
            hub.dataset, hub.config, split=hub.split, revision=hub.revision
        )
    except (OSError, ValueError, HfHubHTTPError, datasets.exceptions.DatasetsError) as error:
        raise SentinelError(
            f"benchmark {name!r}: {hub.dataset} at {hub.revision} cannot be loaded: {error}",
            "check the network, the id, and that HF_TOKEN has access where the dataset is gated",
        ) from None


def _from_file(file: File) -> Iterable[Mapping[str, Any]]:
    table = read_rows(file.path)
    for name in file.where:
        if name not in table.column_names:
            raise SentinelError(
                f"{file.path}: column `{name}` of `where` is missing", "mend the benchmark's source"
            )
    rows: list[dict[str, Any]] = table.to_pylist()
    return [r for r in rows if all(str(r[k]) == v for k, v in file.where.items())]


def _from_generator(name: str, source: Procedural) -> Iterable[Mapping[str, Any]]:
    import reasoning_gym

    try:
        made = reasoning_gym.create_dataset(
            source.generator,
            size=_DRAWS_PER_ITEM * source.size,
            seed=source.seed,
            **source.config,
        )
        # A generator of small numbers repeats itself; a repeated question would count twice.
        distinct = {m["question"]: m["answer"] for m in made}
    except (ValueError, TypeError, AssertionError) as error:
        raise SentinelError(
            f"benchmark {name!r}: generator {source.generator!r}: {error}",
            "use a reasoning-gym generator and its own settings",
        ) from None
    pairs = list(distinct.items())[: source.size]
    return ({"question": question, "answer": answer} for question, answer in pairs)


def _item(benchmark: Benchmark, row: Mapping[str, Any], number: int) -> Item:
    fields = benchmark.fields
    question = _text(benchmark, row, fields.question, number)
    answer = _text(benchmark, row, fields.answer, number)
    if fields.answer_after and fields.answer_after in answer:
        answer = answer.rsplit(fields.answer_after, 1)[1].strip()
        if not answer:
            raise SentinelError(
                f"benchmark {benchmark.name!r}, row {number}: nothing follows "
                f"{fields.answer_after!r} in `{fields.answer}`",
                "drop the row at its source, or mend `fields.answer_after`",
            )
    return Item(
        benchmark=benchmark.name,
        item_id=_text(benchmark, row, fields.item_id, number)
        if fields.item_id
        else _content_id(question),
        question=question,
        answer=answer,
        solution=_optional(row, fields.solution),
        answer_type=_answer_type(benchmark, row, fields, number),
        tolerance=_number(benchmark, row, fields.tolerance, number),
        unit=_optional(row, fields.unit),
    )


def _content_id(question: str) -> str:
    """Id of an item whose source has none: it follows the question, not the row's number."""
    return hashlib.sha256(question.encode()).hexdigest()[:12]


def _text(benchmark: Benchmark, row: Mapping[str, Any], field: str, number: int) -> str:
    value = _lookup(row, field)
    if value is _ABSENT:
        raise SentinelError(
            f"benchmark {benchmark.name!r}: the source has no field `{field}` "
            f"(it has {', '.join(map(str, row))})",
            "mend `fields` in the benchmark's YAML",
        )
    text = json.dumps(value) if isinstance(value, (list, dict)) else str(value or "").strip()
    if not text and value != 0:
        raise SentinelError(
            f"benchmark {benchmark.name!r}, row {number}: `{field}` is empty",
            "drop the row at its source, or map another field",
        )
    return text or str(value)


_ABSENT = object()


def _lookup(row: Mapping[str, Any], field: str) -> Any:
    """Value at a dotted path (``extra_json.unit`` looks inside a JSON string), or ``_ABSENT``."""
    value: Any = row
    for name in field.split("."):
        if isinstance(value, str):
            try:
                value = json.loads(value)
            except ValueError:
                return _ABSENT
        if isinstance(value, list) and name.isdigit() and int(name) < len(value):
            value = value[int(name)]
        elif isinstance(value, Mapping) and name in value:
            value = value[name]
        else:
            return _ABSENT
    # A column of numbers with gaps comes out of pandas with NaN where nothing was.
    return None if isinstance(value, float) and value != value else value


def _optional(row: Mapping[str, Any], field: str | None) -> str | None:
    value = _ABSENT if field is None else _lookup(row, field)
    return None if value is _ABSENT or value in (None, "") else str(value)


def _number(
    benchmark: Benchmark, row: Mapping[str, Any], field: str | None, number: int
) -> float | None:
    text = _optional(row, field)
    try:
        return None if text is None else float(text)
    except ValueError:
        raise SentinelError(
            f"benchmark {benchmark.name!r}, row {number}: `{field}` is {text!r}, not a number",
            "mend the source or the mapping",
        ) from None


def _answer_type(benchmark: Benchmark, row: Mapping[str, Any], fields: Fields, number: int) -> str:
    text = _optional(row, fields.answer_type) or benchmark.answer_type.value
    if text not in set(AnswerType):
        raise SentinelError(
            f"benchmark {benchmark.name!r}, row {number}: answer type {text!r} is unknown",
            f"use one of {', '.join(AnswerType)}",
        )
    return text
