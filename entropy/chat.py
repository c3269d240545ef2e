"""Log-probabilities of an OpenAI chat completion: candidates deduplicated and sorted.

The ``logprobs.content`` of a choice lists, for each token, its own log-probability and up to k
candidates. Servers differ in the details: vLLM puts the sampled token first and leaves the rest
unsorted; if that token is outside the top k it *replaces* the last candidate; a server may return
fewer candidates than were asked for. Here each candidate counts once, a token that carries fewer
than k is padded with probability 0 (its tail mass then shows what is missing), and a response none
of whose tokens reaches k is refused, since its entropies would not be comparable.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from entropy.trace import Ragged, TraceError, clean_logprobs


def candidates(
    content: Sequence[Mapping[str, Any]], k: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Top-k and chosen log-probabilities of one response.

    Parameters
    ----------
    content : sequence of mappings
        ``choices[i].logprobs.content`` of a chat completion: ``token``, ``logprob`` and
        ``top_logprobs`` (each with ``token`` and ``logprob``) a generated token.
    k : int
        Number of candidates asked for.

    Returns
    -------
    top : array of shape (n_tokens, k)
        Natural logarithms, descending, padded with minus infinity.
    chosen : array of shape (n_tokens,)
        Log-probability of each sampled token.

    Raises
    ------
    TraceError
        If a token has no ``top_logprobs``, a value is NaN or positive, or no token has as many as
        ``k``. The row is always 0.
    """
    top = np.full((len(content), k), -np.inf, dtype=np.float32)
    chosen = np.empty(len(content), dtype=np.float32)
    most = 0
    for t, token in enumerate(content):
        listed = token.get("top_logprobs")
        if not listed or any(c.get("logprob") is None for c in (token, *listed)):
            raise TraceError(0, t, "no top_logprobs", f"request logprobs=true and top_logprobs={k}")
        # Two ids can decode to one string, so a text key may merge candidates; servers that can
        # should be asked for ids (vLLM: return_tokens_as_token_ids), which land in `token`.
        distinct = {c["token"]: c["logprob"] for c in listed}
        distinct.setdefault(token["token"], token["logprob"])
        values = np.sort(np.fromiter(distinct.values(), dtype=np.float32))[::-1][:k]
        top[t, : len(values)] = values
        chosen[t] = token["logprob"]
        most = max(most, len(values))
    if len(content) and most < k:
        raise TraceError(
            0,
            0,
            f"at most {most} log-probabilities a token, {k} were asked for",
            f"use an endpoint that gives {k}, or set top_k to {most} for the whole experiment",
        )
    values = np.column_stack([chosen, top])
    try:
        checked = clean_logprobs(Ragged(values.ravel(), np.arange(len(values) + 1) * (k + 1)))
    except TraceError as error:
        raise TraceError(0, error.row, error.problem, error.remedy) from None
    values = checked.values.reshape(values.shape)
    return values[:, 1:], values[:, 0]
