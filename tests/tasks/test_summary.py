"""Sweep rows summed up: medians, spreads, named compositions, and tables for people."""

import math

import pandas as pd
import pyarrow as pa
import pytest

from tasks.sweeps import summary
from tasks.sweeps.summary import by_size, estimates, markdown, named_compositions, split_of

NAN = math.nan


def split(composition: tuple[str, ...], **fields) -> dict:
    row = {
        "model": "m", "estimator": "constant", "k": len(composition),
        "composition": list(composition), "status": "ok",
        "benchmarks": ["a", "b", "c"], "truth": [0.9, 0.5, 0.1], "estimate": [0.8, 0.5, 0.3],
        "auroc": [0.7, NAN, 0.6],
    }  # fmt: skip
    for scope in ("unseen", "all"):
        row |= {f"aee_{scope}": 0.1, f"rho_{scope}": NAN, f"auroc_{scope}": 0.5}
        row[f"ece_{scope}"] = 0.2
    return row | fields


def table(*rows: dict) -> pa.Table:
    return pa.Table.from_pylist(list(rows))


def test_medians_and_spreads_are_over_the_compositions_of_a_size() -> None:
    # 0, 0.1, 0.2, 0.4: median 0.15; quartiles at positions 0.75 and 2.25: 0.075 and 0.25.
    rows = [split((n,), aee_unseen=v) for n, v in zip("abcd", [0.4, 0.0, 0.2, 0.1], strict=True)]
    frame = by_size(table(*rows, split(("a", "b"), aee_unseen=0.9)))
    assert frame["k"].tolist() == [1, 2]
    assert frame["compositions"].tolist() == [4, 1]
    assert frame["aee_unseen"].tolist() == pytest.approx([0.15, 0.9])
    assert frame["aee_unseen_q25"].tolist() == pytest.approx([0.075, 0.9])
    assert frame["aee_unseen_q75"].tolist() == pytest.approx([0.25, 0.9])


def test_a_score_that_some_composition_lacks_is_left_out_and_all_lacking_is_none() -> None:
    frame = by_size(table(split(("a",), rho_all=0.5), split(("b",))))
    assert frame["rho_all"].tolist() == [0.5]
    assert math.isnan(frame["rho_unseen"][0])


def test_models_and_estimators_are_kept_apart_in_their_order() -> None:
    rows = [split(("a",), estimator=e, model=m) for m in "nm" for e in ("z", "atc-max")]
    frame = by_size(table(*rows))
    assert list(zip(frame["model"], frame["estimator"], strict=True)) == [
        ("n", "z"), ("n", "atc-max"), ("m", "z"), ("m", "atc-max"),
    ]  # fmt: skip


def test_single_class_compositions_are_counted() -> None:
    frame = by_size(table(split(("a",), status="single_class"), split(("b",))))
    assert frame["single_class"].tolist() == [1]


def test_extremes_are_the_easiest_and_the_hardest_by_truth() -> None:
    pairs = [split(p) for p in (("a", "b"), ("a", "c"), ("b", "c"))]
    named = named_compositions(table(*pairs))
    assert named["extremes"] == ("a", "c")


def test_a_named_composition_that_was_not_swept_is_left_out() -> None:
    singles = [split((n,)) for n in "abc"]
    assert named_compositions(table(*singles)) == {}


def test_a_split_is_found_by_estimator_and_composition() -> None:
    rows = table(split(("a",)), split(("b",), aee_all=0.7))
    assert split_of(rows, "constant", ("b",))["aee_all"] == 0.7
    with pytest.raises(KeyError, match="no split of atc-max trained on b"):
        split_of(rows, "atc-max", ("b",))


def test_estimates_stand_beside_the_truth_hardest_first() -> None:
    frame = estimates(split(("a",)))
    assert frame["benchmark"].tolist() == ["c", "b", "a"]
    assert frame["role"].tolist() == ["unseen", "unseen", "training"]
    assert frame["error"].tolist() == pytest.approx([0.2, 0.0, -0.1])


def test_markdown_rounds_and_shows_what_is_missing_as_a_dash() -> None:
    frame = pd.DataFrame({"name": ["x", "y"], "k": [1, 2], "score": [0.12345, NAN]})
    assert markdown(frame).splitlines() == [
        "| name | k | score |", "| --- | --- | --- |", "| x | 1 | 0.123 |", "| y | 2 | - |",
    ]  # fmt: skip


def test_scores_say_which_way_is_better() -> None:
    assert dict(summary.SCORES) == {"aee": False, "rho": True, "auroc": True, "ece": False}
