"""Trace cleaning: what is reduced to which entropy, what is let through, and what is refused."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from entropy.trace import (
    Ragged,
    TraceError,
    check_entropies,
    clean_logprobs,
    reduce_topk,
    reshape_topk,
)

CASES = json.loads((Path(__file__).parent / "cases" / "topk.json").read_text())


def one_row(*values: float) -> Ragged:
    return Ragged(np.array(values, np.float32), np.array([0, len(values)]))


# Reduction


@pytest.mark.parametrize("case", CASES, ids=lambda c: c["name"])
def test_entropy_and_tail_by_hand(case: dict) -> None:
    with np.errstate(divide="ignore"):
        logprobs = np.log(np.array([case["probabilities"]]))
    reduced = reduce_topk(logprobs)
    np.testing.assert_allclose(reduced.entropy, [case["entropy"]], rtol=1e-12)
    np.testing.assert_allclose(reduced.tail_mass, [case["tail_mass"]], atol=1e-12)


softmaxes = hnp.arrays(np.float64, st.tuples(st.integers(1, 6), st.just(30)),
                       elements=st.floats(-12, 12))  # fmt: skip


def log_softmax(logits: np.ndarray) -> np.ndarray:
    wide = logits - logits.max(axis=1, keepdims=True)
    return wide - np.log(np.exp(wide).sum(axis=1, keepdims=True))


@given(softmaxes, st.integers(1, 29))
def test_reduction_agrees_with_a_loop_over_tokens(logits: np.ndarray, k: int) -> None:
    top = np.sort(log_softmax(logits), axis=1)[:, ::-1][:, :k]
    reduced = reduce_topk(top)
    for token, row in enumerate(top):
        p = [float(np.exp(v)) for v in row]
        assert reduced.entropy[token] == pytest.approx(-sum(q * np.log(q) for q in p if q > 0))
        assert reduced.tail_mass[token] == pytest.approx(1 - sum(p), abs=1e-12)


def test_a_candidate_listed_twice_is_refused_naming_the_token() -> None:
    logprobs = np.log(np.array([[0.5, 0.3], [0.9, 0.9]]))
    with pytest.raises(ValueError, match=r"token 1: .* 1\.800; a candidate is listed twice"):
        reduce_topk(logprobs)


def test_an_engines_floor_and_minus_infinity_add_nothing() -> None:
    reduced = reduce_topk(np.float32([[0, -9999, -np.inf], [np.log(0.5), np.log(0.5), -9999]]))
    np.testing.assert_allclose(reduced.entropy, [0, np.log(2)], rtol=1e-6)
    np.testing.assert_allclose(reduced.tail_mass, [0, 0], atol=1e-6)


def test_half_precision_is_reduced_in_single() -> None:
    logprobs = np.log(np.full((1, 20), 0.05)).astype(np.float16)
    reduced = reduce_topk(logprobs)
    assert reduced.entropy.dtype == np.float32
    # exp(-2.996) accumulated in half precision would be off by more than this.
    assert reduced.entropy[0] == pytest.approx(np.log(20), abs=2e-3)


def test_no_tokens_and_no_candidates() -> None:
    assert reduce_topk(np.empty((0, 20), np.float32)).entropy.shape == (0,)
    none = reduce_topk(np.empty((2, 0), np.float32))
    assert none.entropy.tolist() == [0, 0]
    assert none.tail_mass.tolist() == [1, 1]


def test_the_input_is_left_as_it_was() -> None:
    logprobs = np.float32([[-0.5, -1.5]])
    reduce_topk(logprobs)
    assert logprobs.tolist() == [[-0.5, -1.5]]


# Checks


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.5])
def test_a_logprob_that_is_none_is_refused_with_row_and_token(bad: float) -> None:
    trace = Ragged(np.float32([-1, -2, -3, bad, -4]), np.array([0, 2, 2, 5]))
    with pytest.raises(TraceError) as caught:
        clean_logprobs(trace)
    assert (caught.value.row, caught.value.token) == (2, 1)
    assert "row 2, token 1: log-probability" in str(caught.value)


def test_rounding_above_zero_becomes_zero_and_the_rest_stays() -> None:
    cleaned = clean_logprobs(one_row(5e-5, -0.25, -9999, -np.inf))
    assert cleaned.values.tolist() == [0, -0.25, -9999, -np.inf]


def test_more_than_rounding_above_zero_is_refused() -> None:
    with pytest.raises(TraceError, match="is positive"):
        clean_logprobs(one_row(2e-4))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -0.001])
def test_an_entropy_that_is_none_is_refused_with_row_and_token(bad: float) -> None:
    with pytest.raises(TraceError, match=r"row 1, token 0: entropy .* not a finite number >= 0"):
        check_entropies(Ragged(np.float32([1, 2, bad]), np.array([0, 2, 3])))


def test_entropies_of_zero_pass_in_either_sign() -> None:
    check_entropies(one_row(0.0, -0.0, 2.9))


def test_flat_rows_split_into_tokens() -> None:
    matrix, offsets = reshape_topk(Ragged(np.arange(6.0), np.array([0, 4, 4, 6])), 2)
    assert matrix.tolist() == [[0, 1], [2, 3], [4, 5]]
    assert offsets.tolist() == [0, 2, 2, 3]


def test_a_row_that_does_not_divide_into_k_is_refused_with_its_remedy() -> None:
    with pytest.raises(TraceError, match=r"row 1, token 1: 3 log-.* 2 a token.*--top-k"):
        reshape_topk(Ragged(np.arange(7.0), np.array([0, 4, 7])), 2)


# Arrow


LISTS = [[0.5, 1.0], None, [], [2.0], [0.25]]


@pytest.mark.parametrize("item", [pa.float16(), pa.float32(), pa.float64()], ids=str)
@pytest.mark.parametrize("kind", [pa.list_, pa.large_list], ids=["list", "large_list"])
def test_arrow_lists_of_any_width_are_read(kind, item: pa.DataType) -> None:
    ragged = Ragged.from_arrow(pa.array(LISTS, kind(item)))
    assert ragged.values.tolist() == [0.5, 1.0, 2.0, 0.25]
    assert ragged.lengths.tolist() == [2, 0, 0, 1, 1]


def test_a_slice_starts_at_its_own_first_row() -> None:
    ragged = Ragged.from_arrow(pa.array(LISTS, pa.list_(pa.float32())).slice(1, 3))
    assert ragged.values.tolist() == [2.0]
    assert ragged.offsets.tolist() == [0, 0, 0, 1]


def test_chunks_are_joined_and_none_is_an_empty_table() -> None:
    column = pa.array(LISTS, pa.list_(pa.float32()))
    joined = Ragged.from_arrow(pa.chunked_array([column.slice(3), column.slice(0, 3)]))
    assert joined.values.tolist() == [2.0, 0.25, 0.5, 1.0]
    assert joined.lengths.tolist() == [1, 1, 2, 0, 0]
    none = Ragged.from_arrow(pa.chunked_array([], pa.list_(pa.float32())))
    assert (none.values.tolist(), none.offsets.tolist()) == ([], [0])


def test_lists_that_are_all_empty_have_no_type_of_their_own() -> None:
    column = pa.array([[], None, []])
    assert column.type == pa.list_(pa.null())
    ragged = Ragged.from_arrow(column)
    assert (ragged.values.tolist(), ragged.lengths.tolist()) == ([], [0, 0, 0])


def test_values_hidden_behind_a_null_row_are_not_read() -> None:
    """A null list may still span values in Arrow's buffer."""
    column = pa.ListArray.from_arrays(
        pa.array([0, 2, 4]), pa.array([1.0, 2, 3, 4]), mask=pa.array([True, False])
    )
    ragged = Ragged.from_arrow(column)
    assert ragged.values.tolist() == [3.0, 4.0]
    assert ragged.offsets.tolist() == [0, 0, 2]


