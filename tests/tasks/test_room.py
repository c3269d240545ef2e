"""What a node has to have, and how long one that has it is waited for; no Ray is started."""

from __future__ import annotations

import logging

import pytest

from tasks.cluster import room
from tasks.cluster.room import SWEEPING, Needs, Waiting
from tasks.errors import SentinelError
from tasks.host.settings import seconds
from tasks.storage.versions import check_code, code_version


def node(cpus: float, gpus: float = 0, *, alive: bool = True, **labels: str) -> dict:
    """As Ray describes a node; one without CPUs or GPUs has no such entry."""
    has = {"CPU": cpus, "GPU": gpus, "memory": 1e9}
    named = {name.replace("_", "-"): value for name, value in labels.items()}
    return {"Alive": alive, "Resources": {k: v for k, v in has.items() if v}, "Labels": named}


@pytest.mark.parametrize(
    ("needs", "found", "fits"),
    [
        (Needs(1), node(1), True),
        (Needs(2), node(1), False),
        (Needs(0), node(0), True),
        (Needs(1, 2), node(8, 2), True),
        (Needs(1, 2), node(8, 1), False),
        (Needs(1, 0.5), node(1, 1), True),
        (Needs(1, labels={"kind": "a"}), node(1, kind="a"), True),
        (Needs(1, labels={"kind": "a"}), node(1, kind="b"), False),
        (Needs(1, labels={"kind": "a"}), node(1), False),
        # Ray matches what is negated on nodes without the label as well.
        (Needs(1, labels={"kind": "!a"}), node(1, kind="b"), True),
        (Needs(1, labels={"kind": "!a"}), node(1), True),
        (Needs(1, labels={"kind": "!a"}), node(1, kind="a"), False),
        (Needs(1, labels={"kind": "in(a, b)"}), node(1, kind="b"), True),
        (Needs(1, labels={"kind": "in(a,b)"}), node(1, kind="c"), False),
        (Needs(1, labels={"kind": "!in(a,b)"}), node(1, kind="a"), False),
        (Needs(1, labels={"kind": "!in(a,b)"}), node(1), True),
        (SWEEPING, node(4, 4, node_type="gpu"), False),
        (SWEEPING, node(4, 4), True),
        (SWEEPING, node(4, node_type="cpu"), True),
        (SWEEPING, node(0), False),
    ],
)
def test_which_nodes_would_do(needs: Needs, found: dict, fits: bool) -> None:
    assert needs.fit(found) is fits


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(room.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(room, "room", lambda: "0 of 0 GPUs are free")
    return now


def waiting(monkeypatch: pytest.MonkeyPatch, nodes: list[dict], **needs: float) -> Waiting:
    monkeypatch.setattr(room.ray, "nodes", lambda: nodes)
    return Waiting("model 'm'", "an engine", Needs(1, **needs), "add one")


def test_a_local_cluster_that_is_too_small_is_an_error_at_once(
    monkeypatch: pytest.MonkeyPatch, clock: list[float]
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(SentinelError, match=r"model 'm': no node had room for an engine.*2 GPUs"):
        waiting(monkeypatch, [node(4)], gpus=2).check()


def test_two_nodes_together_are_not_one_that_is_large_enough(
    monkeypatch: pytest.MonkeyPatch, clock: list[float]
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(SentinelError, match="none is large enough"):
        waiting(monkeypatch, [node(4, 2), node(4, 2), node(4, 4, alive=False)], gpus=4).check()


def test_a_joined_cluster_has_its_time_to_grow(
    monkeypatch: pytest.MonkeyPatch, clock: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:6379")
    nodes = [node(4)]
    watch = waiting(monkeypatch, nodes, gpus=1)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            watch.check()
            clock[0] += 600
        assert caplog.text.count("one may join within 1800 s") == 1
        nodes.append(node(4, 1))
        watch.check()
        nodes.pop()
        # Its time starts again with the node that was there and went.
        for _ in range(3):
            watch.check()
            clock[0] += 600
    clock[0] += 1
    with pytest.raises(SentinelError, match="none is large enough"):
        watch.check()


def test_a_node_that_is_busy_is_waited_for_and_told_of(
    monkeypatch: pytest.MonkeyPatch, clock: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    watch = waiting(monkeypatch, [node(4, 1)], gpus=1)
    with caplog.at_level(logging.WARNING):
        watch.check()
        assert not caplog.records
        for _ in range(24 * 60):
            clock[0] += 60
            watch.check()
    # After a minute, and then every quarter of an hour of this day.
    assert len(caplog.records) == 96
    assert "waits for a node with room for an engine" in caplog.text


def test_other_code_on_a_node_is_refused() -> None:
    check_code(code_version())
    with pytest.raises(SentinelError, match=r"has entropy-sentinel .*, and the driver 0\.0\.9"):
        check_code("0.0.9 (generate 1)")


def test_a_timeout_that_is_no_number_is_told(monkeypatch) -> None:
    monkeypatch.setenv("SENTINEL_ROOM_TIMEOUT_S", "soon")
    with pytest.raises(SentinelError, match="SENTINEL_ROOM_TIMEOUT_S is 'soon', which is no num"):
        seconds("SENTINEL_ROOM_TIMEOUT_S", 1800)
    monkeypatch.setenv("SENTINEL_ROOM_TIMEOUT_S", "20")
    assert seconds("SENTINEL_ROOM_TIMEOUT_S", 1800) == 20
    monkeypatch.delenv("SENTINEL_ROOM_TIMEOUT_S")
    assert seconds("SENTINEL_ROOM_TIMEOUT_S", 1800) == 1800
