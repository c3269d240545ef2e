"""Profiles joined with labels: the feature table of one model, and what was left out of it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from entropy.features import COLUMNS, LENGTH
from entropy.profile import FEATURES
from estimators.table import FeatureTable
from tasks.errors import SentinelError
from tasks.jobs import Job
from tasks.records import KEY, SCORED, Status, Verdict, arrow_schema
from tasks.signals.profile import PROFILE_SCHEMA
from tasks.storage.keys import digest
from tasks.storage.store import Store
from tasks.tables import key_columns

# Below this an 80 % share cannot be cut into five folds that say anything.
_FEWEST_ITEMS = 10


@dataclass(frozen=True)
class Joined:
    """A feature table and notes for people: responses left out, benchmarks that teach little."""

    table: FeatureTable
    notes: tuple[str, ...]

    @property
    def digest(self) -> str:
        """Digest of the table's content."""
        t = self.table
        content = hashlib.sha256(t.X.tobytes() + t.y.tobytes() + t.group.tobytes()).hexdigest()
        return digest([t.model, t.benchmarks, t.features, content])


def label_column(table: pa.Table, source: str) -> pa.Table:
    """Key and ``label`` (1, 0 or null) of verdicts (``status``) or of labels (``correct``).

    ``source`` is named in errors.

    Raises
    ------
    SentinelError
        If there is neither column, no key, an unknown status, or a label other than 0, 1 or null.
    """
    keys = key_columns(table, source)
    if "status" in table.column_names:
        statuses = table["status"].to_pylist()
        labels: list[float | None] = [_score(s, source, row) for row, s in enumerate(statuses)]
    elif "correct" in table.column_names:
        labels = [_label(v, source, row) for row, v in enumerate(table["correct"].to_pylist())]
    else:
        raise SentinelError(
            f"{source}: neither `correct` nor `status` among {', '.join(table.column_names)}",
            "give labels with `correct` (0 or 1), or verdicts with `status`",
        )
    return pa.table([*keys, pa.array(labels, pa.float64())], names=[*KEY, "label"])


def _score(status: object, source: str, row: int) -> float | None:
    if status not in set(Status):
        raise SentinelError(
            f"{source}, row {row}: `status` is {status!r}", f"use one of {', '.join(Status)}"
        )
    return SCORED.get(Status(str(status)))


def _label(value: object, source: str, row: int) -> float | None:
    if value is None or value != value:
        return None
    if value in (0, 1, True, False):
        return float(bool(value))
    raise SentinelError(
        f"{source}, row {row}: `correct` is {value!r}", "labels are 0 or 1, empty where unscorable"
    )


def join(model: str, profiles: pa.Table, labels: pa.Table) -> Joined:
    """Feature table of the responses that have a profile, a label and at least one token.

    Its columns are the eleven entropy statistics, those of the others that every such response has
    (:data:`entropy.features.COLUMNS`), and the number of tokens.

    Parameters
    ----------
    model : str
        Whose responses these are.
    profiles, labels : tables
        With unique keys; ``labels`` from :func:`label_column`.

    Raises
    ------
    SentinelError
        If nothing is left, fewer than two benchmarks are, or a statistic is not a finite number.
    """
    order = [(name, "ascending") for name in KEY]
    both = profiles.join(labels, keys=list(KEY), join_type="inner").sort_by(order)
    notes = []
    if unlabelled := len(profiles) - len(both):
        notes.append(f"{unlabelled} of {len(profiles)} responses have no label and are left out")
    scored = both.filter(pc.is_valid(both["label"]))
    if len(both) > len(scored):
        notes.append(f"{len(both) - len(scored)} unscorable responses are left out")
    kept = scored.filter(pc.greater(scored["n_tokens"], 0))
    if len(scored) > len(kept):
        notes.append(f"{len(scored) - len(kept)} responses without tokens are left out")
    names, group = np.unique(kept["benchmark"].to_numpy(zero_copy_only=False), return_inverse=True)
    if len(names) < 2:
        raise SentinelError(
            f"model {model!r}: {len(names)} benchmarks with labelled responses",
            "a sweep needs at least two: check that the keys of profiles and labels agree",
        )
    columns, partly = _columns(model, kept)
    notes += partly
    y = kept["label"].to_numpy()
    for index, name in enumerate(names):
        rate = y[group == index].mean()
        if rate in (0, 1):
            notes.append(
                f"{name}: all answers are {'right' if rate else 'wrong'}, so it has no AUROC"
            )
        if (group == index).sum() < _FEWEST_ITEMS:
            notes.append(f"{name}: only {(group == index).sum()} scored responses")
    benchmarks = tuple(str(n) for n in names)
    X = np.column_stack(list(columns.values()))
    return Joined(FeatureTable(model, benchmarks, tuple(columns), X, y, group), tuple(notes))


def _columns(model: str, kept: pa.Table) -> tuple[dict[str, NDArray[np.float64]], list[str]]:
    """The columns that are complete, in the order of the profile, and notes on those that are not.

    The eleven have to be complete; a column that no response has is missing without a note.
    """
    columns = {name: kept[name].to_numpy().astype(np.float64) for name in (*COLUMNS, LENGTH)}
    notes = []
    for name, values in list(columns.items()):
        bad = ~np.isfinite(values)
        if not bad.any():
            continue
        row = int(np.argmax(bad))
        if name in FEATURES:
            key = " / ".join(str(kept[part][row].as_py()) for part in KEY)
            raise SentinelError(
                f"model {model!r}: {name} of {key} is {values[row]}",
                "compute the profiles anew with `sentinel profile`, or drop that row",
            )
        del columns[name]
        if not bad.all():
            notes.append(
                f"{name} is missing in {bad.sum()} of {len(values)} responses and cannot be used"
            )
    return columns, notes


def join_jobs(jobs: Sequence[Job], items: Mapping[str, pa.Table], store: Store) -> Joined:
    """Feature table of stored jobs of one model, over the items asked for and no others.

    A store may hold responses to more items than the experiment's limit names, and two responses to
    one item, where runs that overlapped cut their batches otherwise. Both tables are read from the
    parts that are judged and profiled alike, so a verdict meets the profile of its own response.
    """
    profiles = [PROFILE_SCHEMA.empty_table()]
    verdicts = [arrow_schema(Verdict).empty_table()]
    for job in jobs:
        asked = items[job.benchmark.name]["item_id"].combine_chunks()
        made = job.profiles(store), job.verdicts(store)
        names = set.intersection(*(set(artefact.names()) for artefact in made))
        for tables, artefact in zip((profiles, verdicts), made, strict=True):
            stored = artefact.read(names=names)
            if stored is not None:
                tables.append(stored.filter(pc.is_in(stored["item_id"], value_set=asked)))
    labels = label_column(pa.concat_tables(verdicts), "verdicts")
    return join(jobs[0].model.name, pa.concat_tables(profiles), labels)
