"""Rules first, a model for the rest: which verdicts of the rules stand, and who is put to both.

A verdict of the rules stands where the response *marks* its answer (boxed, behind an answer phrase,
an option's letter) and the rules either find it equal to the reference, or find a number or an
option other than the reference. All else goes to the model: a last number taken for an answer,
texts, expressions and structures that differ, units, no answer, and whatever the rules could not
score. The asymmetry is meant: a match is hard to come by wrongly, while a mismatch of spelling or
structure may be the rules' own.
"""

from __future__ import annotations

import re

from tasks.records import Item, Status, Verdict
from tasks.storage.keys import digest

#: How an answer is found when the response marks it; the beginning of the rules' reason.
MARKED = ("boxed", "phrase", "letter line")

#: Ends of the rules' reasons for a mismatch that stands.
_OTHER = re.compile(
    r"other value|option [A-J], reference [A-J]|states (?:True|False), reference \w+"
)

#: Whole reasons that quote no item but for an option's letter.
_PUBLIC = re.compile(
    r"(?:boxed|phrase|letter line|last number): "
    r"(?:same value|other value|same text|other text|same spelling|other factors|same factors"
    r"|all parts agree|all values agree|option [A-J], reference [A-J]"
    r"|states \w+, reference \w+|the answer names no single option)"
)


def decided(verdict: Verdict) -> bool:
    """Whether a verdict of the rules stands without asking a model; see the module's text."""
    how, _, why = verdict.reason.partition(": ")
    if how not in MARKED:
        return False
    if verdict.status == Status.CORRECT:
        return True
    return verdict.status == Status.INCORRECT and bool(_OTHER.fullmatch(why))


def sampled(item: Item | Verdict, share: float, seed: int) -> bool:
    """Whether a response is put to both judges: by a hash of its key, so whatever the order."""
    drawn = int(digest(["sample", seed, item.benchmark, item.item_id]), 16) / 16**16
    return drawn < share


def quieted(verdict: Verdict) -> Verdict:
    """A verdict of the rules without words of the item or the answer; :func:`decided` is the same.

    For benchmarks whose items must not be shown. An option's letter may stay.
    """
    letter = verdict.extracted and re.fullmatch(r"[A-J]", verdict.extracted)
    reason = verdict.reason
    if not _PUBLIC.fullmatch(reason):
        reason = reason.partition(":")[0]
    return Verdict(
        verdict.benchmark,
        verdict.item_id,
        verdict.status,
        letter[0] if letter else None,
        reason,
        verdict.judge,
    )
