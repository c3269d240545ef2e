r"""Numbers as people and models write them, exactly, and the comparison of two of them.

Values are fractions, so integers of any size compare exactly and tolerances have sharp edges.
Read are signs, thousands separators, decimals, ``3e8``, ``3.0 \times 10^{8}``, ``10^8``, ``a/b``,
``\frac{a}{b}``, mixed numbers, ``1011_2``, a percent sign and a trailing unit or word. Not read are
roots, pi and sums: those are left to SymPy.
"""

from __future__ import annotations

import enum
import re
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

from tasks.judging.markup import last_member, plain
from tasks.judging.units import parse_unit

#: Tolerance of a comparison that names none. Two decimals of the same number printed by different
#: programs differ by less; 0.33 and 0.333 differ by more. Integers are compared exactly.
DEFAULT_TOLERANCE = 1e-9

#: Added only where the reference is 0, which no relative tolerance can reach. It must not apply
#: to other values: physics has answers of 1e-36.
ZERO_FLOOR = Fraction(1, 10**9)

#: Larger powers of ten are not numbers anybody meant, and would take memory to write out.
MAX_EXPONENT = 400

#: Longest text read as one number; also bounds the regular expressions.
MAX_CHARS = 200


class Quantity(NamedTuple):
    """A value with what stood behind it: ``percent`` sign, ``unit`` ('' without one)."""

    value: Fraction
    percent: bool = False
    unit: str = ""


_DIGITS = r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d*)?|\.\d+"
_SIGNED = rf"[-+]?\s*(?:{_DIGITS})"
_POWER = r"10\s*(?:\^|\*\*)\s*(?:\{\s*([-+]?\s*\d+)\s*\}|\(\s*([-+]?\d+)\s*\)|([-+]?\d+))"
_SCALE = re.compile(rf"\s*(?:\\times|\\cdot|\*|x|X)\s*{_POWER}|[eE]([-+]?\d+)(?![\w.])")
_BARE_POWER = re.compile(_POWER)
_SIGN = re.compile(r"\s*([-+]?)\s*")
_FRAC = re.compile(rf"\\frac\s*\{{\s*({_SIGNED})\s*\}}\s*\{{\s*({_SIGNED})\s*\}}")
_SLASH = re.compile(rf"({_DIGITS})\s*/\s*({_DIGITS})(?![\w.])")
_PARENTHESISED_SLASH = re.compile(rf"\(({_SIGNED})\)\s*/\s*\(({_SIGNED})\)")
_MIXED = re.compile(r"(\d+)(?:\s+|\s*\+\s*(?=\\frac))(\d+)\s*/\s*(\d+)(?![\w.])")
_MIXED_FRAC = re.compile(r"(\d+)\s*\\frac\s*\{\s*(\d+)\s*\}\s*\{\s*(\d+)\s*\}")
_NUMBER = re.compile(_DIGITS)
_BASE = re.compile(r"(\d+)_\{?(\d{1,2})\}?")
_HEDGE = re.compile(r"(?:\\approx|\\sim|approximately|approx\.?|about|roughly|around|=)\s*", re.I)
_WORD = re.compile(r"\(?([A-Za-zΩÅ]+)")
_PERCENT = re.compile(r"%|per\s?cent\b|percent\b", re.I)
_UNIT = re.compile(
    r"(?:[A-Za-zΩÅ_'\"/*.\-() ]|\^|\{|\}|(?<=[\^{\-*])\d|\\(?:mu|Omega|circ|cdot|frac|AA|mathring|"
    r"ohm|degree|times)(?![a-zA-Z])|(?<=[a-zA-Z])\d|\+)*"
)
_FONT = re.compile(r"\\(?:text|mathrm|rm|textrm|mbox|operatorname|unit)(?![a-zA-Z])")
#: Short units that need no font or space to be told from a product of variables. ``RC`` and ``xy``
#: are products; pint would read the first as a ronna-coulomb.
_SHORT_UNITS = frozenset(
    ["cm", "mm", "km", "nm", "dm", "kg", "mg", "kJ", "MJ", "eV", "Hz", "Pa", "ms", "ns", "mL", "ml",
     "ft", "mi", "hr", "kW", "MW", "kN", "mN", "mV", "kV", "mA", "cc", "AU", "ly", "in", "yd", "oz",
     "lb", "mol", "am", "deg", "min", "sec", "USD", "mph", "kWh"]
)  # fmt: skip
_SPACED_LETTERS = frozenset("mgshNJWVAKCL")


class Letters(enum.Enum):
    """When a single letter behind a number is its unit and not a variable."""

    FONT = "only in a text font, as in 5 \\mathrm{m}"
    SPACE = "in a text font or behind a space, as in 5 m"
    ANY = "always, as in 5m"


@lru_cache(maxsize=4096)
def parse_quantity(text: str, letters: Letters = Letters.SPACE) -> Quantity | None:
    r"""Number at the start of ``text`` with its unit; ``None`` if ``text`` is anything else.

    ``x = 5`` reads as 5 and a chain ``a = b = 5`` as its last member. ``1, 2`` is a list, ``5x`` an
    expression, ``\sqrt{2}`` a root: all ``None``. "3 apples" reads as 3 with the unit "apples".
    ``letters`` says what ``5m`` is: five metres, or a product with the variable m.

    Examples
    --------
    >>> parse_quantity(r"3.0 \times 10^{8} \text{ m/s}")
    Quantity(value=Fraction(300000000, 1), percent=False, unit='m/s')
    """
    if len(text) > MAX_CHARS:
        return None
    body = last_member(plain(text))
    body = _HEDGE.sub("", body, count=1) if _HEDGE.match(body) else body
    while body.startswith("(") and body.endswith(")") and "," not in body:
        inner = body[1:-1]
        if "(" in inner or ")" in inner:
            break
        body = inner
    if base := _BASE.fullmatch(body):
        return _in_base(base[1], int(base[2]))
    return _read(body, Letters.ANY if _FONT.search(text) else letters)


