"""The sweep of one model over Ray: chunks of compositions over a feature table shared by all.

Runs on workers, so nothing here imports Prefect or MLflow. Pieces are cut by families and
compositions, never by the number of workers, and each is stored when it is done: a rerun computes
the missing pieces, and any number of workers gives the same rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pyarrow as pa
import ray

from estimators.compositions import compositions
from estimators.config import CLASSIFIERS, EstimatorConfig, expand
from estimators.results import SplitResult
from estimators.sweep import Path, Prepared, evaluate, prepare
from estimators.table import FeatureTable
from tasks.cluster.pieces import Progress, compute_pieces, parquet_bytes
from tasks.cluster.room import SWEEPING
from tasks.conf import Sweep
from tasks.errors import SentinelError
from tasks.records import to_table
from tasks.signals.features import Joined
from tasks.storage.keys import digest, sweep_key
from tasks.storage.store import Store
from tasks.storage.versions import check_code, code_version

# Compositions a Ray task: a few seconds of work on the fast path.
_CHUNK = 8

# Remarks of a sweep that are shown; the rows hold all of them.
_REMARKS = 10


def estimator_configs(names: Sequence[str]) -> list[EstimatorConfig]:
    """Configurations by name, groups unfolded; an unknown name is a :class:`SentinelError`."""
    try:
        return list(expand(names))
    except ValueError as error:
        raise SentinelError(str(error), "mend `sweep.estimators` or --estimators") from None


def sweep_compositions(benchmarks: Sequence[str], sizes: Sequence[int]) -> list[tuple[str, ...]]:
    """Every composition of the given sizes, or a :class:`SentinelError` for an impossible size."""
    try:
        return compositions(benchmarks, sizes)
    except ValueError as error:
        raise SentinelError(str(error), "mend `sweep.sizes` or --sizes") from None


def fitting(settings: Sweep, benchmarks: int) -> Sweep:
    """A sweep with its sizes that leave one of this many benchmarks unseen; at least size one."""
    sizes = tuple(k for k in settings.sizes if k < benchmarks) or (1,)
    return replace(settings, sizes=sizes)


def sweep(
    joined: Joined, settings: Sweep, store: Store, progress: Progress | None = None
) -> pa.Table:
    """Splits of one model: every composition x estimator.

    Needs a joined Ray cluster (:func:`tasks.cluster.joining.ray_cluster`) if any piece is missing.

    Parameters
    ----------
    progress : callable, optional
        Called with (pieces done, in all); a piece is one family's estimators on a few compositions.
    """
    files = _files(joined, settings)
    todo = _todo(files, store)
    if todo:
        shared = ray.put(prepared_table(joined.table, settings.seed))
        tasks = {
            _evaluate.remote(
                code_version(), shared, piece.configs, piece.compositions, settings.path
            ): file
            for file, piece in todo.items()
        }
        compute_pieces(tasks, store, len(files), progress)
    return pa.concat_tables(store.read_parquet(file) for file in files)


def remarks(splits: pa.Table) -> list[str]:
    """What workers noted on single splits, each remark with how many of them it is about."""
    noted = Counter(
        f"{name}: {note}"
        for name, note in zip(
            splits["estimator"].to_pylist(), splits["note"].to_pylist(), strict=True
        )
        if note
    )
    return [f"{text} ({n} of {len(splits)} splits)" for text, n in noted.most_common(_REMARKS)]


def missing_pieces(joined: Joined, settings: Sweep, store: Store) -> tuple[int, int]:
    """How many pieces a sweep still lacks, and how many it has in all; nothing is computed."""
    files = _files(joined, settings)
    return len(_todo(files, store)), len(files)


def count_pieces(benchmarks: Sequence[str], settings: Sweep) -> int:
    """Pieces of a sweep over these benchmarks, before there is a feature table."""
    combos = sweep_compositions(sorted(benchmarks), settings.sizes)
    return len(_pieces(estimator_configs(settings.estimators), combos))


@dataclass(frozen=True)
class _Piece:
    """What one Ray task evaluates.

    Classifiers of a family on one feature set share what they fit, so they go together; another
    family, set, composition or model adds pieces and leaves these as they are.
    """

    configs: tuple[EstimatorConfig, ...]
    compositions: tuple[tuple[str, ...], ...]

    @property
    def name(self) -> str:
        return f"piece-{digest([[c.name for c in self.configs], self.compositions])}.parquet"


def _files(joined: Joined, settings: Sweep) -> dict[str, _Piece]:
    """Pieces of a sweep by the file that each is stored in."""
    configs = estimator_configs(settings.estimators)
    combos = sweep_compositions(joined.table.benchmarks, settings.sizes)
    check_columns(joined.table, configs)
    folder = f"sweeps/{joined.table.model}/{sweep_key(joined.digest, settings.path, settings.seed)}"
    return {f"{folder}/{piece.name}": piece for piece in _pieces(configs, combos)}


def _todo(files: dict[str, _Piece], store: Store) -> dict[str, _Piece]:
    stored = {
        path for folder in {f.rsplit("/", 1)[0] for f in files} for path in store.list(folder)
    }
    return {file: piece for file, piece in files.items() if file not in stored}


def _pieces(configs: Sequence[EstimatorConfig], combos: Sequence[tuple[str, ...]]) -> list[_Piece]:
    alike: dict[tuple[str, str], list[EstimatorConfig]] = {}
    for c in configs:
        shared = c.feature_set if c.family in CLASSIFIERS else ""
        alike.setdefault((c.family, shared), []).append(c)
    return [
        _Piece(tuple(same), tuple(combos[i : i + _CHUNK]))
        for i in range(0, len(combos), _CHUNK)
        for same in alike.values()
    ]


def check_columns(table: FeatureTable, configs: Sequence[EstimatorConfig]) -> None:
    """Refuse estimators that need columns which a feature table lacks.

    Raises
    ------
    SentinelError
        Names the first such estimator, its feature set and the columns.
    """
    for c in configs:
        missing = [name for name in c.features if name not in table.features]
        if missing:
            more = "" if c.feature_set in missing else f" (set {c.feature_set})"
            raise SentinelError(
                f"model {table.model!r}: estimator {c.name}{more} needs {', '.join(missing)}, "
                f"which the profiles do not have; they have {', '.join(table.features)}",
                "profile traces that hold the chosen tokens' log-probabilities "
                "(`chosen_logprob`), or leave that estimator out",
            )


def prepared_table(table: FeatureTable, seed: int) -> Prepared:
    """Splits of one model drawn, or a :class:`SentinelError` for a benchmark that is too small."""
    try:
        return prepare(table, seed)
    except ValueError as error:
        raise SentinelError(str(error), "add labelled responses to that benchmark") from None


@ray.remote(**SWEEPING.options, max_retries=3)
def _evaluate(
    code: str,
    prepared: Prepared,
    configs: Sequence[EstimatorConfig],
    combos: Sequence[tuple[str, ...]],
    path: Path,
) -> bytes:
    """Rows of one piece as Parquet bytes, which travel and are stored as they are."""
    check_code(code)
    return parquet_bytes(to_table(evaluate(prepared, configs, combos, path), SplitResult))
