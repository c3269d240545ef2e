"""Which verdicts a person looks at: as many of each benchmark and status, drawn by a seed."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from tasks.audit.sheet import Entry
from tasks.audit.sources import Judged
from tasks.storage.keys import digest

Stratum = tuple[str, str]


def draw(judged: Sequence[Judged], size: int, seed: int) -> list[Entry]:
    """Sample in an order that tells nothing about the verdicts.

    Parameters
    ----------
    judged
        All verdicts; they are stratified by benchmark and status, because the rare kind (a wrong
        answer to an easy benchmark) is where judges err and a plain sample would hardly meet it.
    size
        Verdicts to draw; all of them if there are no more.
    seed
        The same seed draws the same.
    """
    strata: dict[Stratum, list[Judged]] = defaultdict(list)
    for one in sorted(judged, key=lambda j: digest(["draw", seed, *j.key])):
        strata[one.benchmark, one.status].append(one)
    shares = allocate({stratum: len(members) for stratum, members in strata.items()}, size)
    drawn = [
        Entry(one.benchmark, one.item_id, one.status, one.judge, len(members))
        for stratum, members in strata.items()
        for one in members[: shares[stratum]]
    ]
    return sorted(drawn, key=lambda e: digest(["order", seed, e.benchmark, e.item_id]))


def allocate(sizes: Mapping[Stratum, int], total: int) -> dict[Stratum, int]:
    """Draws a stratum: equal shares, what small strata cannot fill going to the others."""
    given: Counter[Stratum] = Counter()
    left = min(total, sum(sizes.values()))
    while left:
        open_ = sorted(s for s, size in sizes.items() if given[s] < size)
        each = max(1, left // len(open_))
        for stratum in open_:
            more = min(each, sizes[stratum] - given[stratum], left)
            given[stratum] += more
            left -= more
    return dict(given)
