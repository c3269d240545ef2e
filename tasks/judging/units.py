"""Units of measurement: read from LaTeX or prose, converted with pint.

A unit that pint does not know ("apples", "photons per pulse") decides nothing: the values alone
are compared. Counts of things (mol, electron, photon) are treated as pure numbers, because
answers name or omit them at will.
"""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache
from typing import Any

import pint

from tasks.judging.markup import plain

#: Longer texts are sentences, not units.
MAX_CHARS = 60

_SPELLINGS = {
    "KJ": "kJ", "kPA": "kPa", "KPa": "kPa", "Torr": "torr", "Å": "angstrom", "hrs": "hour",
    "hr": "hour", "sec": "second", "secs": "second", "mins": "minute", "Year": "year",
    "Years": "year", "yr": "year", "yrs": "year", "lb": "lbf", "lbs": "lbf", "mph": "mile/hour",
    "kph": "km/hour", "ly": "light_year", "Joules": "joule", "joules": "joule", "Newtons":
    "newton", "newtons": "newton", "Celsius": "degC", "Kelvin": "kelvin", "degrees": "degree",
    "deg": "degree", "cc": "cm**3", "sq": "", "Hz": "1/second", "rad": "", "radians": "",
    "radian": "", "h": "hour", "kmph": "km/hour", "ohms": "ohm", "amps": "ampere", "e":
    "elementary_charge", "A": "ampere", "u": "unified_atomic_mass_unit",
}  # fmt: skip
_COUNTS = re.compile(r"(?:k?mol|(?:mole|electron|atom|particle|photon|ion|molecule|event)s?)")
_TOKEN = re.compile(r"[A-Za-zΩÅ_]+|\*\*-?\d|[*/()]")


@lru_cache(maxsize=1)
def _registry() -> Any:
    return pint.UnitRegistry(cache_folder=None, on_redefinition="ignore")


@lru_cache(maxsize=2048)
def parse_unit(text: str) -> Any | None:
    r"""Pint unit that ``text`` names, or ``None`` if it is empty, a sentence or unknown.

    A power of ten in front (SciBench writes ``10^{-9} \mathrm{~J}``) is dropped: the reference
    value already carries it.
    """
    if not text or len(text) > MAX_CHARS:
        return None
    expression = _expression(plain(text))
    if not expression:
        return None
    try:
        unit = _registry().parse_units(expression)
    except Exception:  # pint raises a dozen kinds, tokenizer's own among them, on free text.
        return None
    return None if unit.dimensionless and not str(unit) else unit


def _expression(unit: str) -> str:
    unit = re.sub(r"^\s*10\s*\^\s*(\{[^{}]*\}|-?\d+)", "", unit)
    unit = re.sub(r"\\frac\{([^{}]*)\}\{((?:[^{}]|\{[^{}]*\})*)\}", r"(\1)/(\2)", unit)
    unit = re.sub(r"(?:\^\{\\circ\}|\\circ|degrees?)\s*([CF])(?![A-Za-z])", r" deg\1 ", unit)
    unit = unit.replace("^{\\circ}", " degree ").replace("{\\circ}", " degree ")
    unit = re.sub(r"\\mu\s*", "u", unit).replace("\\Omega", "ohm").replace("\\AA", "Å")
    unit = re.sub(r"\\cdot|\\times|(?<!\*)\*(?!\*)|-(?=[A-Za-z])", "*", unit)
    unit = re.sub(r"\bper\b", "/", unit)
    unit = re.sub(r"(?:\^|\*\*)\s*\{?\s*\(?\s*([-+]?\d)\s*\)?\s*\}?", r"**\1", unit)
    unit = re.sub(r"(?<=[a-z])([23])(?!\d)", r"**\1", unit).replace("{", "").replace("}", "")
    tokens = _TOKEN.findall(unit)
    if "".join(tokens) != re.sub(r"\s", "", unit):
        return ""
    return _joined(tokens)


def _joined(tokens: list[str]) -> str:
    """Tokens as a pint expression: neighbours multiply, counts become 1."""
    out: list[str] = []
    for token in tokens:
        word = "1" if _COUNTS.fullmatch(token) else _SPELLINGS.get(token, token)
        word = word or "1"
        starts = word[0].isalnum() or word[0] in "_("
        if out and starts and (out[-1][-1].isalnum() or out[-1][-1] in "_)"):
            out.append("*")
        out.append(f"({word})" if token in _SPELLINGS and "/" in word else word)
    return "".join(out).strip("*")


def convert(value: Fraction, unit: str, target: str) -> Fraction | None:
    """``value`` in ``unit`` expressed in ``target``; ``None`` if they measure different things.

    Where either side has no unit that pint knows, ``value`` comes back unchanged: a missing unit
    is accepted. A bare degree sign beside a temperature is taken as that temperature's degree.
    """
    source, wanted = parse_unit(unit), parse_unit(target)
    if source is None or wanted is None or source == wanted:
        return value
    if str(source) == "degree" and str(wanted).startswith("degree_"):
        return value
    try:
        converted = _registry().Quantity(float(value), source).to(wanted).magnitude
    except pint.DimensionalityError:
        return None
    except (pint.errors.PintError, OverflowError, ArithmeticError):
        return value
    # Twelve digits, so that float rounding does not defeat an exact comparison.
    return Fraction(f"{converted:.12g}")
