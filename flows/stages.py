"""The stages by themselves, files in and files out, so that anyone's own logs can come in."""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from tasks.benchmarks import load_items
from tasks.cluster.joining import ray_cluster
from tasks.conf import Experiment, Sweep, load_experiment, parse_section
from tasks.engines.pool import EnginePool
from tasks.errors import SentinelError
from tasks.generation.generate import generate
from tasks.host.workspace import Workspace
from tasks.jobs import jobs_of
from tasks.signals.features import Joined, join, label_column
from tasks.signals.profile import check_profiles, profile_file
from tasks.sweeps.summary import SHOWN, by_size
from tasks.sweeps.sweep import check_columns, estimator_configs, sweep, sweep_compositions
from tasks.sweeps.table import sweep_table
from tasks.sweeps.transfer import by_pair, check_models, transfer
from tasks.tables import check_unique, read_rows, write_table, write_text


def generate_file(path: Path, out: Path) -> int:
    """Generate an experiment's missing responses; write all of them with their traces to ``out``.

    With several models the item ids are prefixed by the model's name, so that keys stay unique.
    """
    settings = load_experiment(path)
    store = Workspace.from_environment().store
    tables = []
    with ray_cluster():
        for model in settings.models:
            with EnginePool(model, settings) as pool:
                for job in jobs_of(settings, model):
                    items = load_items(job.benchmark, settings.limit)
                    generate(job, items, pool, store)
                    stored = job.responses(store).read()
                    if stored is not None:
                        asked = pc.is_in(
                            stored["item_id"], value_set=items["item_id"].combine_chunks()
                        )
                        tables.append(_prefixed(stored.filter(asked), settings, model.name))
    write_table(out, table := pa.concat_tables(tables))
    return len(table)


def items_file(path: Path, out: Path) -> int:
    """Write the items of an experiment to ``out``, keyed as :func:`generate_file` keys responses.

    Raises
    ------
    SentinelError
        If the authors of a benchmark ask that its items not be shown (``show_items: false``).
    """
    settings = load_experiment(path)
    hidden = [b.name for b in settings.benchmarks if not b.show_items]
    if hidden:
        raise SentinelError(
            f"items of {', '.join(hidden)} are not to be shown",
            "judge them inside `sentinel run`, which keeps them out of files",
        )
    tables = [load_items(b, settings.limit) for b in settings.benchmarks]
    table = pa.concat_tables(
        _prefixed(t, settings, m.name) for m in settings.models for t in tables
    )
    write_table(out, table)
    return len(table)


def _prefixed(table: pa.Table, settings: Experiment, model: str) -> pa.Table:
    if len(settings.models) == 1:
        return table
    ids = pc.binary_join_element_wise(model, table["item_id"], "/")
    return table.set_column(table.column_names.index("item_id"), "item_id", ids)


def profile_traces(traces: Path, out: Path, top_k: int, vocabulary: int | None) -> int:
    """Profiles of a file of traces; returns how many."""
    write_table(out, table := profile_file(traces, top_k, vocabulary))
    return len(table)


def sweep_files(
    *,
    profiles: Path,
    labels: Path,
    out: Path,
    sizes: tuple[int, ...],
    estimators: tuple[str, ...],
    keep: tuple[str, ...],
    drop: tuple[str, ...],
    model: str,
    path: str,
    seed: int,
    table: Path | None = None,
) -> tuple[pd.DataFrame, tuple[str, ...], int]:
    """Sweep a file of profiles with a file of labels.

    Returns
    -------
    tuple
        Medians by estimator and k, notes on what was left out, and the number of rows written.
    """
    settings = parse_section(
        Sweep,
        {"sizes": sizes, "estimators": estimators, "path": path, "seed": seed},
        "sweep options",
    )
    joined = _joined(model, profiles, labels, keep, drop)
    # What cannot be done needs no cluster.
    sweep_compositions(joined.table.benchmarks, settings.sizes)
    check_columns(joined.table, estimator_configs(settings.estimators))
    with ray_cluster():
        splits = sweep(joined, settings, Workspace.from_environment().store)
    write_table(out, splits)
    if table is not None:
        write_text(table, sweep_table(splits))
    return by_size(splits)[list(SHOWN)], joined.notes, len(splits)


def transfer_files(
    *,
    models: tuple[str, ...],
    profiles: tuple[Path, ...],
    labels: tuple[Path, ...],
    out: Path,
    estimators: tuple[str, ...],
    keep: tuple[str, ...],
    drop: tuple[str, ...],
    path: str,
    seed: int,
) -> tuple[pd.DataFrame, tuple[str, ...], int]:
    """Train on each model's files and score on every other's.

    Returns
    -------
    tuple
        Scores a pair, estimator, scope and view; notes on what was left out; rows written.
    """
    if not len(models) == len(profiles) == len(labels) == len(set(models)):
        raise SentinelError(
            f"{len(models)} models ({', '.join(models)}), {len(profiles)} files of profiles and "
            f"{len(labels)} of labels",
            "give --model (each name once), --profiles and --labels once for each model",
        )
    settings = parse_section(
        Sweep, {"transfer": estimators, "path": path, "seed": seed}, "transfer options"
    )
    joined = {
        model: _joined(model, profiled, labelled, keep, drop)
        for model, profiled, labelled in zip(models, profiles, labels, strict=True)
    }
    check_models(joined, settings)
    with ray_cluster():
        rows = transfer(joined, settings, Workspace.from_environment().store)
    write_table(out, rows)
    notes = tuple(f"{model}: {note}" for model, one in joined.items() for note in one.notes)
    return by_pair(rows), notes, len(rows)


def _joined(
    model: str, profiles: Path, labels: Path, keep: tuple[str, ...], drop: tuple[str, ...]
) -> Joined:
    profiled = check_profiles(read_rows(profiles), str(profiles))
    labelled = label_column(read_rows(labels), str(labels))
    check_unique(labelled, str(labels))
    return join(model, _chosen(profiled, keep, drop, str(profiles)), labelled)


def _chosen(
    profiles: pa.Table, keep: tuple[str, ...], drop: tuple[str, ...], source: str
) -> pa.Table:
    """Rows of the benchmarks that match ``keep`` and not ``drop``; a pattern must match some."""
    names = sorted(set(profiles["benchmark"].to_pylist()))
    for pattern in (*keep, *drop):
        if not any(fnmatch(n, pattern) for n in names):
            raise SentinelError(
                f"{source}: no benchmark matches {pattern!r}", f"it holds {', '.join(names)}"
            )
    kept = [
        n
        for n in names
        if any(fnmatch(n, p) for p in keep) and not any(fnmatch(n, p) for p in drop)
    ]
    return profiles.filter(pc.is_in(profiles["benchmark"], value_set=pa.array(kept, pa.string())))
