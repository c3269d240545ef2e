"""Tables computed in pieces by Ray tasks, each piece stored when it is done.

A rerun submits the missing pieces only, so a killed run loses what was in flight.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping

import pyarrow as pa
import pyarrow.parquet as pq
import ray
import ray.exceptions

from tasks.cluster.joining import problem_of, signals_as_raised
from tasks.cluster.room import SWEEPING, Waiting
from tasks.errors import SentinelError
from tasks.storage.store import Store

# Seconds between two looks whether a cluster has a node for sweeps at all.
_STEP_S = 10.0

#: Called with (pieces done, in all).
Progress = Callable[[int, int], None]


def compute_pieces(
    tasks: Mapping[ray.ObjectRef, str], store: Store, in_all: int, progress: Progress | None
) -> None:
    """Store what Ray tasks return, each as it finishes.

    Parameters
    ----------
    tasks : mapping of task to file
        Each returns :func:`parquet_bytes`; the file is root-relative.
    in_all : int
        Pieces with those stored before, for ``progress``.
    """
    done = in_all - len(tasks)
    try:
        for task in _finished(list(tasks)):
            store.write_bytes(tasks[task], _result(task))
            done += 1
            if progress:
                progress(done, in_all)
    except BaseException:
        # Prefect cancels the flow, not what it submitted; without this Ray would finish it all.
        for task in tasks:
            ray.cancel(task, force=False)
        raise


def _result(task: ray.ObjectRef) -> bytes:
    try:
        with signals_as_raised():
            content: bytes = ray.get(task)
    except ray.exceptions.OutOfMemoryError as error:
        # Its first line has the node and its memory; ten follow about who uses it.
        first = str(error).strip().partition("\n")[0]
        raise SentinelError(
            f"the sweep: a node has too little memory for its tasks, which were killed and tried "
            f"again in vain: {first}",
            "end what else uses its memory, take a node with more, or let fewer tasks run at once "
            "(`ray start --head --num-cpus=N`, and RAY_ADDRESS); pieces that are done are kept",
        ) from None
    except ray.exceptions.RayError as error:
        if problem := problem_of(error, "the sweep"):
            raise problem from None
        raise
    return content


def _finished(waiting: list[ray.ObjectRef]) -> Iterator[ray.ObjectRef]:
    remedy = "join a node with CPUs that is not labelled `node-type=gpu`"
    room = Waiting("the sweep", "its tasks", SWEEPING, remedy)
    while waiting:
        with signals_as_raised():
            ready, waiting = ray.wait(waiting, num_returns=1, timeout=_STEP_S)
        yield from ready
        if not ready:
            room.check()


def parquet_bytes(table: pa.Table) -> bytes:
    """A table as Parquet, which travels and is stored as it is."""
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()
