"""One sampling step's raw logits reduced to six numbers a row, on the device they are on.

Same numbers as log-softmax, top-k and :func:`entropy.trace.reduce_topk` in float32. On a GPU one
Triton kernel reads the logits once; elsewhere, and where Triton fails its check, PyTorch does it in
blocks of rows. Both need the top k first: its largest value keeps the exponentials in range.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from tasks.engines.capture.rows import WIDTH

Reduce = Callable[[torch.Tensor, torch.Tensor, int], torch.Tensor]

# Float32 working memory of the PyTorch way, in elements a temporary: 2 MB, of which it needs four.
_BLOCK_ELEMENTS = 1 << 19

# Logits that are candidates together: their largest decides whether they are looked at singly.
_GROUP = 64


def top_values(logits: torch.Tensor, k: int) -> torch.Tensor:
    """The k largest values of each row, sorted; exactly those of ``logits.topk(k)``, but faster.

    They lie in the k groups with the largest maxima, so one cheap pass leaves k * 64 candidates,
    where a vocabulary of 150,000 has :func:`torch.topk` pass over it several times. NaN counts as
    the largest value, in groups as in rows.
    """
    groups = logits.shape[1] // _GROUP
    if groups <= 2 * k:
        return logits.topk(k, dim=1).values
    grouped = logits[:, : groups * _GROUP].unflatten(1, (groups, _GROUP))
    best = grouped.amax(dim=2).topk(k, dim=1, sorted=False).indices
    chosen = grouped.gather(1, best.unsqueeze(2).expand(-1, -1, _GROUP)).flatten(1)
    rest = logits[:, groups * _GROUP :]
    return torch.cat((chosen, rest), dim=1).topk(k, dim=1).values


def reduce_rows(logits: torch.Tensor, tokens: torch.Tensor, top_k: int) -> torch.Tensor:
    """Numbers of each row, see :data:`tasks.engines.capture.rows.FIELDS`.

    Parameters
    ----------
    logits : tensor of shape (rows, vocabulary)
        Raw logits of any floating type; minus infinity is a forbidden token (p = 0).
    tokens : integer tensor of shape (rows,)
        The sampled tokens.
    top_k : int
        Size of the truncated distribution; at most the vocabulary counts.

    Returns
    -------
    tensor of shape (rows, WIDTH), int32
        Float32 bit patterns, then the token. A row whose logits hold NaN or plus infinity, or none
        but minus infinity, comes out NaN.
    """
    out = torch.empty((logits.shape[0], WIDTH), dtype=torch.int32, device=logits.device)
    step = max(1, _BLOCK_ELEMENTS // max(1, logits.shape[1]))
    for start in range(0, logits.shape[0], step):
        rows = slice(start, start + step)
        _reduce_block(logits[rows], tokens[rows], top_k, out[rows])
    return out


def _reduce_block(
    logits: torch.Tensor, tokens: torch.Tensor, top_k: int, out: torch.Tensor
) -> None:
    logits = logits.float()
    top = top_values(logits, min(top_k, logits.shape[1]))
    highest = top[:, :1]
    shifted = logits - highest
    p = shifted.exp()
    total = p.sum(dim=1, keepdim=True)
    log_total = total.log()
    # 0 * -inf is NaN; the limit p log p -> 0 is what is meant.
    full = log_total - shifted.mul_(p).nan_to_num_(0.0).sum(dim=1, keepdim=True) / total
    top = top - highest - log_total
    mass = top.exp()
    entropy = -(mass * top).nan_to_num(0.0).sum(dim=1, keepdim=True)
    chosen = logits.gather(1, tokens.long().unsqueeze(1)) - highest - log_total
    tail = (1 - mass.sum(dim=1, keepdim=True)).clamp(0, 1)
    # nan_to_num above also hid the NaN of unusable logits; log_total still has it.
    entropy = (entropy + 0 * log_total).clamp(min=0)
    values = torch.cat((entropy, chosen, tail, full.clamp(min=0), -log_total), dim=1)
    out[:, :-1].copy_(values.view(torch.int32))
    out[:, -1].copy_(tokens)
