"""What went wrong in parts of a run that leave the other parts alone, told together at its end."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TypeVar

from tasks.errors import SentinelError

T = TypeVar("T")

_KEPT = ". Finished work is kept"

_log = logging.getLogger(__name__)


class Problems:
    """Collects failures by the name of what failed.

    Parameters
    ----------
    known : mapping of name to exception
        Failures to begin with.
    """

    def __init__(self, known: Mapping[str, BaseException] | None = None) -> None:
        self._found: list[tuple[str, BaseException]] = []
        for name, error in (known or {}).items():
            self.failed(name, error)

    def failed(self, name: str, outcome: object) -> bool:
        """Note ``outcome`` if it is an exception; whether it is one."""
        if not isinstance(outcome, BaseException):
            return False
        _log.error("%s: %s", name, outcome)
        self._found.append((name, outcome))
        return True

    def none_or_raise(self, results: T | None) -> T:
        """Return ``results`` of a run without problems.

        Raises
        ------
        SentinelError
            Of the first problem's kind, with all of them named; what succeeded is kept.
        """
        if not self._found and results is not None:
            return results
        if not self._found:
            raise SentinelError(
                "no model has all its responses judged and profiled",
                "run the experiment first; `sentinel plan` says what is missing",
            )
        name, first = self._found[0]
        if not isinstance(first, SentinelError):
            first = SentinelError(f"{type(first).__name__}: {first}", "the log has the traceback")
        told = first.problem if name in first.problem else f"{name}: {first.problem}"
        others: dict[str, list[str]] = {}
        for n, error in self._found[1:]:
            text = error.problem if isinstance(error, SentinelError) else repr(error)
            others.setdefault("the same" if text == first.problem else text, []).append(n)
        lines = [f"{', '.join(names)}: {text}" for text, names in others.items()]
        more = f"\n{len(self._found) - 1} more: {'; '.join(lines)}" if lines else ""
        # A run of runs, such as the nightly one, is told so already.
        remedy = first.remedy.removesuffix(_KEPT) + _KEPT
        raise type(first)(told + more, remedy)
