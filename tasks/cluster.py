"""Joining Ray: the cluster at ``RAY_ADDRESS`` where that is set, else a local one of our own."""

from __future__ import annotations

import logging
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import ray
import ray.exceptions

from tasks.errors import SentinelError

_log = logging.getLogger(__name__)

# Ray's word for a cluster of our own, started and ended with the run.
_LOCAL = "local"

_REACH_S = 10

# Seconds of waiting for a node after which the user is told, and again. A worker that has its room
# is silent for half a minute, while it imports the engine.
_TELL_AFTER_S = 60.0
_TELL_AGAIN_S = 900.0

# Seconds in which a node that is large enough has to join, where there is none: an autoscaler needs
# minutes, and a cluster that is too small would be waited for for ever.
_GIVE_UP_AFTER_S = float(os.environ.get("SENTINEL_ROOM_TIMEOUT_S", "1800"))


@contextmanager
def ray_cluster() -> Iterator[None]:
    """Connect for the duration of the block; a cluster that was joined before is left as it was.

    Ray itself reads the token of a cluster, from ``RAY_AUTH_TOKEN`` or the file that
    ``RAY_AUTH_TOKEN_PATH`` names, where ``RAY_AUTH_MODE`` is ``token``.

    Raises
    ------
    SentinelError
        If ``RAY_ADDRESS`` names a cluster that does not answer or refuses the token. Ray would
        otherwise start a local one in silence and the run would look like a success.
    """
    if ray.is_initialized():
        yield
        return
    address = _address()
    _check_reachable(address)
    try:
        with _sigterm_kept():
            ray.init(
                address=address,
                include_dashboard=False if address == _LOCAL else None,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise _refusal(address, error) from error
    try:
        yield
    finally:
        ray.shutdown()


def _refusal(address: str, error: Exception) -> SentinelError:
    where = "this machine" if address == _LOCAL else address
    told = f"cannot join the Ray cluster at {where}: "
    if "resolve node to connect to" in str(error):
        return SentinelError(
            f"{told}no node of it runs on this machine, through which a driver joins",
            f"start one that takes no work: ray start --address={address} --num-cpus=0",
        )
    return SentinelError(
        f"{told}{error}",
        "check RAY_ADDRESS, RAY_AUTH_MODE (token) and the cluster's token (RAY_AUTH_TOKEN), "
        "or unset RAY_ADDRESS",
    )


def _address() -> str:
    """Where to join. Of no address Ray makes any cluster that was started on this machine."""
    return os.environ.get("RAY_ADDRESS") or _LOCAL


@contextmanager
def _sigterm_kept() -> Iterator[None]:
    """Leave SIGTERM to whoever handles it, where Ray would take it for itself.

    Prefect hears by it that a run is to be cancelled; to Ray it is a plain exit, and the run would
    be shown as crashed.
    """
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if callable(handler) and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)


def _check_reachable(address: str) -> None:
    """Fail within seconds where nothing listens; Ray would try for more than a minute, then exit.

    ``auto`` and ``local`` name no host, and are left to Ray.
    """
    parts = urlsplit(address if "://" in address else f"//{address}")
    try:
        if parts.hostname and parts.port:
            socket.create_connection((parts.hostname, parts.port), timeout=_REACH_S).close()
    except (OSError, ValueError) as error:
        raise SentinelError(
            f"no Ray cluster answers at {address}: {error}",
            "start it, check RAY_ADDRESS (host:port of the head), or unset it for a local one",
        ) from None


def workers() -> int:
    """Number of CPUs of the joined cluster, at least 1: how many tasks can run at once."""
    return max(1, int(ray.cluster_resources().get("CPU", 1)))


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


def problem_of(error: ray.exceptions.RayError, who: str) -> SentinelError | None:
    """What a person can mend of a failure on a node; ``None`` for what Ray alone has to say.

    That is an error of ours, raised there, or a node that lacks this package or what it imports.
    """
    cause = error.cause if isinstance(error, ray.exceptions.RayTaskError) else None
    if isinstance(cause, SentinelError):
        return cause
    last = (str(error).strip().splitlines() or [""])[-1].strip()
    if not last.startswith(("ModuleNotFoundError:", "ImportError:")):
        return None
    return SentinelError(
        f"{who}: a node of the cluster cannot import what it is to run: {last}",
        "give all nodes and the driver images, or environments, of one version",
    )


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
        may_grow = _address() != _LOCAL
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
