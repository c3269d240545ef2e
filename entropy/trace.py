"""Ragged token log-probabilities: checked, sorted, and reduced to one entropy a token.

Everything here works on flat arrays with row offsets, the layout of an Arrow list column, so a
table of a million responses is one array and no Python loop touches a token.

Conventions: natural logarithms (nats); a log-probability is at most 0; entropy is over the top k
and *not* renormalised, H = -sum p log p, as in arXiv 2601.09001 section 2. The mass outside the
top k is kept beside it, so the truncation error stays known (see :mod:`entropy.bounds`).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Offsets = NDArray[np.int64]

# Engines compute log-softmax in float32 and files may hold float16, so a certain token can come
# out a hair above zero. Anything larger is not rounding.
_POSITIVE_TOLERANCE = 1e-4
# Twenty float16 probabilities carry a relative error of about 5e-4 each; a token that is listed
# twice exceeds this by far unless it is improbable, and then it hardly changes the entropy.
_MASS_TOLERANCE = 1e-2


# Tokens a block: the temporaries of a block then stay in the processor's cache.
_BLOCK = 1 << 16


class TraceError(ValueError):
    """A trace that cannot be used: which row, which token (both from 0), and what to do."""

    def __init__(self, row: int, token: int, problem: str, remedy: str) -> None:
        self.row, self.token, self.problem, self.remedy = row, token, problem, remedy
        super().__init__(f"row {row}, token {token}: {problem}; {remedy}")


@dataclass(frozen=True)
class Block:
    """Consecutive rows that have tokens, for computations whose temporaries stay in the cache.

    ``values[start:stop]`` of the table are ``values``; ``rows`` are the numbers of the rows, shape
    (m,), ``starts`` where each begins within ``values`` and ``lengths`` how long it is.
    """

    rows: Offsets
    values: Floats
    starts: Offsets
    lengths: Offsets
    start: int
    stop: int


@dataclass(frozen=True)
class Ragged:
    """Values of many rows laid end to end; row ``i`` is ``values[offsets[i]:offsets[i + 1]]``."""

    values: Floats
    offsets: Offsets

    @property
    def lengths(self) -> Offsets:
        """Number of values of each row, shape (n_rows,)."""
        return np.diff(self.offsets)

    def locate(self, position: int) -> tuple[int, int]:
        """Row and index within the row of a flat position."""
        row = int(np.searchsorted(self.offsets, position, side="right")) - 1
        return row, int(position - self.offsets[row])

    def blocks(self) -> Iterator[Block]:
        """All rows that are not empty, in blocks of about ``_BLOCK`` tokens, a longer row alone."""
        edges = np.arange(self.offsets[0], self.offsets[-1], _BLOCK)
        cuts = np.unique(np.append(np.searchsorted(self.offsets, edges), len(self.offsets) - 1))
        for a, b in itertools.pairwise(cuts.tolist()):
            lengths = np.diff(self.offsets[a : b + 1])
            kept = np.flatnonzero(lengths)
            if kept.size:
                start, stop = int(self.offsets[a]), int(self.offsets[b])
                starts = self.offsets[a:b][kept] - start
                yield Block(a + kept, self.values[start:stop], starts, lengths[kept], start, stop)

    @classmethod
    def from_arrow(cls, column: pa.Array | pa.ChunkedArray) -> Ragged:
        """Flat view of an Arrow list column; a null row counts as empty.

        No copy is made for a single chunk of float32. Null *values* inside a row become NaN and are
        reported by the checks below.

        Raises
        ------
        TypeError
            If the column is not a list of floating-point numbers.
        """
        if isinstance(column, pa.ChunkedArray):
            column = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
        kind = column.type
        if pa.types.is_list(kind) and pa.types.is_null(kind.value_type):
            # What a file reader makes of lists that are all empty.
            column = column.cast(kind := pa.list_(pa.float64()))
        if not (pa.types.is_list(kind) or pa.types.is_large_list(kind)) or not (
            pa.types.is_floating(kind.value_type) or pa.types.is_integer(kind.value_type)
        ):
            raise TypeError(f"expected a list of numbers a row, found {kind}")
        # Offsets of a sliced or null-bearing array need not start at 0 nor match flatten().
        lengths = column.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
        offsets = np.zeros(len(column) + 1, dtype=np.int64)
        np.cumsum(lengths, out=offsets[1:])
        values = column.flatten().to_numpy(zero_copy_only=False)
        return cls(values if values.dtype.kind == "f" else values.astype(np.float64), offsets)

    def to_arrow(self) -> pa.LargeListArray:
        """Arrow list<float32> column of the rows."""
        values = pa.array(np.asarray(self.values, dtype=np.float32))
        return pa.LargeListArray.from_arrays(pa.array(self.offsets), values)


@dataclass(frozen=True)
class TopK:
    """What a trace keeps of each token's top-k log-probabilities, each of shape (n_tokens,)."""

    entropy: Floats
    tail_mass: Floats


