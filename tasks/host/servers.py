"""Servers of a single host, on loopback: the Prefect and MLflow pages, and a run's own Prefect API.

Their databases are SQLite files in the state folder, or what the environment names
(``PREFECT_API_DATABASE_CONNECTION_URL``, ``MLFLOW_BACKEND_STORE_URI``), such as PostgreSQL. A URL
may hold a password, so it travels in the environment and never on a command line, which every user
of the machine can read.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import psutil

from tasks.errors import SentinelError
from tasks.host.workspace import Workspace

_HOST = "127.0.0.1"
_STARTUP_S = 180
# Prefect's server waits for connections that browsers hold open, and writes what it has at once.
_GRACE_S = 5.0
# A run's own Prefect server has no browsers that hold it, but states of steps to write.
_OWN_GRACE_S = 30.0
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


@contextlib.contextmanager
def pages(
    workspace: Workspace, prefect_port: int, mlflow_port: int, launcher: Sequence[str]
) -> Iterator[dict[str, str]]:
    """Run both servers for the duration of the block; yields their addresses.

    Parameters
    ----------
    launcher : sequence of str
        Command that runs the module named after it, as ``python -m`` does: Prefect's server.

    Raises
    ------
    SentinelError
        If a port is taken, or a server does not come up; the message names its log.
    """
    if prefect_port == mlflow_port:
        raise SentinelError(
            f"both servers are to use port {prefect_port}",
            "give --prefect-port and --mlflow-port different ones",
        )
    for port, option in ((prefect_port, "--prefect-port"), (mlflow_port, "--mlflow-port")):
        _check_free(port, option)
    prefect = [*launcher, "prefect", "server", "start", "--host", _HOST]
    mlflow = [str(Path(sys.executable).parent / "mlflow"), "server", "--host", _HOST]
    mlflow += ["--workers", "1"]
    if os.environ.get("MLFLOW_AUTH_CONFIG_PATH"):
        mlflow += ["--app-name", "basic-auth"]
    artifacts = ["--default-artifact-root", workspace.artifacts]
    urls = {"prefect": f"http://{_HOST}:{prefect_port}", "mlflow": f"http://{_HOST}:{mlflow_port}"}
    # The server must not take itself for a client of another one, nor its page for one elsewhere.
    environment = {k: v for k, v in os.environ.items() if k != "PREFECT_API_URL"}
    environment["PREFECT_UI_API_URL"] = f"{urls['prefect']}/api"
    environment["MLFLOW_BACKEND_STORE_URI"] = workspace.backend_uri
    logs = workspace.state / "logs"
    servers: list[subprocess.Popen[bytes]] = []
    try:
        one = start([*prefect, "--port", str(prefect_port)], logs / "prefect.log", environment)
        servers.append(one)
        two = start(
            [*mlflow, "--port", str(mlflow_port), *artifacts], logs / "mlflow.log", environment
        )
        servers.append(two)
        _await(f"{urls['prefect']}/api/health", one, logs / "prefect.log")
        _await(f"{urls['mlflow']}/health", two, logs / "mlflow.log")
        workspace.pages_file.write_text(json.dumps(urls))
        try:
            yield urls
        finally:
            workspace.pages_file.unlink(missing_ok=True)
    finally:
        end(*servers)


def start_prefect_api(workspace: Workspace, launcher: Sequence[str]) -> Callable[[], None]:
    """Set ``PREFECT_API_URL``, where it is not, to a server over the workspace's database.

    Prefect would start such a server by itself, but leave it behind when the run is killed; this
    one ends with the process that asked for it, however that ends. Call it from the main thread,
    and before importing Prefect, which writes its last log lines when the process exits. The
    launcher is that of :func:`pages`.

    Returns
    -------
    callable
        Waits until the server answers, which takes it as long as this process takes to import the
        flows: call it after that, and before the first flow.
    """
    if os.environ.get("PREFECT_API_URL"):
        return lambda: None
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        port = probe.getsockname()[1]
    # As Prefect's own temporary servers: no pages, and only the services that record runs.
    environment = os.environ | {
        "PREFECT_UI_ENABLED": "0",
        "PREFECT__SERVER_EPHEMERAL": "1",
        "PREFECT__SERVER_FINAL": "1",
    }
    command = [*launcher, "uvicorn", "--factory", "prefect.server.api.server:create_app"]
    command += ["--host", _HOST, "--port", str(port), "--log-level", "error", "--lifespan", "on"]
    # uvicorn would look for modules in the folder that a person works in.
    command += ["--app-dir", str(Path(__file__).parents[2])]
    logs = workspace.state / "logs"
    log = logs / f"prefect-{os.getpid()}.log"
    url = f"http://{_HOST}:{port}/api"
    until_exit = contextlib.ExitStack()
    # Functions of atexit run last in, first out: the server outlives what Prefect registers later.
    atexit.register(until_exit.close)
    process = start(command, log, environment)
    until_exit.callback(end, process, within=_OWN_GRACE_S)
    os.environ["PREFECT_API_URL"] = url

    def ready() -> None:
        _await(f"{url}/health", process, log)
        until_exit.callback(log.unlink, missing_ok=True)

    return ready


def _check_free(port: int, option: str) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
        except OSError:
            raise SentinelError(
                f"port {port} on {_HOST} is taken", f"stop what uses it, or choose {option}"
            ) from None


def start(command: list[str], log: Path, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    """Start a server in a process group of its own.

    It is told to end when the thread that started it ends, even by ``kill -9``.
    """
    me = os.getpid()
    libc = ctypes.CDLL(None)

    def tie() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != me:  # Already gone: no signal will come.
            os._exit(1)

    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        return subprocess.Popen(  # noqa: S603 - a fixed command of this environment
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
            preexec_fn=tie,
        )


def end(*processes: subprocess.Popen[bytes], within: float = _GRACE_S) -> None:
    """Ask processes to end, all at once; kill them and all below them after ``within`` seconds."""
    families = family(*(process.pid for process in processes))
    for process in processes:
        process.terminate()
        process.send_signal(signal.SIGCONT)  # One that was halted would not hear it.
    end_family(families, within)
    for process in processes:
        process.wait()


def family(*pids: int) -> list[psutil.Process]:
    """These processes with all below them, as far as they are there."""
    found = []
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            head = psutil.Process(pid)
            found += [head, *head.children(recursive=True)]
    return found


def end_family(processes: Iterable[psutil.Process], within: float) -> None:
    """Wait until processes have ended; kill those that have not, with all below them."""
    left = _still_run(processes, within)
    doomed = {p for one in left for p in family(one.pid)} | set(left)
    for process in doomed:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    _still_run(doomed, within=1)


def _still_run(processes: Iterable[psutil.Process], within: float) -> list[psutil.Process]:
    """Those of the processes that run after so many seconds, or none as soon as all have ended."""
    deadline = time.monotonic() + within
    while (left := [p for p in processes if _runs(p)]) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left


def _runs(process: psutil.Process) -> bool:
    """Whether a process runs; one that has ended stays in the table until its parent asks."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _await(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _STARTUP_S
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(urllib.error.URLError, OSError):
            urllib.request.urlopen(url, timeout=2)  # noqa: S310 - a loopback address
            return
        time.sleep(0.3)
    raise SentinelError(f"the server at {url} did not start", f"its log says why: {log}")
