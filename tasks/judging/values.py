"""One answer against one reference: a number with its unit, or an expression.

Cheap comparisons come first (spelling, numbers); SymPy is asked only for what they leave open.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from tasks.judging.markup import last_member, plain, squeezed
from tasks.judging.numbers import Letters, Quantity, close, only_number, parse_quantity, readings
from tasks.judging.structure import named
from tasks.judging.symbolic import Equivalence, Outcome
from tasks.judging.units import convert
from tasks.records import Status


class Comparison(NamedTuple):
    """A verdict's status with its reason."""

    status: Status
    reason: str


class Scale(NamedTuple):
    """What "equal" means for an item: relative ``tolerance`` and the reference's ``unit``."""

    tolerance: float | None
    unit: str
    equivalence: Equivalence
    letters: Letters = Letters.FONT


_WORD = re.compile(r"(?<![\\a-zA-Z])[a-zA-Z]{3,}")
_FUNCTIONS = frozenset(
    ["sin", "cos", "tan", "cot", "sec", "csc", "log", "exp", "max", "min", "gcd", "lcm", "mod",
     "sqrt", "arcsin", "arccos", "arctan", "sinh", "cosh", "tanh", "det", "deg", "begin", "end",
     "matrix", "pmatrix", "bmatrix", "vmatrix", "cases"]
)  # fmt: skip
_IN_BASE = re.compile(r"\d+_\{?\d+\}?")
_TRAILING_WORDS = re.compile(r"(?<=[\d})\]])\s+[a-zA-Z][a-zA-Z ]{2,}$")


def decided(same: bool, reason: str) -> Comparison:
    """Correct or incorrect."""
    return Comparison(Status.CORRECT if same else Status.INCORRECT, reason)


def same_value(gold: str, answer: str, scale: Scale) -> Comparison:
    """Whether one value equals the reference.

    Names (``x =``) are ignored, of a chain of equations the last member counts, and words behind
    an expression are dropped. A phrase with a single number in it counts as that number. Words
    where an expression is wanted are incorrect.
    """
    if squeezed(gold) == squeezed(answer):
        return Comparison(Status.CORRECT, "same spelling")
    if squeezed(gold).partition("_")[0] == squeezed(answer) and _IN_BASE.fullmatch(squeezed(gold)):
        return Comparison(Status.CORRECT, "same digits, the base left out")
    wanted = parse_quantity(gold, scale.letters)
    given = parse_quantity(answer, Letters.ANY if wanted and wanted.unit else scale.letters)
    if wanted is not None and given is None:
        given = only_number(answer)
    if wanted is not None and given is not None:
        return _quantities(wanted, given, scale)
    gold, answer = named(gold)[1], named(answer)[1]
    if "=" not in gold:
        answer = last_member(answer)
    answer = answer if wordy(gold) else _TRAILING_WORDS.sub("", answer)
    if squeezed(gold) == squeezed(answer):
        return Comparison(Status.CORRECT, "same spelling")
    if wordy(answer) and not wordy(gold):
        return Comparison(Status.INCORRECT, "words instead of an expression")
    outcome, reason = scale.equivalence(gold, answer, scale.tolerance)
    if outcome is Outcome.ANSWER_UNPARSABLE:
        return Comparison(Status.INCORRECT, reason)
    if outcome in (Outcome.TIMEOUT, Outcome.GOLD_UNPARSABLE):
        return Comparison(Status(outcome.value), reason)
    return decided(outcome is Outcome.EQUAL, reason)


def _quantities(wanted: Quantity, given: Quantity, scale: Scale) -> Comparison:
    unit = wanted.unit or scale.unit
    if unit.strip().startswith("%") or unit.strip() == "\\%":
        wanted = wanted._replace(percent=True)
    for value in readings(given, wanted):
        converted = convert(value, given.unit, unit)
        if converted is None:
            return Comparison(Status.INCORRECT, f"unit {given.unit} does not measure {plain(unit)}")
        if close(converted, wanted.value, scale.tolerance):
            return Comparison(Status.CORRECT, "same value")
    return Comparison(Status.INCORRECT, "other value")


def wordy(text: str) -> bool:
    """Whether ``text`` holds a word of three letters or more that is no function's name."""
    return any(word.lower() not in _FUNCTIONS for word in _WORD.findall(plain(text)))
