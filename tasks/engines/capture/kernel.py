"""The reduction of a step's logits as one Triton kernel; import it only where Triton works."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from tasks.engines.capture.reduction import top_values
from tasks.engines.capture.rows import WIDTH

# Logits a program reads at a time.
BLOCK = 4096


@triton.jit
def _kernel(  # type: ignore[no-untyped-def]
    logits,
    stride,
    top,
    tokens,
    out,
    vocabulary,
    K: tl.constexpr,
    K_PADDED: tl.constexpr,
    WORDS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    row = tl.program_id(0)
    base = logits + row.to(tl.int64) * stride
    highest = tl.load(top + row * K).to(tl.float32)
    total = tl.zeros([BLOCK], dtype=tl.float32)
    weighted = tl.zeros([BLOCK], dtype=tl.float32)
    for start in range(0, vocabulary, BLOCK):
        at = start + tl.arange(0, BLOCK)
        x = tl.load(base + at, mask=at < vocabulary, other=-float("inf")).to(tl.float32)
        x = x - highest
        p = tl.exp(x)
        total += p
        # 0 * -inf is NaN; the limit p log p -> 0 is what is meant.
        weighted += tl.where(p > 0, p * x, 0.0)
    mass = tl.sum(total, axis=0)
    log_total = tl.log(mass)
    full = log_total - tl.sum(weighted, axis=0) / mass
    k = tl.arange(0, K_PADDED)
    y = tl.load(top + row * K + k, mask=k < K, other=-float("inf")).to(tl.float32)
    y = y - highest - log_total
    p = tl.exp(y)
    # Unusable logits make log_total NaN, which the comparison would hide.
    entropy = 0.0 * log_total - tl.sum(tl.where(p > 0, p * y, 0.0), axis=0)
    tail = 1.0 - tl.sum(p, axis=0)
    token = tl.load(tokens + row)
    chosen = tl.load(base + token).to(tl.float32) - highest - log_total
    # Rounding may leave these a hair below 0; NaN stays.
    entropy = tl.where(entropy < 0, 0.0, entropy)
    tail = tl.where(tail < 0, 0.0, tail)
    full = tl.where(full < 0, 0.0, full)
    place = out + row * WORDS
    tl.store(place, entropy.to(tl.int32, bitcast=True))
    tl.store(place + 1, chosen.to(tl.int32, bitcast=True))
    tl.store(place + 2, tail.to(tl.int32, bitcast=True))
    tl.store(place + 3, full.to(tl.int32, bitcast=True))
    tl.store(place + 4, (-log_total).to(tl.int32, bitcast=True))
    tl.store(place + 5, token.to(tl.int32))


def reduce_rows(logits: torch.Tensor, tokens: torch.Tensor, top_k: int) -> torch.Tensor:
    """Same as :func:`tasks.engines.capture.reduction.reduce_rows`, reading the logits once."""
    if logits.stride(1) != 1:
        logits = logits.contiguous()
    rows, vocabulary = logits.shape
    k = min(top_k, vocabulary)
    top = top_values(logits, k)
    out = torch.empty((rows, WIDTH), dtype=torch.int32, device=logits.device)
    _kernel[(rows,)](
        logits,
        logits.stride(0),
        top,
        tokens.contiguous(),
        out,
        vocabulary,
        K=k,
        K_PADDED=triton.next_power_of_2(k),
        WORDS=WIDTH,
        BLOCK=BLOCK,
        num_warps=8,
    )
    return out
