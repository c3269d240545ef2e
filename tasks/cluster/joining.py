"""Joining Ray: the cluster at ``RAY_ADDRESS`` where that is set, else a local one of our own."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import ray
import ray.exceptions

from tasks.errors import SentinelError

#: Ray's word for a cluster of our own, started and ended with the run.
LOCAL = "local"

_REACH_S = 10


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
    where = address()
    _check_reachable(where)
    try:
        with _sigterm_kept():
            ray.init(
                address=where,
                include_dashboard=False if where == LOCAL else None,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise _refusal(where, error) from error
    try:
        yield
    finally:
        ray.shutdown()


def _refusal(where: str, error: Exception) -> SentinelError:
    told = f"cannot join the Ray cluster at {'this machine' if where == LOCAL else where}: "
    # Ray raises this one while it handles the other, which says why.
    if "resolve node to connect to" in f"{error} {error.__context__}":
        return SentinelError(
            f"{told}no node of it runs on this machine, through which a driver joins",
            f"start one that takes no work: ray start --address={where} --num-cpus=0",
        )
    return SentinelError(
        f"{told}{error}",
        "check RAY_ADDRESS, RAY_AUTH_MODE (token) and the cluster's token (RAY_AUTH_TOKEN), "
        "or unset RAY_ADDRESS",
    )


def address() -> str:
    """Where to join. Of no address Ray makes any cluster that was started on this machine."""
    return os.environ.get("RAY_ADDRESS") or LOCAL


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


def _check_reachable(where: str) -> None:
    """Fail within seconds where nothing listens; Ray would try for more than a minute, then exit.

    ``auto`` and ``local`` name no host, and are left to Ray. Ray's client protocol is refused: a
    lost connection would end engines that are at work.
    """
    if where.startswith("ray://"):
        raise SentinelError(
            f"RAY_ADDRESS={where} asks for Ray's client protocol, by which no run joins",
            "name the head as HOST:PORT, its port usually 6379, with a node on the driver's "
            "machine: ray start --address=HOST:PORT --num-cpus=0",
        )
    parts = urlsplit(where if "://" in where else f"//{where}")
    try:
        if parts.hostname and parts.port:
            socket.create_connection((parts.hostname, parts.port), timeout=_REACH_S).close()
    except (OSError, ValueError) as error:
        raise SentinelError(
            f"no Ray cluster answers at {where}: {error}",
            "start it, check RAY_ADDRESS (host:port of the head), or unset it for a local one",
        ) from None


@contextmanager
def signals_as_raised() -> Iterator[None]:
    """Around a wait for Ray: what a signal handler raises comes out as it was raised.

    Ray makes a ``SystemError`` of it, an ordinary error to whoever collects problems, and a run
    that is to be cancelled would go on with the next model.
    """
    try:
        yield
    except SystemError as error:
        raised = error.__cause__
        if raised is None or isinstance(raised, Exception):
            raise
        raise raised from None


def workers() -> int:
    """Number of CPUs of the joined cluster, at least 1: how many tasks can run at once."""
    return max(1, int(ray.cluster_resources().get("CPU", 1)))


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
