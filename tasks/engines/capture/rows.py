"""What travels from vLLM's worker to the collector: one row of six numbers a sampled token.

numpy only. A row names its request, the index of its token among the request's output tokens, and
the token itself, so that a row is only ever used for the token it was computed for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: Float32 columns of a row. Entropies in nats, over the top k not renormalised; log-probabilities
#: at most 0 but for rounding; ``top1`` is that of the likeliest token.
FIELDS = ("entropy", "chosen", "tail_mass", "full_entropy", "top1")

#: Four-byte words of a row: the fields, then the token as an int32.
WIDTH = len(FIELDS) + 1
_TOKEN = len(FIELDS)

# Four builtins that vLLM's own serialisation carries between processes without pickling.
Parcel = tuple[bytes, bytes, bytes, list[str]]


@dataclass(frozen=True, slots=True)
class Values:
    """Per-token numbers of one response, each of shape (n_tokens,) and float32; see FIELDS."""

    entropy: NDArray[np.float32]
    chosen: NDArray[np.float32]
    tail_mass: NDArray[np.float32]
    full_entropy: NDArray[np.float32]
    top1: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of one request in the order they were computed.

    ``words`` has shape (n, WIDTH) and dtype int32: the fields are float32 bit patterns. ``index``
    is the position among the output tokens, shape (n,). An index may come twice: vLLM can discard
    a token of a preempted request and sample it again.
    """

    words: NDArray[np.int32]
    index: NDArray[np.int32]

    @classmethod
    def join(cls, parts: Sequence[Rows]) -> Rows:
        """All rows of ``parts``, in their order."""
        return cls(
            np.concatenate([p.words for p in parts] or [np.empty((0, WIDTH), np.int32)]),
            np.concatenate([p.index for p in parts] or [np.empty(0, np.int32)]),
        )

    def of(self, tokens: Sequence[int]) -> Values | str:
        """Numbers of a response's tokens, or the reason why they are not all there.

        Of several rows for one token the last computed counts: it is the one that was kept.
        """
        wanted = np.asarray(tokens, dtype=np.int32)
        inside = (self.index >= 0) & (self.index < len(wanted))
        at, words = self.index[inside], self.words[inside]
        same = words[:, _TOKEN] == wanted[at]
        place = np.full(len(wanted), -1, dtype=np.int64)
        place[at[same]] = np.flatnonzero(same)
        missing = np.flatnonzero(place < 0)
        if missing.size:
            first = int(missing[0])
            what = "a different token" if (at == first).any() else "nothing"
            return (
                f"{missing.size} of {len(wanted)} tokens were not captured; for token {first} "
                f"the worker saw {what}"
            )
        numbers = words[place, :_TOKEN].copy().view(np.float32)
        if not np.isfinite(numbers).all():
            token = int(np.argmin(np.isfinite(numbers).all(axis=1)))
            return f"the logits of token {token} are not finite"
        return Values(*(np.ascontiguousarray(numbers[:, i]) for i in range(_TOKEN)))


def pack(steps: Sequence[tuple[NDArray[np.int32], Sequence[str], NDArray[np.int32]]]) -> Parcel:
    """Rows of several steps, each (words, request of each row, index of each row).

    Rows with a negative index sampled nothing and are left out.
    """
    if not steps:
        return b"", b"", b"", []
    numbers = _Numbers()
    owner = np.concatenate(
        [
            np.fromiter(map(numbers.__getitem__, names), np.int32, len(names))
            for _, names, _ in steps
        ]
    )
    index = np.concatenate([i for _, _, i in steps]).astype(np.int32, copy=False)
    words = np.concatenate([w for w, _, _ in steps])
    keep = index >= 0
    if not keep.all():
        owner, index, words = owner[keep], index[keep], words[keep]
    return words.tobytes(), index.tobytes(), owner.tobytes(), list(numbers)


def unpack(parcel: Parcel) -> Iterator[tuple[str, Rows]]:
    """Each request's rows, in the order they were computed; a request comes once."""
    words, index, owner = (np.frombuffer(part, dtype=np.int32) for part in parcel[:3])
    words = words.reshape(-1, WIDTH)
    order = np.argsort(owner, kind="stable")
    words, index = words[order], index[order]
    ends = np.cumsum(np.bincount(owner, minlength=len(parcel[3])))
    start = 0
    for name, end in zip(parcel[3], ends.tolist(), strict=True):
        if end > start:
            # Copies, or one long request would hold on to everyone's rows.
            yield name, Rows(words[start:end].copy(), index[start:end].copy())
        start = end


class _Numbers(dict[str, int]):
    """Numbers names in the order they are first asked for."""

    def __missing__(self, name: str) -> int:
        self[name] = number = len(self)
        return number
