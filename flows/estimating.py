"""A registered estimator on one's own files."""

from __future__ import annotations

from pathlib import Path

from tasks.host.workspace import Workspace
from tasks.tables import write_table
from tasks.tracking.estimates import Estimates, estimate_file, open_estimator


def estimate(
    estimator: str, profiles: Path | None, traces: Path | None, level: float, out: Path | None
) -> Estimates:
    """Estimate every slice of a file, and write the rows to ``out`` where it is given."""
    opened = open_estimator(estimator, Workspace.from_environment().tracking_uri)
    found = estimate_file(opened, profiles, traces, level)
    if out is not None:
        write_table(out, found.table())
    return found
