"""Which benchmarks an estimator is trained on."""

from collections.abc import Iterable, Mapping
from itertools import combinations

# arXiv 2601.09001, RQ1. Its "intermediate" group is only shown in a figure, so it is resolved
# from accuracies by `named` and not listed here.
NAMED: dict[str, tuple[str, ...]] = {"extremes": ("GSM8K", "OlympiadBench")}


def compositions(benchmarks: Iterable[str], sizes: Iterable[int]) -> list[tuple[str, ...]]:
    """Return every group of training benchmarks of the given sizes.

    Parameters
    ----------
    benchmarks : iterable of str
        All benchmarks of a model.
    sizes : iterable of int
        Numbers k of training benchmarks, 1 <= k < number of benchmarks.

    Returns
    -------
    list of tuple of str
        By increasing k, then in lexicographic order; each tuple is sorted. C(B, k) tuples a size.

    Raises
    ------
    ValueError
        If a size is below 1 or leaves no benchmark unseen.
    """
    names = sorted(set(benchmarks))
    wanted = sorted(set(sizes))
    for k in wanted:
        if not 1 <= k < len(names):
            raise ValueError(
                f"k = {k} with {len(names)} benchmarks: k must be at least 1 and leave at least "
                f"one benchmark unseen (k <= {len(names) - 1})"
            )
    return [group for k in wanted for group in combinations(names, k)]


def named(benchmarks: Iterable[str], accuracy: Mapping[str, float]) -> dict[str, tuple[str, ...]]:
    """Resolve the two named pairs of the study on any set of benchmarks.

    Parameters
    ----------
    benchmarks : iterable of str
        At least two benchmarks.
    accuracy : mapping of str to float
        Accuracy of each benchmark on its training share.

    Returns
    -------
    dict
        ``extremes``: the easiest and the hardest benchmark, or the published pair where both are
        present. ``intermediate``: the two around the middle of the order by accuracy. Tuples are
        sorted; ties are broken by name.

    Raises
    ------
    ValueError
        If there are fewer than two benchmarks.
    """
    order = sorted(set(benchmarks), key=lambda name: (accuracy[name], name))
    if len(order) < 2:
        raise ValueError(f"a named pair needs two benchmarks, got {len(order)}")
    published = NAMED["extremes"]
    extremes = published if set(published) <= set(order) else (order[0], order[-1])
    middle = (len(order) - 1) // 2
    pairs = {"extremes": extremes, "intermediate": (order[middle], order[middle + 1])}
    return {name: tuple(sorted(pair)) for name, pair in pairs.items()}
