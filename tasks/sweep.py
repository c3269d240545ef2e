"""The sweep of one model over Ray: chunks of compositions over a feature table shared by all.

Runs on workers, so nothing here imports Prefect or MLflow. Chunks are cut by the compositions
alone, never by the number of workers, and each is stored when it is done: a rerun computes the
missing chunks, and any number of workers gives the same rows.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet as pq
import ray

from estimators.compositions import compositions
from estimators.config import EstimatorConfig, parse
from estimators.results import SplitResult
from estimators.sweep import Path, Prepared, evaluate, prepare
from estimators.table import FeatureTable
from tasks.conf import Sweep
from tasks.errors import SentinelError
from tasks.features import Joined
from tasks.keys import digest, sweep_key
from tasks.records import to_table
from tasks.store import Store

# Compositions a Ray task: a few seconds of work on the fast path.
_CHUNK = 8

Progress = Callable[[int, int], None]


def estimator_configs(names: Sequence[str]) -> list[EstimatorConfig]:
    """Configurations by name; an unknown name is a :class:`SentinelError` with near ones."""
    try:
        return [parse(name) for name in names]
    except ValueError as error:
        raise SentinelError(str(error), "mend `sweep.estimators` or --estimators") from None


def sweep_compositions(benchmarks: Sequence[str], sizes: Sequence[int]) -> list[tuple[str, ...]]:
    """Every composition of the given sizes, or a :class:`SentinelError` for an impossible size."""
    try:
        return compositions(benchmarks, sizes)
    except ValueError as error:
        raise SentinelError(str(error), "mend `sweep.sizes` or --sizes") from None


def sweep(
    joined: Joined, settings: Sweep, store: Store, progress: Progress | None = None
) -> pa.Table:
    """Splits of one model: every composition x estimator, in the order of the settings.

    Needs a joined Ray cluster (:func:`tasks.cluster.ray_cluster`).

    Parameters
    ----------
    progress : callable, optional
        Called with (compositions done, in all) as chunks complete.
    """
    configs = estimator_configs(settings.estimators)
    combos = sweep_compositions(joined.table.benchmarks, settings.sizes)
    key = sweep_key(joined.digest, settings.path, settings.seed)
    folder = f"sweeps/{joined.table.model}/{key}"
    chunks = [combos[i : i + _CHUNK] for i in range(0, len(combos), _CHUNK)]
    files = [f"{folder}/chunk-{digest([settings.estimators, chunk])}.parquet" for chunk in chunks]
    stored = set(store.list(folder))
    todo = [i for i, name in enumerate(files) if name not in stored]
    done = len(combos) - sum(len(chunks[i]) for i in todo)
    if todo:
        shared = ray.put(_prepare(joined.table, settings.seed))
        tasks = {_evaluate.remote(shared, configs, chunks[i], settings.path): i for i in todo}
        try:
            for index, rows in _completed(tasks):
                store.write_bytes(files[index], rows)
                done += len(chunks[index])
                if progress:
                    progress(done, len(combos))
        except BaseException:
            # Prefect cancels the flow, not what it submitted; without this Ray would finish it all.
            for task in tasks:
                ray.cancel(task, force=False)
            raise
    return pa.concat_tables(store.read_parquet(name) for name in files)


def _prepare(table: FeatureTable, seed: int) -> Prepared:
    try:
        return prepare(table, seed)
    except ValueError as error:
        raise SentinelError(str(error), "add labelled responses to that benchmark") from None


@ray.remote(num_cpus=1, max_retries=3)
def _evaluate(
    prepared: Prepared,
    configs: list[EstimatorConfig],
    chunk: list[tuple[str, ...]],
    path: Path,
) -> bytes:
    """Rows of one chunk as Parquet bytes, which travel and are stored as they are."""
    table = to_table(evaluate(prepared, configs, chunk, path), SplitResult)
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def _completed(tasks: dict[ray.ObjectRef, int]) -> Iterator[tuple[int, bytes]]:
    """(index, result) of tasks as they finish."""
    waiting = list(tasks)
    while waiting:
        ready, waiting = ray.wait(waiting, num_returns=1)
        for task in ready:
            yield tasks[task], ray.get(task)
