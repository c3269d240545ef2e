"""Audits from the command line: what is audited, the sheet of labels, and the report."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa

from tasks.audit.report import AuditReport, report
from tasks.audit.sample import draw
from tasks.audit.sheet import Sheet
from tasks.audit.sources import Judged, Key, from_experiment, from_files
from tasks.errors import SentinelError
from tasks.host.workspace import Workspace
from tasks.tables import write_table


def sources(
    experiment: Path | None, responses: Path | None, items: Path | None, verdicts: Path | None
) -> dict[Key, Judged]:
    """Scored responses by key, from an experiment or from three files.

    Raises
    ------
    SentinelError
        If neither is given in full, or both.
    """
    files = [path for path in (responses, items, verdicts) if path is not None]
    if experiment is not None and not files:
        judged = from_experiment(experiment, Workspace.from_environment().store)
    elif experiment is None and responses and items and verdicts:
        judged = from_files(responses, items, verdicts)
    else:
        raise SentinelError(
            "it is not clear what is to be audited",
            "give --experiment, or all of --responses, --items and --verdicts",
        )
    return {one.key: one for one in judged}


def open_sheet(
    path: Path, judged: Mapping[Key, Judged], size: int, seed: int, *, show_hidden: bool
) -> Sheet:
    """The sheet at ``path``: as it is if there is one, else a fresh sample.

    Benchmarks whose items must not be shown are left out, unless ``show_hidden``.

    Raises
    ------
    SentinelError
        If the sheet there is of other responses, or nothing may be shown of it.
    """
    if path.suffix != ".parquet":
        raise SentinelError(f"{path}: labels are kept as Parquet", "name it with .parquet")
    if not path.exists():
        shown = [one for one in judged.values() if show_hidden or not one.hidden]
        if not shown:
            raise _not_to_be_shown({one.benchmark for one in judged.values()})
        sheet = Sheet(path, draw(shown, size, seed))
        sheet.save()
        return sheet
    sheet = Sheet.load(path)
    strange = [entry for entry in sheet.entries if entry.key not in judged]
    if strange:
        first = strange[0]
        raise SentinelError(
            f"{path} holds {len(strange)} labels of other responses, such as "
            f"{first.benchmark}/{first.item_id}",
            "give the sources it was drawn from, or another file for the labels",
        )
    hidden = {entry.benchmark for entry in sheet.entries if judged[entry.key].hidden}
    if hidden and not show_hidden:
        raise _not_to_be_shown(hidden)
    return sheet


def _not_to_be_shown(benchmarks: set[str]) -> SentinelError:
    return SentinelError(
        f"items of {', '.join(sorted(benchmarks))} are not to be shown",
        "`sentinel audit label --show-hidden` shows them on the terminal and nowhere else",
    )


def audit_report(labels: Path, out: Path | None) -> AuditReport:
    """The report on a sheet; its table is also written to ``out``, if given."""
    found = report(Sheet.load(labels).entries)
    if out is not None:
        write_table(out, pa.Table.from_pandas(found.table, preserve_index=False))
    return found