def check_entropies(trace: Ragged) -> None:
    """Raise :class:`TraceError` at the first entropy that is NaN, infinite or negative."""
    bad = ~(trace.values >= 0) | np.isinf(trace.values)
    if bad.any():
        position = int(np.argmax(bad))
        raise TraceError(
            *trace.locate(position),
            f"entropy {trace.values[position]} is not a finite number >= 0",
            "give entropies in nats, or drop the response",
        )


def clean_logprobs(trace: Ragged) -> Ragged:
    """Checked log-probabilities: rounding above 0 becomes 0, minus infinity stays (p = 0).

    Raises
    ------
    TraceError
        At the first value that is NaN or above 0 by more than rounding.
    """
    bad = ~(trace.values <= _POSITIVE_TOLERANCE)
    if bad.any():
        position = int(np.argmax(bad))
        value = trace.values[position]
        what = "is NaN" if np.isnan(value) else f"{value} is positive"
        raise TraceError(
            *trace.locate(position),
            f"log-probability {what}",
            "give natural logarithms of probabilities, or drop the response",
        )
    return Ragged(np.minimum(trace.values, 0), trace.offsets)


def reshape_topk(trace: Ragged, k: int) -> tuple[Floats, Offsets]:
    """Split rows of ``n_tokens * k`` flattened values into a matrix (all_tokens, k) and offsets.

    Raises
    ------
    TraceError
        If a row's length is no multiple of ``k``: some token carries fewer log-probabilities.
    """
    odd = trace.lengths % k != 0
    if odd.any():
        row = int(np.argmax(odd))
        raise TraceError(
            row,
            int(trace.lengths[row] // k),
            f"{trace.lengths[row]} log-probabilities do not divide into {k} a token",
            f"ask the engine for {k} log-probabilities a token, or name the number it gives "
            "with --top-k (statistics of different k are not comparable)",
        )
    return trace.values.reshape(-1, k), trace.offsets // k


def reduce_topk(logprobs: Floats) -> TopK:
    """Entropy and tail mass of each token from its k log-probabilities.

    Parameters
    ----------
    logprobs : array of shape (n_tokens, k)
        Natural logarithms, at most 0, in any order, each candidate token once. Minus infinity
        (or an engine's floor such as -9999) contributes nothing.

    Returns
    -------
    TopK
        ``entropy`` >= 0 in nats, ``tail_mass`` in [0, 1]. No tokens give empty arrays; k = 0 gives
        entropy 0 and tail mass 1.

    Raises
    ------
    ValueError
        If some token's probabilities add up to more than 1: a candidate is listed twice, as vLLM's
        flat log-probabilities do with the sampled token.
    """
    # In place where possible: this runs over every token of every response.
    wide = np.asarray(logprobs, dtype=np.float64 if logprobs.dtype == np.float64 else np.float32)
    p = np.exp(wide)
    mass = p.sum(axis=1)
    if mass.size and mass.max() > 1 + _MASS_TOLERANCE:
        token = int(np.argmax(mass > 1 + _MASS_TOLERANCE))
        raise ValueError(
            f"token {token}: the probabilities add up to {mass[token]:.3f}; "
            "a candidate is listed twice, remove the sampled token's own entry"
        )
    # 0 * -inf is NaN; the limit p log p -> 0 is what is meant.
    np.multiply(p, wide, out=p, where=p > 0)
    entropy = -p.sum(axis=1)
    return TopK(np.maximum(entropy, 0), np.clip(1 - mass, 0, 1))
