"""Numbers that the environment sets."""

from __future__ import annotations

import os

from tasks.errors import SentinelError


def seconds(name: str, default: float) -> float:
    """Seconds that an environment variable says; what is no number is a :class:`SentinelError`."""
    said = os.environ.get(name, "") or default
    try:
        return float(said)
    except ValueError:
        raise SentinelError(f"{name} is {said!r}, which is no number", "give seconds") from None
