"""The log of a run: a traceback for our mistakes, none for what a person can mend."""

import logging

import pytest

import flows.steps  # noqa: F401 - as every run imports it
from tasks.errors import EngineDied, SentinelError


@pytest.mark.parametrize("logger", ["prefect.flow_runs", "prefect.task_runs"])
@pytest.mark.parametrize(
    ("error", "shown"),
    [(SentinelError("no file", "give one"), False), (EngineDied("gone", "rerun"), False),
     (ValueError("ours"), True)],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_only_an_error_of_ours_is_logged_with_its_traceback(
    caplog, logger: str, error: Exception, shown: bool
) -> None:
    found = logging.getLogger(logger)
    found.addHandler(caplog.handler)  # Prefect's loggers pass nothing on.
    try:
        try:
            raise error
        except Exception as caught:
            found.exception("Encountered exception: %r", caught)
    finally:
        found.removeHandler(caplog.handler)
    assert str(error).split("\n")[0] in caplog.text
    assert ("Traceback" in caplog.text) == shown
