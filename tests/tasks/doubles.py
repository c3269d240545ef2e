"""Items, and an engine pool that answers from the item's number or fails as told."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from tasks.conf import Decoding
from tasks.engines.contract import Batch, Prompt, Recorder, TokenTrace, to_generation_table
from tasks.records import Finish, Item, to_table


def items_of(benchmark: str, count: int) -> pa.Table:
    """Items whose question is their number and whose answer is its double."""
    return to_table(
        [Item(benchmark, f"i{n:02}", f"What is twice {n}?", str(2 * n)) for n in range(count)], Item
    )


class ListedPool:
    """Stands in for the engines where failures are wanted: answers each prompt, or fails as told.

    ``fails`` maps a number of the call (from 0) to an exception to raise, or to a
    ``(how many are answered, problem)`` pair.
    """

    seated = True

    def __init__(self, fails: dict | None = None, width: int = 1) -> None:
        self.width, self.fails = width, fails or {}
        self.calls: list[list[str]] = []

    @property
    def asked(self) -> list[str]:
        return [item for call in self.calls for item in call]

    def generate(self, prompts: Sequence[Prompt]) -> Batch:
        number = len(self.calls)
        self.calls.append([p.item_id for p in prompts])
        match self.fails.get(number):
            case BaseException() as error:
                raise error
            case (int() as answered, problem):
                return Batch(self._answers(prompts[:answered]), problem)
        return Batch(self._answers(prompts))

    def _answers(self, prompts: Sequence[Prompt]) -> pa.Table:
        recorder = Recorder("listed", "1", "raw_logprobs", Decoding(top_k=2), None)
        traces = []
        responses = []
        for p in prompts:
            number = int(p.item_id[1:])
            n = number % 4 + 1
            top = np.log(np.tile(np.float32([0.5, 0.25]), (n, 1)))
            traces.append(TokenTrace.from_logprobs(top, top[:, 0], keep_top=False))
            responses.append(
                recorder.response(
                    p,
                    text=f"It is {2 * number}.",
                    finish=Finish.STOP,
                    n_tokens=n,
                    seconds=0.1,
                    tokens_in=5,
                    tokens_out=n,
                )
            )
        return to_generation_table(responses, traces)
