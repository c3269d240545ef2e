"""Faults with a count: sums behind a slow endpoint, and a record of what was lost."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tasks.benchmarks import load_items
from tasks.conf import load_experiment
from tasks.records import KEY
from tasks.storage.store import Store
from tests.chat_server import Server
from tests.live.conftest import Lab, vllm_model
from tests.live.services import BIN, QUIET, await_true, clean_environment
from tests.live.sums import adding, benchmarks, model

#: Where the records go that `tests.live.faults.table` turns into docs/faults.md.
RECORDS = "SENTINEL_FAULT_RECORDS"

#: Items a part, and so the most that a job in flight can lose. A run has two jobs.
PART = 8
IN_FLIGHT = 2 * PART

#: Requests after which two parts are stored for sure, with as many that have to wait.
HELD = IN_FLIGHT + 2 * PART


@dataclass
class Trouble:
    """A laboratory whose model is an endpoint that counts what it is asked."""

    lab: Lab
    server: Server
    name: str
    items: int = 32
    names: tuple[str, ...] = ("a", "b")
    later_s: float = 0.0
    #: How many requests are answered before the rest waits until `let_go`.
    held_after: int | None = None
    _let_go: threading.Event = field(default_factory=threading.Event)

    def hold(self, after: int) -> None:
        """Leave all requests beyond so many without an answer, so that work is left for sure."""
        self.held_after = after

    def let_go(self) -> None:
        """Answer what was held, and all that comes."""
        self._let_go.set()

    def answers(self, number: int) -> None:
        """Wait until the request of this number is to be answered."""
        time.sleep(self.later_s)
        if self.held_after is not None and number >= self.held_after:
            self._let_go.wait(600)

    @property
    def all_items(self) -> int:
        return self.items * len(self.names)

    def write(self, **changes: object) -> str:
        """Write the experiment: sums of two and of three digits, in parts of eight items.

        No question stands twice, so one that was asked twice was repeated.
        """
        remote = model("remote", self.server.url)
        remote["endpoint"] = remote["endpoint"] | {"concurrency": 4}
        settings = {"name": self.name, "batch_items": PART, "limit": self.items} | changes
        sums = benchmarks(self.items, **{name: n for n, name in enumerate(self.names, start=2)})
        for benchmark in sums.values():
            config = benchmark["source"]["config"]
            config["min_digits"] = config["max_digits"]
        path = self.lab.write(models={"remote": remote}, benchmarks=sums, **settings)
        tables = [load_items(b, None) for b in load_experiment(path).benchmarks]
        questions = [q for table in tables for q in table["question"].to_pylist()]
        assert len(set(questions)) == len(questions) == self.all_items
        return str(path)

    def stored(self, root: str | None = None) -> list[tuple[str, str]]:
        """Keys of all stored rows, as often as they stand there."""
        store = Store(root or str(self.lab.folder / "data"))
        base = Path(store.root) / "responses" / "remote"
        rows: list[tuple[str, str]] = []
        for part in base.glob("*/*/part-*.parquet"):
            table = store.read_parquet(part.relative_to(store.root).as_posix(), [*KEY])
            keys = (table[name].to_pylist() for name in KEY)
            rows += zip(*keys, strict=True)
        return rows

    @property
    def parts(self) -> int:
        return len(self.lab.parts("remote"))

    @property
    def asked(self) -> int:
        """Requests so far."""
        return len(self.server.bodies)

    @property
    def repeated(self) -> int:
        """Requests beyond the first for each question."""
        questions = Counter(body["messages"][-1]["content"] for body in self.server.bodies)
        assert all("answer only" in question for question in questions)
        return self.asked - len(questions)

    def lost(self, root: str | None = None) -> int:
        """Items without a row; a row that stands twice is an error of its own."""
        rows = self.stored(root)
        assert len(rows) == len(set(rows)), "a row stands twice"
        return self.all_items - len(rows)

    def counts(self, root: str | None = None) -> dict[str, int]:
        """What a record says of items."""
        return {"lost": self.lost(root), "repeated": self.repeated, "of": self.all_items}


def trouble(lab: Lab, name: str, latency_s: float) -> Trouble:
    """A laboratory whose endpoint answers after ``latency_s``, and as much later as is set."""
    made = Trouble(lab, adding(skill=5, latency_s=latency_s), name)
    rule = made.server.rule

    def later(number: int, body: dict) -> tuple:
        made.answers(number)
        return rule(number, body)

    made.server.rule = later
    return made


def below(process: subprocess.Popen) -> list[psutil.Process]:
    """All processes that a process started, and they in turn."""
    return psutil.Process(process.pid).children(recursive=True)


def alive(process: psutil.Process) -> bool:
    """Whether it still does something; where nobody reaps orphans, the dead stay listed."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def names(processes: list[psutil.Process]) -> list[str]:
    """Command lines of those that are alive, for a message."""
    found = []
    for process in filter(alive, processes):
        try:
            found.append(" ".join(process.cmdline())[:120] or process.name())
        except psutil.NoSuchProcess:
            continue
    return found


