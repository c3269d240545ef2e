"""Turns the records of the fault tests into a page; `make faults` causes them all and writes it.

usage: python -m tests.live.faults.table RECORDS PAGE
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

#: Every fault that has to be survived, in the order of the page, and the rows it has there.
FAULTS = (
    "worker killed",
    "node lost",
    "node lost beneath an engine",
    "engine out of memory: its node",
    "engine out of memory: its process",
    "Prefect server restarted",
    "MLflow down for a minute",
    "PostgreSQL restarted",
    "object store slow",
    "disk full",
    "driver killed and restarted elsewhere",
    "driver killed: its page in Prefect",
    "two identical runs at once",
    "cancel from the UI",
    "cancel from the UI: the engine",
    "clock skew",
)

HEAD = """# Faults

Each row was caused and recorded by a test ({days}, {cores} cores). `make faults` causes them all
again and writes this page from what happened (`tests/live/faults/table.py`).

An item is *lost* if it has no stored row after the run, or the later run that the row speaks of.
It is *repeated* if it was asked of the model more than once, and this is counted where the asking
ends: by the endpoint itself, by vLLM's log of its requests, or, for the pieces of a sweep, by the
Ray head's record of attempts.

| fault | how it was caused | what happened | items lost | items repeated | test |
|---|---|---|---|---|---|
"""

TAIL = """
## What is repeated, and why

Answers are stored in parts (`batch_items`). A part that was under way when its process died, or
that could not be written, is asked again, as nobody else knows its answers. That is at most one
part for each job and engine: two jobs with parts of 8 items in these tests, or of 4 beneath vLLM;
three with parts of 8 where vLLM's own process is killed. What is stored is never asked again.

Two runs of one experiment see what the other has in hand (`tasks/storage/claims.py`) and take
something else; what a model judge is asked is shared in the same way. A claim is a hint without a
time in it, as clocks may differ: its holder writes a new number into it every 5 s, however long its
batch takes, and one that has not changed for 20 s is a killed run's. What killed runs had in hand
is answered last, and a run that has nothing else left to do waits at most those 20 s for it.

## What is not so

- All nodes were processes of one machine, so a node is lost at once and completely. A network that
  is cut without a word was not tried.
- A run by hand without a Prefect server starts one of its own, which ends with it. Killed by
  `kill -9`, such a run stays `Running` in its database, as nobody is left to say otherwise.
- Ray's watchers of a killed run (two idle processes without work) go within about a minute.
"""


def page(lines: list[str]) -> str:
    """Markdown of the records; of a fault that was recorded twice, the last counts.

    Raises
    ------
    KeyError
        Names the faults that have no record: the page shows all or is not written.
    """
    rows = {row["fault"]: row for row in map(json.loads, lines)}
    missing = [name for name in FAULTS if name not in rows]
    if missing or len(rows) > len(FAULTS):
        raise KeyError(f"no record of {missing}; records of {sorted(set(rows) - set(FAULTS))}")
    days = sorted({row["day"] for row in rows.values()})
    cores = sorted({str(row["cores"]) for row in rows.values()})
    head = HEAD.format(days=" to ".join(days[:: max(1, len(days) - 1)]), cores=" or ".join(cores))
    return head + "".join(_line(rows[name]) for name in FAULTS) + TAIL


def _line(row: dict) -> str:
    cells = (
        row["fault"], row["cause"], row["outcome"], f"{row['lost']} of {row['of']}",
        row["repeated"], f"`{row['test']}`",
    )  # fmt: skip
    return f"| {' | '.join(map(str, cells))} |\n"


if __name__ == "__main__":
    records, out = map(Path, sys.argv[1:])
    out.write_text(page(records.read_text().splitlines()))
