"""The web pages of a single host: a Prefect and an MLflow server on loopback."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

from tasks.errors import SentinelError
from tasks.workspace import Workspace

_HOST = "127.0.0.1"
_STARTUP_S = 180


@contextlib.contextmanager
def pages(workspace: Workspace, prefect_port: int, mlflow_port: int) -> Iterator[dict[str, str]]:
    """Run both servers for the duration of the block; yields their addresses.

    Raises
    ------
    SentinelError
        If a port is taken, or a server does not come up; the message names its log.
    """
    for port, option in ((prefect_port, "--prefect-port"), (mlflow_port, "--mlflow-port")):
        _check_free(port, option)
    bin_folder = Path(sys.executable).parent
    prefect = [str(bin_folder / "prefect"), "server", "start", "--host", _HOST]
    mlflow = [str(bin_folder / "mlflow"), "server", "--host", _HOST, "--workers", "1"]
    backend = ["--backend-store-uri", workspace.tracking_uri]
    artifacts = ["--default-artifact-root", workspace.artifacts]
    urls = {"prefect": f"http://{_HOST}:{prefect_port}", "mlflow": f"http://{_HOST}:{mlflow_port}"}
    # The server must not take itself for a client of another one, nor its page for one elsewhere.
    environment = {k: v for k, v in os.environ.items() if k != "PREFECT_API_URL"}
    environment["PREFECT_UI_API_URL"] = f"{urls['prefect']}/api"
    logs = workspace.state / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    with (
        _server([*prefect, "--port", str(prefect_port)], logs / "prefect.log", environment) as one,
        _server(
            [*mlflow, "--port", str(mlflow_port), *backend, *artifacts],
            logs / "mlflow.log",
            environment,
        ) as two,
    ):
        _await(f"{urls['prefect']}/api/health", one, logs / "prefect.log")
        _await(f"{urls['mlflow']}/health", two, logs / "mlflow.log")
        workspace.pages_file.write_text(json.dumps(urls))
        try:
            yield urls
        finally:
            workspace.pages_file.unlink(missing_ok=True)


def _check_free(port: int, option: str) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
        except OSError:
            raise SentinelError(
                f"port {port} on {_HOST} is taken", f"stop what uses it, or choose {option}"
            ) from None


@contextlib.contextmanager
def _server(
    command: list[str], log: Path, environment: dict[str, str]
) -> Iterator[Callable[[], int | None]]:
    """Run a server in a process group of its own; yields its exit status, None while it runs."""
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - a fixed command of this environment
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
    try:
        yield process.poll
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()


def _await(url: str, status: Callable[[], int | None], log: Path) -> None:
    deadline = time.monotonic() + _STARTUP_S
    while time.monotonic() < deadline and status() is None:
        with contextlib.suppress(urllib.error.URLError, OSError):
            urllib.request.urlopen(url, timeout=2)  # noqa: S310 - a loopback address
            return
        time.sleep(0.3)
    raise SentinelError(f"the server at {url} did not start", f"its log says why: {log}")