def test_a_null_value_becomes_nan_and_is_then_refused() -> None:
    ragged = Ragged.from_arrow(pa.array([[0.5, None]], pa.list_(pa.float32())))
    with pytest.raises(TraceError, match="row 0, token 1"):
        check_entropies(ragged)


def test_integers_are_numbers_too() -> None:
    assert Ragged.from_arrow(pa.array([[1, 0]])).values.dtype == np.float64


@pytest.mark.parametrize("column", [pa.array(["x"]), pa.array([["x"]]), pa.array([1.0])], ids=str)
def test_other_columns_are_a_type_error(column: pa.Array) -> None:
    with pytest.raises(TypeError, match="expected a list of numbers a row"):
        Ragged.from_arrow(column)


@given(st.lists(hnp.arrays(np.float32, st.integers(0, 5), elements=st.floats(0, 3, width=32))))
def test_to_arrow_and_back(parts: list) -> None:
    offsets = np.cumsum([0, *map(len, parts)])
    ragged = Ragged(np.concatenate([np.empty(0, np.float32), *parts]), offsets)
    back = Ragged.from_arrow(ragged.to_arrow())
    np.testing.assert_array_equal(back.values, ragged.values)
    np.testing.assert_array_equal(back.offsets, ragged.offsets)


@given(st.lists(st.integers(0, 4), min_size=1), st.data())
def test_locate_finds_the_row_of_a_flat_position(lengths: list[int], data) -> None:
    trace = Ragged(np.zeros(sum(lengths)), np.cumsum([0, *lengths]))
    assume(sum(lengths))
    flat = [(row, i) for row, n in enumerate(lengths) for i in range(n)]
    position = data.draw(st.integers(0, len(flat) - 1))
    assert trace.locate(position) == flat[position]
