"""Why a cluster could not be joined, in our words; no Ray is started."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from tasks.cluster import joining as cluster
from tasks.errors import SentinelError


@pytest.fixture(autouse=True)
def apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a process of its own: another test may hold a real Ray in this one."""
    monkeypatch.setattr(cluster.ray, "is_initialized", lambda: False)


@pytest.fixture
def listening(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Address of something that listens, which a run is told to join."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setenv("RAY_ADDRESS", address)
        yield address


def no_node(**_: object) -> None:
    try:
        raise RuntimeError("No node info found when trying to resolve node to connect to.")
    except RuntimeError:
        raise ConnectionError("Failed to connect to Ray cluster")  # noqa: B904 - as Ray does it


def no_token(**_: object) -> None:
    raise ConnectionError("Authentication token is missing or incorrect")


def test_a_driver_without_a_node_is_told_to_start_one(
    monkeypatch: pytest.MonkeyPatch, listening: str
) -> None:
    monkeypatch.setattr(cluster.ray, "init", no_node)
    with (
        pytest.raises(SentinelError, match=rf"ray start --address={listening} --num-cpus=0"),
        cluster.ray_cluster(),
    ):
        pass


def test_another_refusal_is_told_as_it_is(monkeypatch: pytest.MonkeyPatch, listening: str) -> None:
    monkeypatch.setattr(cluster.ray, "init", no_token)
    with (
        pytest.raises(SentinelError, match=r"token is missing or incorrect\n.*RAY_AUTH_TOKEN"),
        cluster.ray_cluster(),
    ):
        pass


def test_the_client_protocol_is_refused_before_anything_is_tried(
    monkeypatch: pytest.MonkeyPatch, listening: str
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", f"ray://{listening}")
    monkeypatch.setattr(cluster.ray, "init", lambda **_: pytest.fail("Ray was asked"))
    with (
        pytest.raises(SentinelError, match=r"client protocol.*\n.*HOST:PORT"),
        cluster.ray_cluster(),
    ):
        pass


def test_without_an_address_a_cluster_of_our_own_is_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ray by itself would join one that somebody else started on this machine."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    asked: list[dict] = []
    monkeypatch.setattr(cluster.ray, "init", lambda **options: asked.append(options))
    monkeypatch.setattr(cluster.ray, "shutdown", lambda: None)
    with cluster.ray_cluster():
        pass
    assert [(o["address"], o["include_dashboard"]) for o in asked] == [("local", False)]
