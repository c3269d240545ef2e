"""Transfer between the models of an experiment: every ordered pair, over Ray.

Runs on workers, so nothing here imports Prefect or MLflow. One piece a pair; models that are added
later add their pairs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import permutations

import pandas as pd
import pyarrow as pa
import ray

from estimators.config import EstimatorConfig
from estimators.sweep import Path, Prepared
from estimators.table import FeatureTable
from estimators.transfer import SCOPES, VIEWLESS, VIEWS, TransferResult
from estimators.transfer import transfer as transfer_rows
from tasks.cluster.pieces import Progress, compute_pieces, parquet_bytes
from tasks.cluster.room import SWEEPING
from tasks.conf import Sweep
from tasks.errors import SentinelError
from tasks.records import to_table
from tasks.signals.features import Joined
from tasks.storage.keys import transfer_key
from tasks.storage.store import Store
from tasks.storage.versions import check_code, code_version
from tasks.sweeps.sweep import check_columns, estimator_configs, prepared_table

#: The columns of :func:`by_pair` that people compare first.
SHOWN = ("model_from", "model_to", "estimator", "scope", "view", "aee", "rho", "auroc", "ece")


def transfer(
    joined: Mapping[str, Joined], settings: Sweep, store: Store, progress: Progress | None = None
) -> pa.Table:
    """Rows of :class:`estimators.transfer.TransferResult`: every pair, estimator, scope and view.

    Needs a joined Ray cluster (:func:`tasks.cluster.joining.ray_cluster`) if any pair is missing.
    Of ``settings``, ``transfer``, the path and the seed count.

    Raises
    ------
    SentinelError
        For fewer than two models, or an estimator whose columns a model's profiles lack.
    """
    check_models(joined, settings)
    configs = estimator_configs(settings.transfer)
    files = _files(joined, settings)
    todo = {file: pair for file, pair in files.items() if not store.exists(file)}
    if todo:
        models = {name for pair in todo.values() for name in pair}
        shared = {m: ray.put(prepared_table(joined[m].table, settings.seed)) for m in models}
        tasks = {
            _evaluate.remote(code_version(), shared[a], shared[b], configs, settings.path): file
            for file, (a, b) in todo.items()
        }
        compute_pieces(tasks, store, len(files), progress)
    return pa.concat_tables(store.read_parquet(file) for file in files)


def missing_pairs(
    joined: Mapping[str, Joined | None], settings: Sweep, store: Store
) -> tuple[int, int]:
    """How many pairs a transfer still lacks, and how many it has in all; nothing is computed.

    ``None`` stands for a model whose feature table is yet to come: its pairs are all missing.

    Raises
    ------
    SentinelError
        For an estimator whose columns a model's profiles lack.
    """
    known = {name: one for name, one in joined.items() if one is not None}
    _check_columns(known, settings)
    stored = sum(store.exists(file) for file in _files(known, settings))
    total = len(joined) * (len(joined) - 1)
    return total - stored, total


def check_models(joined: Mapping[str, Joined], settings: Sweep) -> None:
    """Refuse what :func:`transfer` cannot do, before a cluster is started for it."""
    if len(joined) < 2:
        raise SentinelError(
            f"transfer needs two models or more, got {', '.join(joined) or 'none'}",
            "give a second model's profiles and labels",
        )
    _check_columns(joined, settings)


def _check_columns(joined: Mapping[str, Joined], settings: Sweep) -> None:
    for one in joined.values():
        check_columns(one.table, estimator_configs(settings.transfer))


def _files(joined: Mapping[str, Joined], settings: Sweep) -> dict[str, tuple[str, str]]:
    """Every ordered pair of models by the file that its rows are stored in."""
    configs = estimator_configs(settings.transfer)
    return {
        f"transfer/{a}/{b}/{_key(joined[a], joined[b], configs, settings)}.parquet": (a, b)
        for a, b in permutations(joined, 2)
    }


def _key(
    source: Joined, target: Joined, configs: Sequence[EstimatorConfig], settings: Sweep
) -> str:
    names = [c.name for c in configs]
    return transfer_key(source.digest, target.digest, names, settings.path, settings.seed)


@ray.remote(**SWEEPING.options, max_retries=3)
def _evaluate(
    code: str, source: Prepared, target: Prepared, configs: Sequence[EstimatorConfig], path: Path
) -> bytes:
    check_code(code)
    return parquet_bytes(to_table(_pair(source, target.table, configs, path), TransferResult))


def _pair(
    source: Prepared, target: FeatureTable, configs: Sequence[EstimatorConfig], path: Path
) -> list[TransferResult]:
    rows = []
    for scope in SCOPES:
        for view in VIEWS:
            able = [c for c in configs if view == "source" or c.family not in VIEWLESS]
            rows += transfer_rows(source, target, able, scope=scope, view=view, path=path)
    return rows


def write_transfer(table: pa.Table, store: Store, folder: str) -> str:
    """Write the rows and the scores a pair beside an experiment's results.

    Files ``transfer.parquet`` and ``transfer.csv`` of the results folder ``folder``; returns the
    first one's address.
    """
    store.write_bytes(f"results/{folder}/transfer.parquet", parquet_bytes(table))
    store.write_bytes(f"results/{folder}/transfer.csv", by_pair(table).to_csv(index=False).encode())
    return store.local_path(f"results/{folder}/transfer.parquet")


def by_pair(table: pa.Table) -> pd.DataFrame:
    """One row a pair, estimator, scope and view with its scores, for people and reports."""
    return table.select(list(SHOWN)).to_pandas()
