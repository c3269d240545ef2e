r"""The final answer of a response.

Explicit marks count first: the last ``\boxed{}``, then phrases such as "the final answer is",
then, for multiple choice, a line that is only a letter. A numeric answer may also be the last
number of a response that ended by itself; in one cut off at the token limit that number is a
way-station and is never read as the answer.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from tasks.records import AnswerType, Finish

#: Phrases and numbers are looked for in this many last characters: an answer stands at the end,
#: and a bounded text bounds the time of every regular expression below.
TAIL_CHARS = 4000

#: Longest answer a phrase may introduce; a longer one is reasoning that goes on.
PHRASE_CHARS = 300

#: Boxes directly inside one another that are opened.
MAX_NESTED_BOXES = 4


class Extraction(NamedTuple):
    """What was read: ``answer`` (``None`` without one), ``how``, or why there is none."""

    answer: str | None
    how: str


_BOX = re.compile(r"\\(?:boxed|fbox|framebox)\s*(?=\{)|\\boxed\s+(?=[^\s{\\])")
# An escaped brace is content and not a group: \boxed{\{1, 2\}}.
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_TOKEN_END = re.compile(r"[\s$\\]|$")
# Two boxes are one answer where only punctuation, a conjunction or math delimiters stand between.
_BETWEEN_BOXES = re.compile(r"(?:\s|\$|\\[()\[\],;]|\\text\s*\{\s*(?:and|or)\s*\}|and|or|[,;&])*")
# Quantified over characters that exclude one another, so matching stays linear in the text.
_PHRASE = re.compile(
    r"(?:####"
    r"|\bfinal\s+answers?\b(?:\s*\([^()\n]{0,40}\))?(?:\s+(?:is|are|was|be|would\s+be))?"
    # "The unit of the answer is" echoes SciBench's questions.
    r"|(?<!of the )\b(?:correct\s+)?(?:answer|option|choice)s?"
    r"\s+(?:is|are|(?:would|must|should)\s+be)"
    r"|\banswers?\s*\*{0,2}\s*:)"
    r"\s*(?:therefore|thus|that|option|choice)?\s*[:=]?\s*",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(
    r"\n|[.!?](?=\s|$|\*\*|\")|\\\]|\$\$|,?\s(?:because|since|which|where|assuming)\s"
)
_OPENING = re.compile(r"(?:\s|\*\*|__|\\\[|\\\(|\$\$?|:|\"|`)+")
_LETTER_LINE = re.compile(r"^[\s*_$(\\\[]*([A-J])[\s*_$).\\\]]*$", re.MULTILINE)
_LEADING_LETTER = re.compile(r"[\s*_$\\(\[{\"'`]*(?:text\{\s*\(?)?([A-J])(?![A-Za-z'])")
_NUMBER = re.compile(
    r"(?<![\w.])[-\u2212+]?\s?\$?(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?"
    r"(?:[eE][-+]?\d+|\s*(?:\\times|\u00d7)\s*10\s*\^\s*(?:\{[-+]?\d+\}|[-+]?\d+))?(?:/\d+)?\s*(?:\\?%)?"
    r"|(?<![\w.])[-\u2212+]?\.\d+"
)


def extract(text: str, finish: str, answer_type: str, *, last_number: bool = True) -> Extraction:
    """Final answer of ``text``.

    Parameters
    ----------
    text
        The response, reasoning included; what precedes the last ``</think>`` is ignored, and a
        ``<think>`` that is never closed leaves nothing to read.
    finish
        ``Finish.LENGTH`` restricts reading to explicit marks.
    answer_type
        Letters are read for ``multiple_choice``; the last number for ``numeric``.
    last_number
        ``False`` forbids the last number, for a numeric item whose reference is not one number.

    Returns
    -------
    Extraction
        The answer as written, or ``None`` and the reason. Nothing is computed, rounded or
        translated here, and a box that is never closed is not an answer.
    """
    text = _after_thinking(text)
    if not text.strip():
        return Extraction(None, "no text after the reasoning")
    boxed = last_boxed(text)
    if boxed is not None:
        return Extraction(boxed, "boxed")
    tail = text[-TAIL_CHARS:]
    if answer_type == AnswerType.MULTIPLE_CHOICE:
        return _choice(tail)
    phrase = _last_phrase(tail)
    if phrase is not None:
        return Extraction(phrase, "phrase")
    if finish == Finish.LENGTH:
        return Extraction(None, "cut off at the token limit before a marked answer")
    if answer_type == AnswerType.NUMERIC and last_number:
        numbers = _NUMBER.findall(tail)
        if numbers:
            return Extraction(numbers[-1].strip(), "last number")
    return Extraction(None, "no boxed answer, answer phrase or usable last number")


def last_boxed(text: str) -> str | None:
    r"""Content of the last closed ``\boxed{}``, inner boxes removed; ``None`` without one.

    Neighbouring boxes with nothing but "and", "or" or a comma between them are one answer of
    several parts and are joined by ``", "``; the same box repeated counts once. Empty boxes, such
    as an echo of the instruction, do not count.
    """
    closing = _closing_braces(text)
    spans: list[tuple[int, int, str]] = []
    position = 0
    while match := _BOX.search(text, position):
        position = match.end()
        end = _group_end(text, match.end(), closing)
        if end is None:
            continue
        position = end
        content = _unbox(_stripped(text[match.end() : end]))
        if content:
            spans.append((match.start(), end, content))
    if not spans:
        return None
    group = [spans[-1]]
    for span in reversed(spans[:-1]):
        if not _BETWEEN_BOXES.fullmatch(text, span[1], group[0][0]):
            break
        group.insert(0, span)
    return ", ".join(dict.fromkeys(content for _, _, content in group))


def _closing_braces(text: str) -> dict[int, int]:
    """Position of each opening brace that is closed, and of its closing one, in one pass."""
    closing: dict[int, int] = {}
    opened: list[int] = []
    for match in _BRACE.finditer(text):
        if match[0] == "{":
            opened.append(match.start())
        elif match[0] == "}" and opened:
            closing[opened.pop()] = match.start()
    return closing


def _group_end(text: str, start: int, closing: dict[int, int]) -> int | None:
    """Index after the group that begins at ``start``; a bare token ends at the next space."""
    if text[start] == "{":
        return closing[start] + 1 if start in closing else None
    end = _TOKEN_END.search(text, start)
    return end.start() if end else None


def _stripped(group: str) -> str:
    return group[1:-1].strip() if group.startswith("{") else group.strip()


def _unbox(content: str) -> str:
    r"""``\boxed{\boxed{5}}`` and ``\fbox{5}`` inside a box are 5."""
    for _ in range(MAX_NESTED_BOXES):
        match = _BOX.match(content)
        if not match or _group_end(content, match.end(), _closing_braces(content)) != len(content):
            break
        content = _stripped(content[match.end() :])
    return content


def _after_thinking(text: str) -> str:
    _, closed, rest = text.rpartition("</think>")
    if closed:
        return rest
    return "" if text.lstrip().startswith("<think>") else text


def _last_phrase(tail: str) -> str | None:
    for match in reversed(list(_PHRASE.finditer(tail))):
        start = match.end()
        opening = _OPENING.match(tail, start)
        start = opening.end() if opening else start
        rest = tail[start : start + PHRASE_CHARS]
        end = _SENTENCE_END.search(rest)
        answer = (rest[: end.start()] if end else rest).strip(' \t\n*_`"')
        if answer and "boxed" not in answer:
            return answer
    return None


def _choice(tail: str) -> Extraction:
    for match in reversed(list(_PHRASE.finditer(tail))):
        letter = _LEADING_LETTER.match(tail, match.end())
        if letter:
            return Extraction(letter[1], "phrase")
    lines = _LETTER_LINE.findall(tail)
    if lines:
        return Extraction(lines[-1], "letter line")
    phrase = _last_phrase(tail)
    if phrase is not None:
        return Extraction(phrase, "phrase")
    return Extraction(None, "no option letter was marked as the answer")
