"""Remarks of a sweep: what workers noted, counted for the run's log."""

import pyarrow as pa

from tasks.sweeps.sweep import remarks


def table(*rows: tuple[str, str]) -> pa.Table:
    names, notes = zip(*rows, strict=True)
    return pa.table({"estimator": names, "note": notes})


def test_equal_notes_are_counted_and_silence_is_not_a_remark() -> None:
    found = remarks(table(("forest", "few"), ("forest", ""), ("forest", "few"), ("mlp", "few")))
    assert found == ["forest: few (2 of 4 splits)", "mlp: few (1 of 4 splits)"]


def test_only_the_most_frequent_are_told() -> None:
    rows = [("forest", f"remark {n}") for n in range(30)] + [("forest", "remark 7")]
    found = remarks(table(*rows))
    assert len(found) == 10
    assert found[0] == "forest: remark 7 (2 of 31 splits)"


def test_a_sweep_without_notes_has_none() -> None:
    assert remarks(table(("forest", ""))) == []
