"""Which experiments a run may read that the Prefect server started."""

from __future__ import annotations

from pathlib import Path

from prefect.runtime import deployment

from tasks.conf.choices import Choices
from tasks.errors import SentinelError


def offered(path: str | Path) -> str:
    """The path; of a run that a deployment started, only one that its conf folder offers.

    Whoever reaches the API chooses parameters, by an event without a form at all. Any other path
    would have the worker read a file of its machine, and tell of its lines in the log.

    Raises
    ------
    SentinelError
        If the path is empty, or a deployment started this run and its folder's conf does not list
        the path.
    """
    if not str(path).strip():
        raise SentinelError(
            "no experiment is named", "give its file: in an event as `experiment` of the payload"
        )
    plain = Path(path).as_posix()
    if deployment.id and plain not in (known := Choices.of(Path("conf")).experiments):
        raise SentinelError(
            f"{plain!r} is no experiment of this deployment's conf folder",
            f"it offers {', '.join(known)}",
        )
    return str(path)
