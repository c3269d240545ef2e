"""A model judge's reply, read strictly: what says neither yes nor no is unreadable, never guessed.

The one exception is the format ``published``, which reads replies as the study's code does.
"""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

from tasks.judging.prompts import VERDICTS, Form
from tasks.records import Status, storable

#: Characters kept of the answer and the reason a model names.
KEPT_CHARS = 300

_LINE = re.compile(r"""\{\s*(["'])success\1\s*:\s*(?:(true|True)|false|False)\s*\}""")
_FENCED = re.compile(r"```(?:json|python)?\s*\n(.*?)\n?\s*```", re.DOTALL)


class Unreadable(Exception):
    """A reply that gives no verdict. The message names the fault and quotes nothing."""


class Reading(NamedTuple):
    """What a reply says."""

    status: Status
    extracted: str | None
    reason: str


def read(form: Form, content: str | None, finish: str | None) -> Reading:
    """Read a reply.

    Parameters
    ----------
    form
        The format that was asked for.
    content
        The reply's text, ``None`` where the model refused to give one.
    finish
        Why it ended. A reply cut off at the token limit is unreadable, whatever it holds so far
        (but for ``published``).

    Raises
    ------
    Unreadable
        If the reply is not exactly in the format. Reasoning up to ``</think>`` and a code fence
        around the whole are passed over.
    """
    if not isinstance(content, str | None):
        raise Unreadable("no text")
    if content is None or not content.strip():
        raise Unreadable("empty")
    if form == "published":
        return _success("true" in content.lower())
    if finish == "length":
        raise Unreadable("cut off at the token limit")
    if finish == "content_filter":
        raise Unreadable("withheld by the server's filter")
    body = content.rpartition("</think>")[2].strip()
    fenced = _FENCED.fullmatch(body)
    body = fenced[1].strip() if fenced else body
    if form == "line":
        line = _LINE.fullmatch(body)
        if line is None:
            raise Unreadable("not the line that was asked for")
        return _success(line[2] is not None)
    return _document(body)


def _success(yes: bool) -> Reading:
    return Reading(Status.CORRECT if yes else Status.INCORRECT, None, f"success: {yes}")


def _document(body: str) -> Reading:
    try:
        document = json.loads(body, object_pairs_hook=_once)
    except (ValueError, RecursionError):
        raise Unreadable("not JSON") from None
    if not isinstance(document, dict) or set(document) != {"extracted", "reason", "verdict"}:
        raise Unreadable("JSON of another schema")
    if not all(isinstance(value, str) for value in document.values()):
        raise Unreadable("JSON of another schema")
    if document["verdict"] not in VERDICTS:
        raise Unreadable("JSON with another verdict than asked for")
    extracted, reason = (
        storable(document[n].strip()[:KEPT_CHARS]) for n in ("extracted", "reason")
    )
    return Reading(Status(document["verdict"]), extracted or None, reason)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose fields stand once each; of two verdicts neither counts."""
    document = dict(pairs)
    if len(document) != len(pairs):
        raise Unreadable("JSON that names a field twice")
    return document
