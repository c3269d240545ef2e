"""Asking a server as patiently as Prefect's own client does: a busy one answers later."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

_ANSWER_S = 60.0
_TIMES = 6


def ask(
    url: str, body: object = None, headers: Mapping[str, str] | None = None, again: bool = False
) -> bytes:
    """What is at an address; a body is posted as JSON.

    Asked again where the server says that it is busy, as while SQLite is locked. Where it says
    nothing at all, only what may be done twice is asked again: reading, and what ``again`` vouches
    for.
    """
    data = None if body is None else json.dumps(body).encode()
    given = {"Content-Type": "application/json"} | dict(headers or {})
    request = urllib.request.Request(url, data, given)
    again = again or body is None or url.endswith("/filter")
    for left in reversed(range(_TIMES)):
        try:
            with urllib.request.urlopen(request, timeout=_ANSWER_S) as answer:
                return answer.read()
        except urllib.error.HTTPError as error:
            if error.code != HTTPStatus.SERVICE_UNAVAILABLE or not left:
                raise
        except OSError as error:
            silent = isinstance(getattr(error, "reason", error), TimeoutError)
            if not (silent and again and left):
                raise
        time.sleep(2)
    raise AssertionError("unreachable")


def ask_json(url: str, body: object = None, **options: Any) -> Any:
    """The same, read as JSON; nothing at all is an empty object."""
    return json.loads(ask(url, body, **options) or "{}")
