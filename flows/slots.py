"""Limits over all runs: how many jobs may use GPUs, or ask a paid judge, at once.

``sentinel deploy`` sets them; without it there are none. A slot is a lease that its holder renews,
so one held by a killed run is free again after a minute.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from prefect.client.orchestration import get_client
from prefect.concurrency.sync import concurrency
from prefect.exceptions import ObjectNotFound

GPU_JOBS = "sentinel-gpu-jobs"
JUDGE_JOBS = "sentinel-judge-jobs"

# The shortest lease that the server grants.
_LEASE_S = 60


@contextmanager
def slot(name: str, needed: bool) -> Iterator[None]:
    """Hold one slot of a limit for the block; nothing is held unless it is needed and is set.

    A job whose lease is lost, as when the server is away for longer than a lease, goes on with a
    warning: what it does is worth more than the limit.
    """
    if not (needed and _is_set(name)):
        yield
        return
    with concurrency(name, strict=False, lease_duration=_LEASE_S):
        yield


def _is_set(name: str) -> bool:
    """Whether the server has the limit; Prefect would warn at each job where it has none."""
    with get_client(sync_client=True) as client:
        try:
            client.read_global_concurrency_limit_by_name(name)
        except ObjectNotFound:
            return False
    return True
