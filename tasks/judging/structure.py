r"""How an answer is put together: one value, several in any order, a tuple, a set, an interval.

Only the outermost layer is read; parts may have a structure of their own.
"""

from __future__ import annotations

import enum
import re
from typing import NamedTuple

from tasks.judging.markup import plain

#: More parts than any reference has; beyond them an answer is a listing gone wrong.
MAX_PARTS = 64


class Kind(enum.StrEnum):
    """Outermost layer of an answer."""

    SCALAR = "one value"
    BARE = "several values"
    SET = "a set"
    ROUND = "a tuple"
    SQUARE = "a list"
    LEFT_OPEN = "an interval open on the left"
    RIGHT_OPEN = "an interval open on the right"


class Shape(NamedTuple):
    """``parts`` in written order; a scalar has one. Names (``x=``) are kept in the parts."""

    kind: Kind
    parts: tuple[str, ...]


_MEMBER = re.compile(r"^\s*[a-zA-Z]\s*\\in(?![a-zA-Z])\s*")
_COLUMN = re.compile(r"^\\begin\{[pbvBV]?matrix\}(.*)\\end\{[pbvBV]?matrix\}$", re.DOTALL)
_CONNECTIVE = re.compile(r"\s+(?:and|or)\s+|\s*\\(?:lor|vee)(?![a-zA-Z])\s*", re.IGNORECASE)
_THOUSANDS = re.compile(r"(?<![\d,])\d{1,3}(?:,\d{3})+(?!\d|,\d)")
_SET_BUILDER = re.compile(r"\\mid|\\vert|\||:")
_NAME = re.compile(
    r"^\s*((?:\\?[a-zA-Z]+(?:_(?:\{\w+\}|\w))?)(?:\([\w, \\]*\))?)\s*=(?!=)\s*(?=[^=<>]+$)"
)
_KINDS = {"()": Kind.ROUND, "[]": Kind.SQUARE, "(]": Kind.LEFT_OPEN, "[)": Kind.RIGHT_OPEN}


def shape(text: str, *, thousands: bool = True) -> Shape:
    r"""Outermost structure of an answer.

    Parameters
    ----------
    text
        As written; presentation is stripped first.
    thousands
        Whether a comma outside brackets may group digits: ``1,234`` is one number if so and two
        if not. ``1, 234`` is always two, ``(1,234)`` always a pair.

    Notes
    -----
    ``\pm a`` counts as two values. Unions, set-builder notation and matrices of more than one row
    and column are one value, left to SymPy; a single row or column reads as a tuple.
    """
    body = _MEMBER.sub("", plain(text)).strip()
    if column := _COLUMN.match(body):
        cells = re.split(r"\\\\|&", column[1])
        if not ("&" in column[1] and "\\\\" in column[1].strip().strip("\\")):
            return Shape(Kind.ROUND, tuple(c.strip() for c in cells if c.strip()))
    if "\\cup" in body or "\\cap" in body or "\\begin" in body or "\\setminus" in body:
        return Shape(Kind.SCALAR, (body,))
    if inner := _enclosed(body, "\\{", "\\}"):
        if _SET_BUILDER.search(inner):
            return Shape(Kind.SCALAR, (body,))
        return Shape(Kind.SET, _expanded(_split(inner, thousands=False)))
    for brackets, kind in _KINDS.items():
        inner = _enclosed(body, brackets[0], brackets[1])
        if inner is None:
            continue
        parts = _split(inner, thousands=False)
        if len(parts) > 1 or kind is Kind.SQUARE:
            return Shape(kind, tuple(part.strip("'\"") for part in parts))
    parts = _expanded(_split(body, thousands=thousands))
    return Shape(Kind.SCALAR if len(parts) == 1 else Kind.BARE, parts)


def named(part: str) -> tuple[str | None, str]:
    """Name and value of ``x = 5`` or ``f(x) = 2x``; the name is ``None`` where there is none.

    An equation such as ``x + y = 1`` has no name and stays whole.
    """
    match = _NAME.match(part)
    return (match[1].replace(" ", ""), part[match.end() :].strip()) if match else (None, part)


def _enclosed(body: str, opening: str, closing: str) -> str | None:
    """What one pair of brackets around all of ``body`` encloses; ``None`` without such a pair."""
    if not (body.startswith(opening) and body.endswith(closing)):
        return None
    inner = body[len(opening) : len(body) - len(closing)]
    depth = 0
    for character in re.sub(r"\\[{}]", lambda m: "(" if m[0] == "\\{" else ")", inner):
        depth += (character in "([") - (character in ")]")
        if depth < 0:
            return None
    return inner if depth == 0 else None


def _split(body: str, *, thousands: bool) -> tuple[str, ...]:
    grouped = {i for m in _THOUSANDS.finditer(body) for i in range(*m.span())} if thousands else ()
    pieces, depth, start = [], 0, 0
    for position, character in enumerate(body):
        depth += (character in "([{") - (character in ")]}")
        if character in ",;" and depth == 0 and position not in grouped:
            pieces.append(body[start:position])
            start = position + 1
    pieces.append(body[start:])
    parts: list[str] = []
    for piece in pieces:
        unjoined = re.sub(r"^\s*(?:and|or)\s+", "", piece, flags=re.IGNORECASE)
        parts += _CONNECTIVE.split(unjoined) if balanced(unjoined) else [unjoined]
    return tuple(part.strip() for part in parts if part.strip())[:MAX_PARTS]


def balanced(piece: str) -> bool:
    """Whether each kind of bracket opens as often as it closes."""
    return all(piece.count(a) == piece.count(b) for a, b in ("()", "[]", "{}"))


def _expanded(parts: tuple[str, ...]) -> tuple[str, ...]:
    r"""Parts with one ``\pm`` written out as two."""
    out: list[str] = []
    for part in parts:
        if len(_PLUS_MINUS.findall(part)) == 1 and not _MEASURED.search(part):
            plus = re.sub(r"^\+|(?<=[=(])\s*\+", "", _PLUS_MINUS.sub("+", part))
            out += [plus, _PLUS_MINUS.sub("-", part)]
        else:
            out.append(part)
    return tuple(out)


_PLUS_MINUS = re.compile(r"\\pm(?![a-zA-Z])\s*")
# 5.2 \pm 0.1 is one measured value with its error, not two answers.
_MEASURED = re.compile(r"\d\.\d+\s*\\pm\s*\d")