def engines(processes: list[psutil.Process], name: str = "VLLM") -> list[psutil.Process]:
    """Those of vLLM, by what the names that they give themselves begin with."""
    found = []
    for process in processes:
        try:
            if process.name().startswith(name):
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


#: Conf of a model whose engine logs what it is asked.
LOGGED = {"options": vllm_model("small")["options"] | {"enable_log_requests": True}}


def asked(ray: Path) -> int:
    """Requests that the engines below a Ray folder took, by their own logs; dead engines' too."""
    logs = ray.glob("**/logs/worker-*")
    return sum(p.read_text(errors="replace").count("Added request ") for p in logs)


@contextlib.contextmanager
def ray_folder() -> Iterator[Path]:
    """A folder for Ray's sessions, to be named in ``RAY_TMPDIR``; its sockets need a short path."""
    folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def recording() -> bool:
    """Whether the records of this session are kept, as `make faults` does."""
    return bool(os.environ.get(RECORDS))


def record(fault: str, cause: str, outcome: str, *, lost: int, repeated: int, of: int) -> None:
    """Write down a fault that was survived, where the environment names a file for it.

    Parameters
    ----------
    of : int
        Items in all, of which ``lost`` have no row and ``repeated`` were asked again.
    """
    path = os.environ.get(RECORDS)
    if not path:
        return
    row = {
        "fault": fault, "cause": cause, "outcome": outcome, "lost": lost, "repeated": repeated,
        "of": of, "test": os.environ["PYTEST_CURRENT_TEST"].split("::")[-1].split(" ")[0],
        "day": f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}", "cores": os.cpu_count(),
    }  # fmt: skip
    with open(path, "a") as file:
        file.write(json.dumps(row) + "\n")


@contextlib.contextmanager
def worker(lab: Lab, clients: dict[str, str]) -> Iterator[psutil.Process]:
    """`sentinel deploy --serve` over a laboratory's conf; yields its process."""
    environment = clean_environment() | QUIET | lab.environment | clients | {
        "SENTINEL_ROOT": str(lab.folder / "data"), "PATH": f"{BIN}:{os.environ['PATH']}",
    }  # fmt: skip
    log = lab.folder / "worker.txt"
    process = subprocess.Popen(
        [BIN / "sentinel", "deploy", "--serve", "--folder", lab.folder],
        env=environment, cwd=lab.folder, stdout=log.open("wb"), stderr=subprocess.STDOUT,
        start_new_session=True,
    )  # fmt: skip
    try:
        await_true(
            lambda: "takes runs" in log.read_text() or process.poll() is not None, 300, "a worker"
        )
        assert process.poll() is None, log.read_text()
        yield psutil.Process(process.pid)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=120)


class SlowProxy:
    """Passes TCP on to a port of loopback: answers ``delay_s`` late, requests in small pieces.

    An upload of some kilobytes is thus under way for a while.
    """

    def __init__(self, port: int, delay_s: float) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._ways = ((2**10, delay_s / 20), (2**16, delay_s))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self._target))
            for (source, sink), way in zip(((near, far), (far, near)), self._ways, strict=True):
                threading.Thread(target=_pump, args=(source, sink, *way), daemon=True).start()


def _pump(source: socket.socket, sink: socket.socket, size: int, delay_s: float) -> None:
    try:
        while piece := source.recv(size):
            time.sleep(delay_s)
            sink.sendall(piece)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        sink.close()
