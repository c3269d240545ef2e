"""The Ray that a run starts for itself listens on all interfaces, and asks everyone for a token."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest
import ray

from tasks.cluster.joining import ray_cluster

PROJECT = Path(__file__).parents[2]

# What a driver does first; the table of keys and values holds the functions that workers run.
STRANGER = """
import sys
from ray._raylet import GcsClient
client = GcsClient(address=sys.argv[1])
client.internal_kv_put(b"key", b"value", True, b"stranger")
print("written:", client.internal_kv_get(b"key", b"stranger"))
"""


def test_no_older_ray_is_installed_than_asks_for_a_token_by_itself() -> None:
    listed = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["dependencies"]
    (least,) = (m[1] for one in listed if (m := re.fullmatch(r"ray>=(\d+\.\d+)", one)))
    assert version("ray").startswith(f"{least}.")


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Of a local Ray, as a run without RAY_ADDRESS starts it."""
    names = [name for name in os.environ if name.startswith("RAY_")]
    before = {name: os.environ.pop(name) for name in names}
    with ray_cluster():
        yield ray.get_runtime_context().gcs_address
    os.environ.update(before)


def asked_by(address: str, home: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """What Ray says to a process that shares nothing with this one but its machine."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    return subprocess.run(
        [sys.executable, "-c", STRANGER, address],
        env=environment | {"HOME": str(home)} | more,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.slow
def test_a_stranger_is_refused_and_its_owner_is_not(address: str, tmp_path: Path) -> None:
    refused = asked_by(address, tmp_path)
    assert "InvalidAuthToken" in refused.stderr
    assert "written" not in refused.stdout
    served = asked_by(address, Path.home(), RAY_AUTH_MODE="token")
    assert "written: b'value'" in served.stdout, served.stderr