def _in_base(digits: str, base: int) -> Quantity | None:
    """``1011_2`` is 11; digits that the base does not have make it no number."""
    try:
        return Quantity(Fraction(int(digits, base)))
    except ValueError:
        return None


def _read(body: str, letters: Letters) -> Quantity | None:
    sign = _SIGN.match(body)
    start = sign.end() if sign else 0
    found = _magnitude(body, start)
    if found is None:
        return None
    value, end = found
    scale = _SCALE.match(body, end)
    if scale:
        exponent = _exponent(scale)
        if exponent is None:
            return None
        value, end = value * Fraction(10) ** exponent, scale.end()
    if sign and sign[1] == "-":
        value = -value
    rest = body[end:]
    percent = _PERCENT.match(rest.strip())
    if percent:
        rest = rest.strip()[percent.end() :]
    if not _names_unit(rest, letters):
        return None
    return Quantity(value, bool(percent), rest.strip())


def _magnitude(body: str, start: int) -> tuple[Fraction, int] | None:
    for pattern in (_MIXED_FRAC, _MIXED):
        if match := pattern.match(body, start):
            whole, above, below = (int(g) for g in match.groups())
            return (whole + Fraction(above, below), match.end()) if below else None
    for pattern in (_FRAC, _PARENTHESISED_SLASH, _SLASH):
        if match := pattern.match(body, start):
            above_, below_ = _decimal(match[1]), _decimal(match[2])
            return (above_ / below_, match.end()) if below_ else None
    if match := _BARE_POWER.match(body, start):
        exponent = _exponent(match)
        return None if exponent is None else (Fraction(10) ** exponent, match.end())
    if match := _NUMBER.match(body, start):
        return _decimal(match[0]), match.end()
    return None


def _decimal(digits: str) -> Fraction:
    return Fraction(re.sub(r"[,\s]", "", digits))


def _exponent(match: re.Match[str]) -> int | None:
    digits = next(g for g in match.groups() if g is not None).replace(" ", "")
    if len(digits) > len(str(MAX_EXPONENT)) + 1 or abs(int(digits)) > MAX_EXPONENT:
        return None
    return int(digits)


def _names_unit(rest: str, letters: Letters) -> bool:
    """Whether the text behind a number is a unit or words, and not more of an expression."""
    spaced, rest = rest.startswith(" "), rest.strip()
    if not rest:
        return True
    if rest.startswith(("^{\\circ}", "\\circ")):
        rest = rest.partition("circ")[2].lstrip("} ")
        return not rest or rest[0] in "CFK" or bool(re.match(r"[a-zA-Z]{3,}", rest))
    if rest[0] in "+*/^=<>_{!'-" or not _UNIT.fullmatch(rest):
        return bool(re.match(r"-[a-zA-Z]{3,}", rest)) or (rest[0] == "/" and letters is Letters.ANY)
    if letters is Letters.ANY:
        return True
    word = _WORD.match(rest)
    if word is None:
        return rest.startswith(("\\mu", "\\Omega", "\\AA"))
    if len(word[1]) == 1:
        return spaced and letters is Letters.SPACE and word[1] in _SPACED_LETTERS
    if len(word[1]) == 2 or not spaced:
        return word[1] in _SHORT_UNITS or (len(word[1]) > 2 and parse_unit(word[1]) is not None)
    return True


def only_number(text: str) -> Quantity | None:
    """The one number in a phrase of words, as in "she has 5 apples left"; ``None`` if not one.

    Not tried are choosing among several numbers and number words ("five").
    """
    if len(text) > MAX_CHARS:
        return None
    body = plain(text)
    words = re.sub(r"\\[a-zA-Z]+|[^A-Za-z ]", " ", body).split()
    if not any(len(word) > 1 for word in words) or "\\" in body:
        return None
    found = list(re.finditer(rf"(?<![\w.])[-+]?(?:{_DIGITS})(?:[eE][-+]?\d+)?(?![\w^])", body))
    return Quantity(_decimal(found[0][0])) if len(found) == 1 else None


def close(answer: Fraction, gold: Fraction, tolerance: float | None) -> bool:
    """Whether ``answer`` equals ``gold`` within a relative ``tolerance``.

    ``None`` and 0 mean exact: integers digit by digit, others within ``DEFAULT_TOLERANCE``. A
    reference of 0 accepts what is within ``ZERO_FLOOR``. Nothing is rounded first: 0.33 equals
    0.333 only if the tolerance says so.
    """
    if answer == gold:
        return True
    if gold == 0:
        return abs(answer) <= ZERO_FLOOR
    if not tolerance and answer.denominator == 1 and gold.denominator == 1:
        return False
    relative = Fraction(str(max(tolerance or 0.0, DEFAULT_TOLERANCE)))
    return abs(answer - gold) <= relative * abs(gold)


def readings(answer: Quantity, gold: Quantity) -> tuple[Fraction, ...]:
    """Values that ``answer`` may stand for beside ``gold``, given their percent signs.

    As printed always: "60 %" and "60" agree either way round, since references often leave the
    sign to the question. A percent sign on the answer alone also reads as a hundredth, since
    "60 %" is 0.6 by definition. A bare 0.6 is never read as 60 %: it may as well mean 0.6 %.
    """
    if answer.percent and not gold.percent:
        return (answer.value, answer.value / 100)
    return (answer.value,)
