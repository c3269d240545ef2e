"""What travels: packed, unpacked, and matched to a response's tokens."""

import numpy as np
import pytest

from tasks.engines.capture.rows import FIELDS, Rows, Values, pack, unpack
from tests.capture.conftest import words_of


def rows(index: list[int], tokens: list[int], values: list[float] | None = None) -> Rows:
    column = np.array(values or range(1, len(index) + 1), dtype=np.float32)
    return Rows(
        words_of(np.tile(column[:, None], len(FIELDS)), tokens), np.array(index, dtype=np.int32)
    )


def test_values_come_in_token_order():
    found = rows([2, 0, 1], [30, 10, 20]).of([10, 20, 30])
    assert isinstance(found, Values)
    assert found.entropy.tolist() == [2, 3, 1]
    assert found.top1.dtype == np.float32


def test_of_a_token_sampled_twice_the_last_row_counts():
    found = rows([0, 1, 1], [10, 20, 20]).of([10, 20])
    assert isinstance(found, Values)
    assert found.chosen.tolist() == [1, 3]


def test_a_discarded_sample_does_not_hide_the_kept_one():
    found = rows([0, 1, 1], [10, 20, 99]).of([10, 20])
    assert isinstance(found, Values)
    assert found.chosen.tolist() == [1, 2]


def test_rows_after_the_end_are_ignored():
    # Asynchronous scheduling runs a step ahead of the stop token.
    found = rows([0, 1, 2], [10, 20, 30]).of([10, 20])
    assert isinstance(found, Values)


def test_no_tokens():
    found = Rows.join([]).of([])
    assert isinstance(found, Values)
    assert len(found.entropy) == 0


@pytest.mark.parametrize(
    ("index", "tokens", "reason"),
    [
        ([0, 2], [10, 30], "1 of 3 tokens were not captured; for token 1 the worker saw nothing"),
        ([0, 1, 2], [10, 21, 30], "for token 1 the worker saw a different token"),
        ([], [], "3 of 3 tokens were not captured; for token 0 the worker saw nothing"),
    ],
)
def test_a_token_without_its_row_is_told(index, tokens, reason):
    assert reason in rows(index, tokens).of([10, 20, 30])


def test_numbers_that_are_not_finite_are_told():
    assert rows([0, 1], [10, 20], [1.0, np.nan]).of([10, 20]) == (
        "the logits of token 1 are not finite"
    )


def test_parcel_keeps_each_requests_rows_in_order():
    # Enough rows that a sort which may swap equals does.
    steps, order = [], np.random.default_rng(3)
    names = np.array([f"request {i}" for i in range(9)])
    for step in range(200):
        values = np.full((9, len(FIELDS)), step, dtype=np.float32)
        now = order.permutation(names).tolist()
        steps.append((words_of(values, [step] * 9), now, np.full(9, step, np.int32)))
    found = dict(unpack(pack(steps)))
    assert sorted(found) == names.tolist()
    for of in found.values():
        assert of.index.tolist() == list(range(200))
        assert of.words[:, -1].tolist() == list(range(200))


def test_rows_that_sampled_nothing_do_not_travel():
    words = words_of(np.zeros((3, len(FIELDS))), [1, 2, 3])
    parcel = pack([(words, ["a", "b", "c"], np.array([0, -1, 5], np.int32))])
    assert {name: r.index.tolist() for name, r in unpack(parcel)} == {"a": [0], "c": [5]}


def test_nothing_to_send():
    assert list(unpack(pack([]))) == []
