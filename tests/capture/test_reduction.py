"""The reduction against float64 and against the ground floor's own, without vLLM."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from entropy.trace import reduce_topk
from tasks.engines.capture import reduction
from tasks.engines.capture.rows import FIELDS
from tests.capture.conftest import fields_of

ENTROPY, CHOSEN, TAIL, FULL, TOP1 = range(len(FIELDS))


def exact(logits: torch.Tensor, tokens: torch.Tensor, k: int) -> np.ndarray:
    """The five fields in float64, from the definition."""
    log_p = torch.log_softmax(logits.double(), dim=1).numpy()
    p = np.exp(log_p)
    terms = np.where(p > 0, -p * np.where(p > 0, log_p, 0), 0)
    order = np.argsort(-log_p, axis=1)[:, :k]
    return np.stack(
        (
            np.take_along_axis(terms, order, 1).sum(1),
            log_p[np.arange(len(log_p)), tokens.numpy()],
            1 - np.take_along_axis(p, order, 1).sum(1),
            terms.sum(1),
            log_p.max(1),
        ),
        axis=1,
    )


@settings(deadline=None, max_examples=60)
@given(
    rows=st.integers(1, 5),
    vocabulary=st.integers(2, 300),
    k=st.integers(1, 40),
    scale=st.sampled_from([0.0, 0.1, 3.0, 30.0, 300.0]),
    shift=st.sampled_from([-1000.0, 0.0, 500.0]),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
    seed=st.integers(0, 2**31),
)
def test_fields_equal_the_definition_in_float64(rows, vocabulary, k, scale, shift, dtype, seed):
    dice = torch.Generator().manual_seed(seed)
    logits = (scale * torch.randn((rows, vocabulary), generator=dice) + shift).to(dtype)
    tokens = torch.randint(vocabulary, (rows,), generator=dice)
    found = reduction.reduce_rows(logits, tokens, k)
    # Logits near 1000 are themselves only known to 6e-5 in float32.
    np.testing.assert_allclose(fields_of(found), exact(logits, tokens, k), rtol=2e-6, atol=2e-4)
    assert found[:, -1].tolist() == tokens.tolist()


@settings(deadline=None, max_examples=30)
@given(k=st.integers(1, 40), seed=st.integers(0, 2**31))
def test_top_k_equals_the_ground_floors_reduction_of_logprobs(k, seed):
    dice = torch.Generator().manual_seed(seed)
    logits = 4 * torch.randn((7, 200), generator=dice)
    found = fields_of(reduction.reduce_rows(logits, torch.zeros(7, dtype=torch.int64), k))
    expected = reduce_topk(torch.log_softmax(logits, dim=1).topk(k, dim=1).values.numpy())
    np.testing.assert_allclose(found[:, ENTROPY], expected.entropy, atol=2e-6)
    np.testing.assert_allclose(found[:, TAIL], expected.tail_mass, atol=2e-6)


@settings(deadline=None, max_examples=60)
@given(
    vocabulary=st.integers(2, 5000),
    k=st.integers(1, 30),
    levels=st.integers(1, 50),
    nan=st.booleans(),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
    seed=st.integers(0, 2**31),
)
def test_top_values_are_those_of_topk(vocabulary, k, levels, nan, dtype, seed):
    dice = torch.Generator().manual_seed(seed)
    # Few levels: ties within and between groups, and minus infinity.
    logits = torch.randint(levels, (3, vocabulary), generator=dice).to(dtype).log()
    if nan:
        logits[1, int(torch.randint(vocabulary, (1,), generator=dice))] = torch.nan
    k = min(k, vocabulary)
    expected = logits.topk(k, dim=1).values
    assert torch.allclose(reduction.top_values(logits, k), expected, rtol=0, atol=0, equal_nan=True)


def test_blocks_of_rows_do_not_show(monkeypatch):
    logits, tokens = torch.randn((11, 50)), torch.arange(11)
    whole = reduction.reduce_rows(logits, tokens, 20)
    monkeypatch.setattr(reduction, "_BLOCK_ELEMENTS", 100)
    assert torch.equal(reduction.reduce_rows(logits, tokens, 20), whole)


def test_logits_stay_as_they_are():
    logits = torch.randn((3, 50))
    before = logits.clone()
    reduction.reduce_rows(logits, torch.arange(3), 20)
    assert torch.equal(logits, before)


def test_forbidden_tokens_count_nothing():
    logits = torch.full((2, 30), -torch.inf)
    logits[0, 4] = 12.0
    logits[1, :2] = 7.0
    found = fields_of(reduction.reduce_rows(logits, torch.tensor([4, 1]), 20))
    half = np.log(2)
    np.testing.assert_allclose(found, [[0, 0, 0, 0, 0], [half, -half, 0, half, -half]], atol=1e-6)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_unusable_logits_come_out_as_nan(bad):
    logits = torch.randn((3, 30))
    logits[1, 3] = bad
    logits[2] = -torch.inf
    found = fields_of(reduction.reduce_rows(logits, torch.zeros(3, dtype=torch.int64), 20))
    assert np.isfinite(found[0]).all()
    assert np.isnan(found[1:]).any(axis=1).all()
    assert np.isnan(found[1:, [ENTROPY, FULL]]).all()


def test_more_candidates_than_words():
    logits = torch.randn((4, 6))
    found = fields_of(reduction.reduce_rows(logits, torch.zeros(4, dtype=torch.int64), 20))
    np.testing.assert_allclose(found[:, ENTROPY], found[:, FULL], atol=1e-6)
    np.testing.assert_allclose(found[:, TAIL], 0, atol=1e-6)


_INTERPRETED = """
import torch
from tasks.engines.capture import kernel, reduction
for dtype in (torch.bfloat16, torch.float32):
    for k, vocabulary in ((20, 9000), (1, 100), (33, 4096), (20, 7)):
        whole = (8 * torch.randn(4, vocabulary + 3)).to(dtype)
        logits = whole[:, :vocabulary]  # rows further apart than they are long
        logits[1, ::2] = -torch.inf
        tokens = torch.tensor([1, 3, 5, 0])
        found = kernel.reduce_rows(logits, tokens, k)
        expected = reduction.reduce_rows(logits, tokens, k)
        torch.testing.assert_close(
            found[:, :-1].view(torch.float32), expected[:, :-1].view(torch.float32),
            rtol=1e-5, atol=1e-5)
        assert torch.equal(found[:, -1], expected[:, -1])
bad = torch.full((3, 40), -torch.inf)
bad[1, 2], bad[2] = torch.nan, torch.inf
found = kernel.reduce_rows(bad, torch.zeros(3, dtype=torch.int64), 20)[:, :-1]
assert found.view(torch.float32).isnan().any(dim=1).all()
print("same")
"""


def test_triton_kernel_equals_torch_under_its_interpreter():
    pytest.importorskip("triton", reason="Triton is not installed; the kernel needs it")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _INTERPRETED],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.stdout.strip() == "same", done.stderr[-2000:]
