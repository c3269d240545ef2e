"""Candidates of a chat completion, as servers really list them."""

import numpy as np
import pytest

from entropy.chat import candidates
from entropy.trace import TraceError


def token(text: str, logprob: float, *listed: tuple[str, float]) -> dict:
    top = [{"token": t, "logprob": v} for t, v in listed]
    return {"token": text, "logprob": logprob, "top_logprobs": top}


def test_candidates_are_sorted_whatever_order_the_server_has() -> None:
    """As vLLM does: it puts the sampled token first and leaves the others as they come."""
    top, chosen = candidates([token("b", -2, ("b", -2), ("c", -3), ("a", -0.5))], 3)
    np.testing.assert_array_equal(top, np.float32([[-0.5, -2, -3]]))
    assert chosen.tolist() == [-2]


def test_the_sampled_token_counts_once() -> None:
    top, _ = candidates([token("a", -0.5, ("a", -0.5), ("a", -0.5), ("b", -2))], 2)
    assert top.tolist() == [[-0.5, -2]]


def test_a_sampled_token_that_replaced_the_last_candidate_keeps_its_place() -> None:
    """The chat API of vLLM returns it with only the top k - 1: k in all, none to be added."""
    top, chosen = candidates([token("z", -9, ("z", -9), ("a", -0.5), ("b", -2))], 3)
    assert top.tolist() == [[-0.5, -2, -9]]
    assert chosen.tolist() == [-9]


def test_a_sampled_token_outside_a_full_top_k_is_not_a_candidate() -> None:
    top, chosen = candidates([token("z", -9, ("a", -0.5), ("b", -2))], 2)
    assert top.tolist() == [[-0.5, -2]]
    assert chosen.tolist() == [-9]


def test_a_sampled_token_fills_a_list_that_is_one_short() -> None:
    top, _ = candidates([token("z", -9, ("a", -0.5), ("b", -2))], 3)
    assert top.tolist() == [[-0.5, -2, -9]]


def test_a_token_with_fewer_is_padded_with_probability_zero() -> None:
    content = [token("a", -0.5, ("a", -0.5), ("b", -2)), token("c", 0, ("c", 0))]
    top, _ = candidates(content, 2)
    assert top.tolist() == [[-0.5, -2], [0, -np.inf]]


def test_a_response_that_never_reaches_k_is_refused() -> None:
    with pytest.raises(TraceError, match=r"at most 2 .* 20 were asked for; .*top_k to 2"):
        candidates([token("a", -0.5, ("a", -0.5), ("b", -2))] * 3, 20)


@pytest.mark.parametrize(
    "broken",
    [
        {"token": "b", "logprob": -1, "top_logprobs": []},
        {"token": "b", "logprob": -1},
        {"token": "b", "logprob": None, "top_logprobs": [{"token": "b", "logprob": -1}]},
        {"token": "b", "logprob": -1, "top_logprobs": [{"token": "b", "logprob": None}]},
    ],
    ids=["empty", "absent", "no own value", "no candidate's value"],
)
def test_a_token_without_candidates_is_refused_by_number(broken: dict) -> None:
    with pytest.raises(TraceError, match="token 1: no top_logprobs; request logprobs=true"):
        candidates([token("a", -1, ("a", -1)), broken], 1)


@pytest.mark.parametrize("bad", [np.nan, 0.7])
@pytest.mark.parametrize("where", ["chosen", "candidate"])
def test_nan_and_positive_values_are_refused_by_number(bad: float, where: str) -> None:
    fine = token("a", -1, ("a", -1))
    odd = token("a", bad, ("a", -1)) if where == "chosen" else token("a", -1, ("a", bad))
    with pytest.raises(TraceError, match="row 0, token 2: log-probability"):
        candidates([fine, fine, odd], 1)


def test_rounding_above_zero_becomes_zero() -> None:
    top, chosen = candidates([token("a", 3e-5, ("a", 3e-5))], 1)
    assert (top.tolist(), chosen.tolist()) == ([[0]], [0])


def test_no_tokens_give_empty_arrays() -> None:
    top, chosen = candidates([], 20)
    assert (top.shape, chosen.shape) == ((0, 20), (0,))
