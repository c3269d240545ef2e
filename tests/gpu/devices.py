"""Who holds the GPUs, and how much of their memory, as the driver tells.

Asked through its library: a program that starts for each look (nvidia-smi) slows engines down.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self

try:
    import pynvml
except ImportError:  # Comes with vLLM's CUDA build.
    pynvml = None


@dataclass(frozen=True)
class Reading:
    """``used_mib`` by GPU, and the GPUs that each process computes on."""

    at: float
    used_mib: dict[int, int]
    holders: dict[int, frozenset[int]]


def visible() -> list[int]:
    """Indices of the GPUs that this process may use; none where there is no driver."""
    if pynvml is None:
        return []
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return []
    found = range(pynvml.nvmlDeviceGetCount())
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is None:
        return list(found)
    names = [name.strip() for name in chosen.split(",")]
    return [index for index in found if str(index) in names or _uuid(index) in names]


def _uuid(index: int) -> str:
    told = pynvml.nvmlDeviceGetUUID(pynvml.nvmlDeviceGetHandleByIndex(index))
    return told.decode() if isinstance(told, bytes) else told


def read() -> Reading:
    """What holds the visible GPUs now."""
    used: dict[int, int] = {}
    holders: dict[int, frozenset[int]] = {}
    for gpu in visible():
        card = pynvml.nvmlDeviceGetHandleByIndex(gpu)
        used[gpu] = pynvml.nvmlDeviceGetMemoryInfo(card).used // 2**20
        for process in pynvml.nvmlDeviceGetComputeRunningProcesses(card):
            holders[process.pid] = holders.get(process.pid, frozenset()) | {gpu}
    return Reading(time.monotonic(), used, holders)


@dataclass
class Watch:
    """Readings all through a block."""

    reader: Callable[[], Reading]
    readings: list[Reading] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._stop.wait(0.5):
            self.readings.append(self.reader())

    def gpus(self) -> dict[int, frozenset[int]]:
        """GPUs of every process that was ever seen on one."""
        seen: dict[int, frozenset[int]] = {}
        for reading in self.readings:
            for pid, gpus in reading.holders.items():
                seen[pid] = seen.get(pid, frozenset()) | gpus
        return seen

    def together(self, *pids: int) -> float:
        """Seconds from the first to the last reading in which all of these were there."""
        times = [r.at for r in self.readings if all(pid in r.holders for pid in pids)]
        return times[-1] - times[0] if times else 0.0
