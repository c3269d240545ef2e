"""Room on nodes: what a task or an engine needs of one, and how long it is waited for."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import ray

from tasks.cluster.joining import LOCAL, address
from tasks.errors import SentinelError
from tasks.host.settings import seconds

_log = logging.getLogger(__name__)

# Seconds of waiting for a node after which the user is told, and again. A worker that has its room
# is silent for half a minute, while it imports the engine.
_TELL_AFTER_S = 60.0
_TELL_AGAIN_S = 900.0

# Seconds in which a node that is large enough has to join, where there is none: an autoscaler needs
# minutes, and a cluster that is too small would be waited for for ever.
_GIVE_UP_AFTER_S = seconds("SENTINEL_ROOM_TIMEOUT_S", 1800)


def room() -> str:
    """What is free in the joined cluster now, for a message to a person."""
    free = ray.available_resources()
    total = ray.cluster_resources()
    shown = [f"{free.get(kind, 0):g} of {total.get(kind, 0):g} {kind}s" for kind in ("CPU", "GPU")]
    return f"{' and '.join(shown)} are free on {len(_nodes())} node(s)"


@dataclass(frozen=True)
class Needs:
    """What a task or an actor holds, all of it on one node.

    ``labels`` are what the node must carry: a value, ``in(a, b)``, or either of them after ``!``,
    which a node without the label meets too.
    """

    cpus: float
    gpus: float = 0
    labels: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        """As people read it: ``1 CPUs and 2 GPUs on one node with {'node-type': 'gpu'}``."""
        labels = f" with {dict(self.labels)}" if self.labels else ""
        return f"{self.cpus:g} CPUs and {self.gpus:g} GPUs on one node{labels}"

    @property
    def options(self) -> dict[str, Any]:
        """The same as options of Ray's tasks and actors."""
        return {
            "num_cpus": self.cpus,
            "num_gpus": self.gpus,
            "label_selector": dict(self.labels),
        }

    def fit(self, node: Mapping[str, Any]) -> bool:
        """Whether a node, as :func:`ray.nodes` describes it, would do if nothing else ran there."""
        has = node["Resources"]
        return (
            has.get("CPU", 0) >= self.cpus
            and has.get("GPU", 0) >= self.gpus
            and all(_meets(node["Labels"].get(key), wanted) for key, wanted in self.labels.items())
        )


def _meets(value: str | None, wanted: str) -> bool:
    parts = re.fullmatch(r"(!?)(?:in\((.*)\)|(.*))", wanted)
    if parts is None:
        return False
    no, listed, single = parts.groups()
    allowed = [single] if listed is None else [one.strip() for one in listed.split(",")]
    return (value in allowed) != bool(no)


#: What a task of a sweep needs. Nodes labelled as GPU nodes are left to engines, and their image
#: need not hold what a sweep imports.
SWEEPING = Needs(cpus=1, labels={"node-type": "!gpu"})


class Waiting:
    """Watches over something that waits for a node: tells what for, and gives up where it is vain.

    For a node that is busy it waits as long as it takes; other models and runs end some time.

    Parameters
    ----------
    who, what : str
        As messages begin, such as ``model 'm'`` and ``an engine``.
    needs : Needs
        Of the node it waits for.
    remedy : str
        What a person can do where there is no such node.
    """

    def __init__(self, who: str, what: str, needs: Needs, remedy: str) -> None:
        self._who, self._what, self._needs, self._remedy = who, what, needs, remedy
        self._since = time.monotonic()
        self._tell_at = self._since + _TELL_AFTER_S
        self._hopeless_since: float | None = None

    def check(self) -> None:
        """Call now and then for as long as nothing has started.

        Raises
        ------
        SentinelError
            If no node is large enough, even idle, and none has joined in the seconds that
            ``SENTINEL_ROOM_TIMEOUT_S`` gives; at once on a local cluster, which cannot grow.
        """
        now = time.monotonic()
        if any(self._needs.fit(node) for node in _nodes()):
            self._hopeless_since = None
            if now >= self._tell_at:
                self._tell_at = now + _TELL_AGAIN_S
                self._tell(f"since {now - self._since:.0f} s")
            return
        may_grow = address() != LOCAL
        if self._hopeless_since is None:
            self._hopeless_since = now
            if may_grow:
                self._tell(f"none is large enough; one may join within {_GIVE_UP_AFTER_S:.0f} s")
        if not may_grow or now - self._hopeless_since > _GIVE_UP_AFTER_S:
            raise SentinelError(
                f"{self._who}: no node had room for {self._what}, and none is large enough "
                f"({self._needs}); {room()}",
                self._remedy,
            )

    def _tell(self, more: str) -> None:
        _log.warning(
            "%s waits for a node with room for %s (%s), %s; %s",
            self._who,
            self._what,
            self._needs,
            more,
            room(),
        )


def _nodes() -> list[dict[str, Any]]:
    return [node for node in ray.nodes() if node["Alive"]]
