"""Errors that a person can act on: what is wrong, where, and what to do about it."""

from __future__ import annotations


class SentinelError(Exception):
    """Bad input or a resource that is missing. The command line prints it without a traceback.

    Parameters
    ----------
    problem : str
        What is wrong, naming the file and row where there is one.
    remedy : str
        What to do about it.
    """

    exit_code = 2

    def __init__(self, problem: str, remedy: str) -> None:
        self.problem, self.remedy = problem, remedy
        super().__init__(f"{problem}\n  -> {remedy}")

    def __reduce__(self) -> tuple[type[SentinelError], tuple[str, str]]:
        # Ray carries exceptions between processes by pickling them.
        return type(self), (self.problem, self.remedy)


class EndpointError(SentinelError):
    """A remote engine that refuses or cannot be reached; what was generated before is kept."""

    exit_code = 3


class EngineDied(SentinelError):
    """An engine process that ended by itself; a fresh one may succeed."""

    exit_code = 4
