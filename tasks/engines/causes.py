"""Why vLLM's processes failed: what they wrote last, for their exceptions do not say.

vLLM runs its model in processes below the one that asks. When one fails, the asking one is told to
"see root cause above", in an output that on a cluster lies on another machine. A worker's output
goes to files, and the processes below it write to the same ones.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator

#: What is read back of an output: tracebacks of a few processes, each logged twice.
_TAIL_BYTES = 2**18

# As in "(EngineCore pid=7) ERROR 11-22 05:21:00 [core.py:9] ValueError: Free memory on device ...".
_RAISED = re.compile(r"(?:^|\s)((?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception|Exit)): (\S.*)$")

# Lines that vLLM logs of its work; with the option `enable_log_requests` they hold prompts.
_AT_WORK = re.compile(r"(?:^|\s)(?:DEBUG|INFO)\b")

# Exceptions that only pass on that another process failed.
_PASSED_ON = re.compile(
    r"initialization failed|root cause|cancelled|EngineDead|EngineCore enc", re.I
)

#: Words of vLLM, CUDA and PyTorch for memory of a GPU that does not suffice.
_MEMORY = re.compile(
    r"out of memory|OutOfMemory|free memory on device|KV cache|memory utilization|cache blocks",
    re.I,
)

MEMORY_REMEDY = (
    "another process may hold the GPU's memory (`nvidia-smi`): end it and rerun; else lower "
    "`gpu_memory_utilization`, `max_model_len` or `max_num_seqs` in the model's `options`, or give "
    "it more GPUs"
)


class Output:
    """Standard output and error of a process from now on, where they go to files."""

    def __init__(self) -> None:
        self._start: dict[int, int] = {}
        for number in (1, 2):
            try:
                status = os.fstat(number)
            except OSError:
                continue
            if stat.S_ISREG(status.st_mode):
                self._start[number] = status.st_size

    def cause(self) -> str | None:
        """The exception that was written last and does not just pass on another; else none."""
        found = None
        for line in self._lines():
            raised = None if _AT_WORK.search(line) else _RAISED.search(line)
            if raised and not _PASSED_ON.search(line):
                found = f"{raised[1].rsplit('.', 1)[-1]}: {raised[2].strip()}"
        return found

    def _lines(self) -> Iterator[str]:
        for number, start in self._start.items():
            # By its path, since the descriptor's own position is the writer's.
            with open(f"/proc/self/fd/{number}", "rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(start, size - _TAIL_BYTES))
                yield from file.read().decode(errors="replace").splitlines()


def of_memory(text: str) -> bool:
    """Whether an error's text tells of GPU memory that did not suffice."""
    return bool(_MEMORY.search(text))


def said(error: BaseException) -> str:
    """What an exception says, in a line; its type's name where it says nothing.

    Where vLLM's configuration refuses options (by pydantic), the first refusal: the exception's own
    first line only counts them.
    """
    text = str(error).strip() or type(error).__name__
    if re.match(r"\d+ validation errors? for ", text):
        first = error.errors()[0]  # type: ignore[attr-defined]
        option = f"{first['loc'][0]}: " if first["loc"] else ""
        return f"{option}{first['msg'].removeprefix('Value error, ')}".splitlines()[0]
    return text.splitlines()[0]
