"""Rows from the three sources of items: a dataset hub, a file, or a procedural generator."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from tasks.conf import File, Hub, Procedural
from tasks.conf.benchmarks import Where
from tasks.errors import SentinelError
from tasks.tables import read_rows

Row = Mapping[str, Any]

# Draws from a generator for each item wanted, so that repeats can be left out.
_DRAWS_PER_ITEM = 4

# Rows of a hub dataset in memory at a time: some have images, which are not decoded.
_BATCH = 500


def read_source(name: str, source: Hub | File | Procedural) -> Iterable[Row]:
    """Rows of the source of benchmark ``name``, in its order, without those that ``where`` drops.

    Raises
    ------
    SentinelError
        If the source cannot be read, is gated, or has no column that ``where`` names.
    """
    if isinstance(source, Hub):
        return _from_hub(name, source)
    if isinstance(source, File):
        return _from_file(source)
    return _from_generator(name, source)


def _from_hub(name: str, hub: Hub) -> Iterator[Row]:
    for config in hub.configs:
        dataset = _load(name, hub, config)
        _check_where(hub.where, dataset.column_names, f"benchmark {name!r}: {hub.dataset}")
        # As Arrow, images stay the bytes they are; as Python objects each would be decoded.
        for batch in dataset.with_format("arrow").iter(_BATCH):
            yield from _kept(batch.to_pylist(), hub.where)


def _load(name: str, hub: Hub, config: str | None) -> Any:
    import datasets
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError

    try:
        return datasets.load_dataset(hub.dataset, config, split=hub.split, revision=hub.revision)
    except (OSError, ValueError, HfHubHTTPError, datasets.exceptions.DatasetsError) as error:
        # The library tells a gated dataset by its own error, or by that of a missing dataset.
        if isinstance(error, GatedRepoError) or "gated" in str(error).lower():
            raise SentinelError(
                f"benchmark {name!r}: {hub.dataset} is gated, and this account has no access",
                f"accept the terms at https://huggingface.co/datasets/{hub.dataset} and set "
                "HF_TOKEN to a token of the account that did",
            ) from None
        raise SentinelError(
            f"benchmark {name!r}: {hub.dataset} at {hub.revision} cannot be loaded: {error}",
            "check the network, the id, and that HF_TOKEN has access where the dataset is gated",
        ) from None


def _from_file(file: File) -> Iterator[Row]:
    table = read_rows(file.path)
    _check_where(file.where, table.column_names, file.path)
    yield from _kept(table.to_pylist(), file.where)


def _check_where(where: Where, columns: Sequence[str], source: str) -> None:
    for name in where:
        if name not in columns:
            raise SentinelError(
                f"{source}: column `{name}` of `where` is missing", "mend the benchmark's source"
            )


def _kept(rows: Iterable[Row], where: Where) -> Iterator[Row]:
    for row in rows:
        if all(_matches(row[name], wanted) for name, wanted in where.items()):
            yield row


def _matches(value: Any, wanted: str | None) -> bool:
    if wanted is not None:
        return str(value) == wanted
    # An empty cell is null, an empty text or, out of pandas, NaN.
    return value is None or value == "" or value != value


def _from_generator(name: str, source: Procedural) -> Iterator[Row]:
    import reasoning_gym

    try:
        made = reasoning_gym.create_dataset(
            source.generator,
            size=_DRAWS_PER_ITEM * source.size,
            seed=source.seed,
            **source.config,
        )
        # A generator of small numbers repeats itself; a repeated question would count twice. Some
        # take tenths of a second an item, so no more are drawn than are needed.
        distinct: dict[str, str] = {}
        for one in made:
            distinct.setdefault(one["question"], one["answer"])
            if len(distinct) == source.size:
                break
    except (ValueError, TypeError, AssertionError) as error:
        raise SentinelError(
            f"benchmark {name!r}: generator {source.generator!r}: {error}",
            "use a reasoning-gym generator and its own settings",
        ) from None
    for question, answer in distinct.items():
        yield {"question": question, "answer": answer}
