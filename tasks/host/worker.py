"""A worker of a single host: takes the runs that people start in the Prefect pages."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from tasks.errors import EndpointError
from tasks.host.servers import end, end_family, family, start
from tasks.host.workspace import Workspace

#: Seconds a run has to end its engines and to say in Prefect that it was stopped.
RUN_GRACE_S = 10.0

# Where a run's process carries the run's id.
_RUN_ID = "PREFECT__FLOW_RUN_ID"


@dataclass(frozen=True)
class Worker:
    """A worker's process and its log."""

    process: subprocess.Popen[bytes]
    log: Path

    def check(self) -> None:
        """Raise an :class:`EndpointError` if it has ended, as it does without its server."""
        status = self.process.poll()
        if status is not None:
            raise EndpointError(
                f"the Prefect worker ended with status {status}", f"its log says why: {self.log}"
            )


@contextlib.contextmanager
def worker(
    workspace: Workspace, api_url: str, pool: str, at_once: int, stopped: Callable[[str], object]
) -> Iterator[Worker]:
    """Run a worker for the block; its runs end with it.

    Runs start in processes of their own with this environment, so secrets reach them as variables
    and never as parameters.

    Parameters
    ----------
    stopped : callable
        Called with the id of each run that was under way when the block ended. It has ended by
        then; if it did not do so within :data:`RUN_GRACE_S` it was killed, and Prefect still takes
        it for running.
    """
    command = [str(Path(sys.executable).parent / "prefect"), "worker", "start", "--type", "process"]
    command += ["--pool", pool, "--limit", str(at_once), "--name", f"{pool}-{os.uname().nodename}"]
    log = workspace.state / "logs" / "worker.log"
    # On one host asking often costs nothing, and a person is waiting for the run to start.
    environment = {"PREFECT_WORKER_QUERY_SECONDS": "2"} | os.environ | {"PREFECT_API_URL": api_url}
    process = start(command, log, environment)
    try:
        yield Worker(process, log)
    finally:
        with contextlib.ExitStack() as last:
            last.callback(end, process)
            # One that cannot be told of keeps none of the others from it.
            for run in _stop_runs(process):
                last.callback(stopped, run)


def _stop_runs(worker: subprocess.Popen[bytes]) -> list[str]:
    """End the runs of a worker with all their processes; returns their ids.

    Prefect's worker, told to end, kills its runs at once: they could neither close their engines
    nor say that they ended. So it is halted, which also keeps it from taking further runs, while
    they are asked to end.
    """
    if worker.poll() is not None:
        return []
    worker.send_signal(signal.SIGSTOP)
    runs = psutil.Process(worker.pid).children()
    ids = [_run_id(run) for run in runs]
    below = family(*(run.pid for run in runs))
    for run in runs:
        with contextlib.suppress(psutil.NoSuchProcess):
            run.terminate()
    end_family(below, RUN_GRACE_S)
    return [found for found in ids if found]


def _run_id(run: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error):
        return run.environ().get(_RUN_ID, "")
    return ""
