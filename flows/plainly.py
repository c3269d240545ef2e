"""Errors that a person can mend, told in the log of a run without the way they came."""

from __future__ import annotations

import logging

from tasks.errors import SentinelError

# Prefect logs what ends a flow or a task there, each with its traceback.
_LOGGERS = ("prefect.flow_runs", "prefect.task_runs")


def without_traceback(record: logging.LogRecord) -> bool:
    """Take the traceback from a line about a :class:`SentinelError`; every line is kept.

    Such an error names the file, the row and the remedy. Of any other the traceback stays, as it
    is a mistake of ours.
    """
    if record.exc_info and isinstance(record.exc_info[1], SentinelError):
        record.exc_info = record.exc_text = None
    return True


def tell_plainly() -> None:
    """Have the logs of runs in this process tell errors so; may be called again."""
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(without_traceback)
