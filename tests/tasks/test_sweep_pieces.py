"""How a sweep is cut into pieces: all of it, once, and what is added adds pieces only."""

from collections import Counter

import pytest

from estimators.compositions import compositions
from tasks.conf import Sweep
from tasks.sweeps.sweep import _pieces, count_pieces, estimator_configs

TEN = [f"b{n}" for n in range(10)]
SIZES = (1, 2, 3, 4)


@pytest.mark.parametrize(("grid", "in_all"), [("v1-grid", 41_580), ("v4-grid", 166_320)])
def test_nine_models_on_ten_benchmarks_are_the_published_count(grid: str, in_all: int) -> None:
    configs = estimator_configs([grid])
    pieces = _pieces(configs, compositions(TEN, SIZES))
    found = Counter((c.name, names) for p in pieces for c in p.configs for names in p.compositions)
    assert set(found.values()) == {1}
    assert 9 * len(found) == in_all
    assert len(found) == len(configs) * 385
    assert len({p.name for p in pieces}) == len(pieces)


def test_another_feature_set_or_family_leaves_the_pieces_as_they_are() -> None:
    def names(*estimators: str) -> set[str]:
        return {p.name for p in _pieces(estimator_configs(estimators), compositions("abcd", [1]))}

    assert names("v1-grid") < names("v1-grid", "forest-isotonic@17d", "atc-max")
    assert names("atc-max") == names("v1-grid", "atc-max") - names("v1-grid")


def test_pieces_are_counted_before_there_is_a_table() -> None:
    settings = Sweep(sizes=SIZES, estimators=("v4-grid", "ensemble"))
    pieces = _pieces(estimator_configs(settings.estimators), compositions(TEN, SIZES))
    assert count_pieces(TEN, settings) == len(pieces)
