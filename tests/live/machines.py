"""Several machines on one: namespaces of network and processes, joined by a bridge.

Each has an address of its own and sees its own processes only, as Ray expects of machines. What
listens on loopback in one of them cannot be reached from another. They share the disk.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

import psutil
import pytest

from tests.live.services import await_true, end


@dataclass(frozen=True)
class Machine:
    """A network namespace, its address, and the first process of its own processes."""

    namespace: str
    address: str
    first: int

    @property
    def on(self) -> tuple[str, ...]:
        """Words before a command that run it there."""
        return ("nsenter", f"--target={self.first}", "--net", "--pid", "--mount")


@contextlib.contextmanager
def machines(number: int) -> Iterator[list[Machine]]:
    """Machines that reach each other and nothing else; skips where this user may not make them."""
    if shutil.which("ip") is None or os.getuid() != 0:
        pytest.skip("network namespaces need root and iproute2")
    tag = f"sentinel-{secrets.token_hex(3)}"
    hub = f"{tag}-hub"
    with contextlib.ExitStack() as stack:
        _namespace(hub, stack)
        _ip("-n", hub, "link", "add", "bridge", "type", "bridge")
        _ip("-n", hub, "link", "set", "bridge", "up")
        yield [_machine(f"{tag}-{n}", hub, n, stack) for n in range(1, number + 1)]


def _machine(name: str, hub: str, number: int, stack: contextlib.ExitStack) -> Machine:
    address, port = f"10.88.0.{number}", f"port{number}"
    _namespace(name, stack)
    _ip("link", "add", "eth0", "netns", name, "type", "veth", "peer", "name", port, "netns", hub)
    _ip("-n", hub, "link", "set", port, "master", "bridge", "up")
    _ip("-n", name, "address", "add", f"{address}/24", "dev", "eth0")
    _ip("-n", name, "link", "set", "lo", "up")
    _ip("-n", name, "link", "set", "eth0", "up")
    # Without a way out a machine does not know which of its addresses is its own.
    _ip("-n", name, "route", "add", "default", "dev", "eth0")
    own = ["unshare", "--pid", "--fork", "--mount-proc", "sleep", "infinity"]
    outer = subprocess.Popen(["ip", "netns", "exec", name, *own])
    # With its first process all others of a machine end.
    stack.callback(end, outer)
    await_true(lambda: psutil.Process(outer.pid).children(), 10, "start of a machine")
    return Machine(name, address, psutil.Process(outer.pid).children()[0].pid)


def _namespace(name: str, stack: contextlib.ExitStack) -> None:
    done = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"no network namespaces here: {done.stderr.strip()}")
    stack.callback(_ip, "netns", "delete", name)


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True)
    assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr}"
