"""Joining Ray: the cluster at ``RAY_ADDRESS`` where that is set, else a local one of our own."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

import ray

from tasks.errors import SentinelError


@contextmanager
def ray_cluster() -> Iterator[None]:
    """Connect for the duration of the block; a cluster that was joined before is left as it was.

    Raises
    ------
    SentinelError
        If ``RAY_ADDRESS`` names a cluster that does not answer or refuses the token. Ray would
        otherwise start a local one in silence and the run would look like a success.
    """
    if ray.is_initialized():
        yield
        return
    address = os.environ.get("RAY_ADDRESS")
    try:
        ray.init(
            address=address,
            include_dashboard=None if address else False,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise SentinelError(
            f"cannot join the Ray cluster at {address or 'this machine'}: {error}",
            "check RAY_ADDRESS and the cluster's token (RAY_AUTH_TOKEN), or unset RAY_ADDRESS",
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def workers() -> int:
    """Number of CPUs of the joined cluster, at least 1: how many tasks can run at once."""
    return max(1, int(ray.cluster_resources().get("CPU", 1)))
