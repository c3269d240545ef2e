"""Which code numbers were made by: the versions of the package and of its steps.

The driver addresses an artefact by its own versions, so what a worker computes for it has to come
from the same ones.
"""

from __future__ import annotations

import socket
from importlib.metadata import version

from tasks.errors import SentinelError
from tasks.records import SCHEMA_VERSION
from tasks.storage.keys import GENERATE_VERSION, PROFILE_VERSION, SWEEP_VERSION


def code_version() -> str:
    """Version of the package and of the steps whose numbers depend on it."""
    steps = {
        "generate": GENERATE_VERSION,
        "profile": PROFILE_VERSION,
        "sweep": SWEEP_VERSION,
        "schema": SCHEMA_VERSION,
    }
    listed = ", ".join(f"{name} {number}" for name, number in steps.items())
    return f"{version('entropy-sentinel')} ({listed})"


def check_code(drivers: str) -> None:
    """Refuse to work, on a node, for a driver that has other code.

    Parameters
    ----------
    drivers : str
        :func:`code_version` of the driver.

    Raises
    ------
    SentinelError
        Names the node and both versions.
    """
    mine = code_version()
    if mine != drivers:
        raise SentinelError(
            f"node {socket.gethostname()} has entropy-sentinel {mine}, and the driver {drivers}",
            "give all nodes and the driver images of one version",
        )
