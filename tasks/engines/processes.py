"""The processes of an engine, named so that another process can wait for their end."""

from __future__ import annotations

import contextlib
import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import psutil


def _table() -> str:
    """Which table of processes this one is in: of this start of this machine, of this container."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:  # A sandbox that does not show them.
        return socket.gethostname()


@dataclass(frozen=True)
class Processes:
    """Ids of processes and the table they are of; the same numbers mean others elsewhere."""

    table: str
    pids: tuple[int, ...]

    @classmethod
    def mine(cls) -> Self:
        """The calling process and all below it."""
        me = psutil.Process()
        return cls(_table(), (me.pid, *(child.pid for child in me.children(recursive=True))))

    def left(self) -> list[psutil.Process]:
        """Those that are still there; none where they cannot be seen from here."""
        found: list[psutil.Process] = []
        if self.table == _table():
            for pid in self.pids:
                with contextlib.suppress(psutil.NoSuchProcess):
                    found.append(psutil.Process(pid))
        return found
