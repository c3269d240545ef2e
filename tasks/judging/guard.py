"""What is never handed to SymPy, because it would only end at the deadline.

The guard reads the text alone and takes microseconds; one runaway comparison costs a killed
process and the deadline. It is deliberately coarse: a refusal leads to an unscored response
(``timeout``), not to a wrong one.
"""

from __future__ import annotations

import math
import re

#: Longest expression; reference answers of the ten benchmarks stay below a third of it.
MAX_CHARS = 1000

#: Nested groups. Parsing is exponential in nesting for some grammars, recursive in all.
MAX_NESTING = 20

#: Digits of a literal exponent, and the power levels that only numbers may form: 2^{3^{4}} is
#: three digits tall, 10^{10^{10}} does not fit into memory.
MAX_EXPONENT_DIGITS = 5
MAX_NUMERIC_TOWER = 2

_TOWER = re.compile(r"\d\s*\^\s*\{?\s*\(?\s*\d+(?:\s*\^\s*\{?\s*\(?\s*\d+)+")
_EXPONENT = re.compile(rf"\^\s*\{{?\s*\(?\s*-?\d{{{MAX_EXPONENT_DIGITS + 1},}}")
_FACTORIAL = re.compile(r"\d{5,}\s*!|!\s*\)?\s*!\s*\)?\s*!")


def objection(latex: str) -> str | None:
    """Why ``latex`` must not be evaluated, or ``None`` if nothing speaks against trying."""
    if len(latex) > MAX_CHARS:
        return f"longer than {MAX_CHARS} characters"
    if _nesting(latex) > MAX_NESTING:
        return f"nested deeper than {MAX_NESTING} levels"
    if _EXPONENT.search(latex):
        return f"exponent of more than {MAX_EXPONENT_DIGITS} digits"
    if _FACTORIAL.search(latex):
        return "factorial of a huge number"
    for tower in _TOWER.finditer(latex):
        levels = re.findall(r"\d+", tower[0])[1:]
        if len(levels) > MAX_NUMERIC_TOWER or (len(levels) == 2 and _too_tall(*map(int, levels))):
            return "tower of exponents"
    return None


def _too_tall(base: int, exponent: int) -> bool:
    """Whether ``base ** exponent`` has more digits than an exponent may have."""
    if exponent > 10**MAX_EXPONENT_DIGITS:
        return base > 1
    return exponent * math.log10(max(base, 1)) >= MAX_EXPONENT_DIGITS


def _nesting(latex: str) -> int:
    depth = deepest = 0
    for character in latex:
        if character in "{([":
            depth += 1
            deepest = max(deepest, depth)
        elif character in "})]":
            depth -= 1
    return deepest
