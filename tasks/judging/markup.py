r"""Presentation stripped from an answer: what remains is mathematics or words.

LaTeX spacing, math delimiters, ``\left``, fonts, Unicode signs and Markdown emphasis say nothing
about an answer's value. Structure (braces, fractions, roots, commas) is kept.
"""

from __future__ import annotations

import re
from functools import lru_cache

_UNICODE = str.maketrans(
    {
        "−": "-", "–": "-", "‒": "-", "×": r"\times ", "·": r"\cdot ", "⋅": r"\cdot ",
        "∗": "*", "÷": "/", "⁄": "/", "≈": r"\approx ", "≤": r"\leq ", "≥": r"\geq ",
        "≠": r"\neq ", "π": r"\pi ", "∞": r"\infty ", "∪": r"\cup ", "∩": r"\cap ",
        "±": r"\pm ", "°": r"^{\circ}", "º": r"^{\circ}", "∅": r"\emptyset ", "∈": r"\in ",
        "\u00a0": " ", "\u2009": " ", "\u202f": " ", "\u200b": "", "€": "", "£": "", "¥": "",
        "²": "^{2}", "³": "^{3}", "µ": r"\mu ", "μ": r"\mu ", "’": "'", "“": '"', "”": '"',
        "½": " 1/2 ", "¼": " 1/4 ", "¾": " 3/4 ", "θ": r"\theta ", "α": r"\alpha ",
    }
)  # fmt: skip
_FONTS = re.compile(
    r"\\(?:text|mathrm|textbf|textit|textrm|mathbf|mathit|mathsf|boldsymbol|bm|operatorname\*?"
    r"|mbox|hbox|underline|unit|pmb|emph)\s*\{((?:[^{}]|\{[^{}]*\})*)\}"
)
_NOISE = re.compile(
    r"\\left(?![a-z])|\\right(?![a-z])|\\[bB]igg?[lr]?(?![a-z])|\\(?:display|text)style(?![a-z])"
    r"|\\(?:limits|rm|bf|it|mathrm|mathbf|text|hspace\{[^{}]*\})(?![a-zA-Z])"
)
_SYNONYMS = (
    (re.compile(r"\\[dtc]frac(?![a-zA-Z])"), r"\\frac"),
    (re.compile(r"\\(?:leqslant|le)(?![a-zA-Z])"), r"\\leq"),
    (re.compile(r"\\(?:geqslant|ge)(?![a-zA-Z])"), r"\\geq"),
    (re.compile(r"\\ne(?![a-zA-Z])"), r"\\neq"),
    (re.compile(r"\\(?:lbrace)(?![a-zA-Z])"), r"\\{"),
    (re.compile(r"\\(?:rbrace)(?![a-zA-Z])"), r"\\}"),
    (re.compile(r"\\(?:varnothing)(?![a-zA-Z])"), r"\\emptyset"),
    (re.compile(r"\\degree(?:s)?(?![a-zA-Z])|\^\s*\\circ(?![a-zA-Z])|\^\s*\{\s*\\circ\s*\}"),
     r"^{\\circ}"),
    (re.compile(r"\\frac\s*(\d)\s*(\d)"), r"\\frac{\1}{\2}"),
    (re.compile(r"\\frac\s*(\d)\s*(?=\{)"), r"\\frac{\1}"),
    (re.compile(r"(\\frac\{[^{}]*\})\s*(\d)"), r"\1{\2}"),
    (re.compile(r"\\sqrt\s*(\d)"), r"\\sqrt{\1}"),
)  # fmt: skip
# TeX's ways of setting a thousands separator: 1{,}234, 1\,234, 1,\!234.
_THOUSANDS = re.compile(r"(?<=\d)(?:\{,\}|,?\\[,!;:])(?=\d{3}(?!\d))")
# Not behind a backslash: \\ ends a row of a matrix.
_SPACES = re.compile(r"(?<!\\)\\[,;:!> ]|\\q?quad(?![a-zA-Z])|~|\s+")
_SQRT_CALL = re.compile(r"(?<!\\)\bsqrt\s*\(([^()]*)\)|√\s*\(([^()]*)\)|√\s*([\d.]+|[a-z])")
_FUNCTION = re.compile(
    r"(?<![\\a-zA-Z])(sin|cos|tan|cot|sec|csc|ln|log|exp|arcsin|arccos|arctan|pi)(?![a-zA-Z])"
)


# 2**3, but not Markdown's **2** apples.
_PYTHON_POWER = re.compile(r"(?<=[\w)}\]])(?:\*\*| \*\* )(?=[\w({\[-])")
_CHAIN = re.compile(r"[({\[]|[)}\]]|(?<![<>!:=])=(?!=)|\\(?:approx|simeq)(?![a-zA-Z])")


@lru_cache(maxsize=4096)
def plain(text: str) -> str:
    r"""``text`` without presentation; one space where there was white space, none at the ends.

    ``\text{}`` and other fonts leave their content behind, ``\%`` becomes ``%``, dollar signs go
    (delimiter or currency), a sentence's full stop goes. Letters keep their case.

    Examples
    --------
    >>> plain(r"$\left(\dfrac12,\ 1{,}234\right)$.")
    '(\\frac{1}{2}, 1234)'
    """
    text = text.translate(_UNICODE).replace("\\$", "")
    text = _PYTHON_POWER.sub("^", text)
    text = re.sub(r"(?<!\\)\\[()\[\]]|\$|\*\*|`", " ", text)
    text = _THOUSANDS.sub("", text)
    for _ in range(3):  # \textbf{\text{...}}: fonts nest this deep in practice.
        text = _FONTS.sub(r" \1 ", text)
    text = _NOISE.sub(" ", text)
    for pattern, replacement in _SYNONYMS:
        text = pattern.sub(replacement, text)
    text = text.replace("\\%", "%").replace("\\#", "#").replace("\\_", "_").replace("{ }", "")
    text = _SPACES.sub(" ", text).strip()
    # A space after a comma is kept: "1, 234" is a list, "1,234" a number.
    text = re.sub(r"\s*([(){}\[\]])\s*", r"\1", text).replace(" ,", ",")
    return text.rstrip(".;: ").strip()


def as_latex(text: str) -> str:
    r"""``plain(text)`` with calculator notation (``sqrt(2)``, ``2**3``) turned into LaTeX."""
    text = plain(text)
    text = _SQRT_CALL.sub(lambda m: rf"\sqrt{{{m[1] or m[2] or m[3]}}}", text)
    return _FUNCTION.sub(r"\\\1", text)


def squeezed(text: str) -> str:
    """``plain(text)`` without any space, for a comparison of spelling."""
    return re.sub(r"\s+|\\cdot(?![a-zA-Z])|(?<=\d)\*(?=[a-zA-Z\\(])", "", plain(text))


def last_member(text: str) -> str:
    r"""What follows the last ``=`` or ``\approx`` outside brackets; all of ``text`` without one.

    Examples
    --------
    >>> last_member(r"S = \sum_{k=1}^{n} k"), last_member("3 + 4 = 7")
    ('\\sum_{k=1}^{n} k', '7')
    """
    depth = start = 0
    for match in _CHAIN.finditer(text):
        if match[0] in "({[":
            depth += 1
        elif match[0] in ")}]":
            depth -= 1
        elif depth == 0:
            start = match.end()
    return text[start:].strip()
