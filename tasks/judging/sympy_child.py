"""The process in which SymPy runs. Started by ``symbolic``, killed by the kernel or by it.

Before each comparison it arms a CPU timer whose signal keeps the default action: the kernel ends
the process even inside a long C call, where no Python handler would run, and even if the parent
is gone. Numbers are compared by value at 30 digits, other expressions at sample points, and only
what is left (sets, relations, matrices, unknown functions) by math-verify.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import resource
import signal
import sys
from multiprocessing.connection import Connection
from typing import Any

import sympy
from latex2sympy2_extended import latex2sympy
from math_verify import LatexExtractionConfig, parse, verify
from sympy.core.function import AppliedUndef

#: Address space of this process. SymPy's legitimate comparisons stay below 300 MB.
MEMORY_BYTES = 4 * 2**30

#: Two exact constants that agree to this relative distance are taken as equal.
CONSTANT_TOLERANCE = 1e-9

#: Points at which expressions are compared, one value a symbol in alphabetical order. Whole
#: numbers first: formulas of combinatorics are only meant there.
POINTS = (
    ("7", "3", "5", "11", "13", "2", "17", "19"),
    ("12", "5", "7", "3", "2", "9", "4", "6"),
    ("0.37", "0.81", "0.59", "0.23", "0.67", "0.91", "0.13", "0.43"),
    ("2.713", "1.377", "3.119", "1.913", "4.217", "1.129", "2.339", "5.413"),
    ("-1.457", "-0.613", "-2.291", "-0.871", "-3.331", "-1.733", "-0.219", "-2.657"),
)

#: Distance at a sample point below which expressions count as equal there.
POINT_TOLERANCE = 1e-10

Reply = tuple[str, str]

_COMMAND = re.compile(r"\\[a-zA-Z]+")
_COMMAND_OR_CAPITAL = re.compile(r"\\[a-zA-Z]+|[A-Z]")


def compare(gold: str, answer: str, tolerance: float | None) -> Reply:
    """Outcome and reason, in plain strings; see ``symbolic.Outcome``."""
    gold, answer = _cases_apart(gold, answer)
    reference = _parsed(gold)
    if reference is None:
        return "gold_unparsable", "the reference is not an expression that can be parsed"
    given = _parsed(answer)
    if given is None:
        return "answer_unparsable", "the answer is not an expression that can be parsed"
    if (by_value := _same_constant(reference, given, tolerance)) is not None:
        return _reply(by_value, "value")
    if (by_points := _same_at_points(reference, given)) is not None:
        return _reply(by_points, "values at sample points")
    equal = verify([reference], [given], timeout_seconds=None)
    return _reply(bool(equal), "symbolic comparison")


def _reply(equal: bool, how: str) -> Reply:
    return ("equal", f"equal by {how}") if equal else ("different", f"different by {how}")


def _parsed(latex: str) -> Any | None:
    """SymPy object, or ``None``.

    The grammar is tried on the text as it is; math-verify's own reading, which drops what looks
    like a unit (the ``c`` of ``1 - c``), only if that fails.
    """
    with contextlib.suppress(Exception):
        return latex2sympy(
            latex, is_real=True, convert_degrees=False, normalization_config=None
        )  # fmt: skip
    found = parse(
        f"${latex}$",
        extraction_config=[LatexExtractionConfig()],
        fallback_mode="no_fallback",
        parsing_timeout=None,
    )
    return found[0] if found else None


def _cases_apart(*texts: str) -> list[str]:
    """``texts`` with capitals renamed where one text uses a letter in both cases.

    The parser lowers all letters, so that ``R/r`` would be 1.
    """
    letters = [set(re.findall(r"[A-Za-z]", _COMMAND.sub(" ", text))) for text in texts]
    clash = sorted({c for used in letters for c in used if c.isupper() and c.lower() in used})
    taken = {c.lower() for used in letters for c in used}
    spare = [c for c in "uvwyzkmpqabcfgh" if c not in taken]
    names = dict(zip(clash, spare, strict=False))
    return [_COMMAND_OR_CAPITAL.sub(lambda m: names.get(m[0], m[0]), text) for text in texts]


def _same_constant(gold: Any, answer: Any, tolerance: float | None) -> bool | None:
    """Equality of two constants by value; ``None`` unless both are finite numbers."""
    values = []
    for expression in (gold, answer):
        if not isinstance(expression, sympy.Expr) or expression.free_symbols:
            return None
        value = sympy.N(expression, 30)
        if not value.is_number or not value.is_finite:
            return None
        values.append(value)
    reference, given = values
    if not tolerance and all(value == sympy.floor(value) for value in values):
        return bool(abs(given - reference) < 0.5)
    relative = max(tolerance or 0.0, CONSTANT_TOLERANCE)
    return bool(abs(given - reference) <= relative * abs(reference) + (reference == 0) * 1e-9)


def _same_at_points(gold: Any, answer: Any) -> bool | None:
    """Equality at sample points; ``None`` if the expressions cannot be evaluated there."""
    for expression in (gold, answer):
        if not isinstance(expression, sympy.Expr) or expression.has(AppliedUndef):
            return None
    names = sorted({symbol.name for symbol in gold.free_symbols | answer.free_symbols})
    if not names or len(names) > len(POINTS[0]):
        return None
    compared = 0
    for point in POINTS:
        at = {name: sympy.Float(value, 30) if "." in value else sympy.Integer(value)
              for name, value in zip(names, point, strict=False)}  # fmt: skip
        left, right = (_value_at(expression, at) for expression in (gold, answer))
        if left is None or right is None:
            continue
        compared += 1
        if abs(left - right) > POINT_TOLERANCE * max(abs(left), 1e-30):
            return False
    return True if compared >= 3 else None


def _value_at(expression: Any, at: dict[str, Any]) -> Any | None:
    value = sympy.N(expression.subs({s: at[s.name] for s in expression.free_symbols}), 25)
    return value if value.is_number and value.is_finite else None


def serve(pipe: Connection, cpu_s: float) -> None:
    """Answer questions until the pipe closes. One comparison may use ``cpu_s`` CPU seconds."""
    while True:
        try:
            gold, answer, tolerance = pipe.recv()
        except (EOFError, OSError):
            return
        signal.setitimer(signal.ITIMER_PROF, cpu_s)
        try:
            reply = compare(gold, answer, tolerance)
        except MemoryError:
            reply = ("timeout", "SymPy ran out of its memory limit")
        except RecursionError:
            reply = ("timeout", "SymPy recursed too deeply")
        except Exception as error:  # SymPy raises anything on odd input; the answer is not equal.
            reply = ("answer_unparsable", f"SymPy failed on it: {type(error).__name__}")
        signal.setitimer(signal.ITIMER_PROF, 0)
        pipe.send(reply)


def main() -> None:
    """Run as ``python -m tasks.judging.sympy_child FD CPU_SECONDS``."""
    logging.disable(logging.CRITICAL)
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _parsed(r"\frac{1}{2}x")  # The grammar's tables are built on first use, outside the deadline.
    pipe = Connection(int(sys.argv[1]))
    pipe.send("ready")
    # Nobody reads standard error from here on, and a full pipe would block.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    serve(pipe, float(sys.argv[2]))


if __name__ == "__main__":
    main()
