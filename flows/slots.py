"""Limits over all runs: how many jobs may use GPUs, or ask a paid judge, at once.

``sentinel deploy`` sets them; without it there are none. A slot is a lease that its holder renews,
so one held by a killed run is free again after a minute.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import httpx
from prefect import get_run_logger
from prefect.client.orchestration import get_client
from prefect.concurrency.sync import concurrency
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError

GPU_JOBS = "sentinel-gpu-jobs"
JUDGE_JOBS = "sentinel-judge-jobs"

# The shortest lease that the server grants.
_LEASE_S = 60


@contextmanager
def slot(name: str, needed: bool) -> Iterator[None]:
    """Hold one slot of a limit for the block; nothing is held unless it is needed and is set.

    A job whose lease is lost, as when the server is away for longer than a lease, goes on with a
    warning, and so does one that cannot give its slot back: what it does is worth more than the
    limit.
    """
    if not (needed and _is_set(name)):
        yield
        return
    with ExitStack() as held:
        held.enter_context(concurrency(name, strict=False, lease_duration=_LEASE_S))
        yield
        try:
            held.close()
        except (httpx.HTTPError, PrefectHTTPStatusError, RuntimeError) as error:
            told = "%s: the server was not told that a slot is free; it will be in a minute: %s"
            get_run_logger().warning(told, name, error)


def _is_set(name: str) -> bool:
    """Whether the server has the limit; Prefect would warn at each job where it has none."""
    with get_client(sync_client=True) as client:
        try:
            client.read_global_concurrency_limit_by_name(name)
        except ObjectNotFound:
            return False
    return True
