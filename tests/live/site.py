"""The pages of one host and a worker, over a conf folder of sums, as people run them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import psutil
import yaml

from tasks.storage.store import Store
from tests.live import sums
from tests.live.asking import ask_json
from tests.live.services import end, free_port

BENCHMARKS = {"easy": 1, "middle": 2, "many": 2}

#: Types of states after which no other comes.
OVER = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")


@dataclass
class Site:
    """A folder with conf and data, and the addresses of its pages while they run."""

    folder: Path
    endpoint: str
    ports: tuple[int, int] = (0, 0)
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def prefect(self) -> str:
        return f"http://127.0.0.1:{self.ports[0]}"

    @property
    def mlflow(self) -> str:
        return f"http://127.0.0.1:{self.ports[1]}"

    @property
    def store(self) -> Store:
        return Store(str(self.folder / "data"))

    def write(self, path: str, document: object) -> Path:
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(yaml.safe_dump(document, sort_keys=False))
        return file

    def experiment(self, items: int, **changes: object) -> str:
        """Write an experiment of sums with two models; returns its path as the forms show it."""
        for name in ("small", "other"):
            self.write(f"conf/models/{name}.yaml", sums.model(name, self.endpoint))
        made = sums.benchmarks(items, **BENCHMARKS)
        made["many"]["source"]["config"] |= {"min_terms": 3, "max_terms": 4}
        for name, document in made.items():
            self.write(f"conf/benchmarks/{name}.yaml", document)
        self.write("conf/judges/rules.yaml", {"kind": "rules", "name": "rules"})
        document = {
            "name": "sums",
            "models": ["small", "other"],
            "benchmarks": list(made),
            "decoding": {"temperature": 0, "max_tokens": 32},
            "sweep": {"sizes": [1, 2], "estimators": ["ensemble", "atc-max", "constant"]},
        }
        document |= changes
        path = f"conf/experiments/{document['name']}.yaml"
        self.write(path, document)
        return path

    def sentinel(self, *words: str, status: int = 0, timeout: float = 300) -> str:
        """Run a command to its end in this folder; returns what it printed."""
        done = subprocess.run(
            [str(Path(sys.executable).parent / "sentinel"), *words],
            capture_output=True, text=True, cwd=self.folder, env=self.variables(), timeout=timeout,
        )  # fmt: skip
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout + done.stderr

    def api(self, path: str, body: object = None, again: bool = False) -> list | dict:
        """Answer of the Prefect API."""
        return ask_json(f"{self.prefect}/api{path}", body, again=again)

    def start(self, deployment: str, **parameters: object) -> dict:
        """Start a run as the form does: by the API, which checks the parameters."""
        flow = "experiment" if deployment == "added-model" else deployment
        found = self.api(f"/deployments/name/{flow}/{deployment}")
        asked = {"parameters": parameters, "idempotency_key": str(uuid4())}
        return self.api(f"/deployments/{found['id']}/create_flow_run", asked, again=True)

    def logs(self, run: dict) -> list[str]:
        """Lines of a run's log in their order."""
        body = {"logs": {"flow_run_id": {"any_": [run["id"]]}}, "sort": "TIMESTAMP_ASC"}
        return [line["message"] for line in self.api("/logs/filter", body)]

    def artifacts(self, run: dict) -> dict[str, dict]:
        """Artifacts of a run that have a key."""
        body = {"artifacts": {"flow_run_id": {"any_": [run["id"]]}}, "limit": 200}
        return {a["key"]: a for a in self.api("/artifacts/filter", body) if a["key"]}

    def await_state(self, run: dict, *types: str, seconds: float = 400) -> dict:
        """Wait until a run has one of these types of state; returns the run as it is then."""
        deadline = time.monotonic() + seconds
        while (now := self.api(f"/flow_runs/{run['id']}"))["state_type"] not in types:
            assert time.monotonic() < deadline, (now["name"], now["state"], self.logs(run)[-20:])
            time.sleep(0.3)
        return now

    def runs(self) -> list[dict]:
        """Flow runs that a deployment started, oldest first."""
        found = self.api("/flow_runs/filter", {"sort": "START_TIME_ASC"})
        return [run for run in found if run["deployment_id"]]

    def finished(self, count: int, seconds: float = 300) -> list[dict]:
        """Wait until this many runs of deployments have ended."""
        deadline = time.monotonic() + seconds
        while True:
            ended = [run for run in self.runs() if run["state_type"] in OVER]
            if len(ended) >= count:
                return ended
            assert time.monotonic() < deadline, [(r["name"], r["state_name"]) for r in self.runs()]
            time.sleep(0.5)

    def tasks(self, run: dict) -> dict[str, str]:
        """State of every task of a run by the task's name.

        States of tasks are recorded later than those of runs: where the run is over, those of its
        tasks are waited for.
        """
        body = {"flow_runs": {"id": {"any_": [run["id"]]}}, "limit": 200}
        deadline = time.monotonic() + 120
        over = self.api(f"/flow_runs/{run['id']}")["state_type"] in OVER
        while True:
            found = self.api("/task_runs/filter", body)
            ended = all(t["state_type"] in OVER for t in found)
            if ended or not over or time.monotonic() > deadline:
                return {t["name"]: t["state_name"] for t in found}
            time.sleep(0.3)

    def parts(self) -> dict[str, int]:
        """Stored parts of responses and when each was written."""
        found = (self.folder / "data" / "responses").rglob("part-*.parquet")
        return {p.relative_to(self.folder / "data").as_posix(): p.stat().st_mtime_ns for p in found}

    @contextlib.contextmanager
    def pages(self, runs_at_once: int = 2) -> Iterator[None]:
        """Run `sentinel ui` for the block; it has to stop by itself and leave nothing."""
        self.ports = (free_port(), free_port())
        words = ["ui", "--prefect-port", str(self.ports[0]), "--mlflow-port", str(self.ports[1])]
        words += ["--runs-at-once", str(runs_at_once)]
        with self._running("ui.txt", words, "Ctrl-C"):
            yield

    @contextlib.contextmanager
    def serving(self, *options: str) -> Iterator[subprocess.Popen]:
        """Run `sentinel deploy --serve` for the block, as the worker of a compose file does."""
        servers = {
            "PREFECT_API_URL": f"{self.prefect}/api", "MLFLOW_TRACKING_URI": self.mlflow,
        }  # fmt: skip
        words = ["deploy", "--serve", *options]
        with self._running("serve.txt", words, "Ctrl-C", servers) as process:
            yield process

    @contextlib.contextmanager
    def _running(
        self, log: str, words: list[str], ready: str, servers: dict[str, str] | None = None
    ) -> Iterator[subprocess.Popen]:
        output = self.folder / log
        with output.open("w") as file:
            process = subprocess.Popen(
                [str(Path(sys.executable).parent / "sentinel"), *words],
                stdout=file, stderr=subprocess.STDOUT, cwd=self.folder,
                env=self.variables() | (servers or {}),
            )  # fmt: skip
        try:
            deadline = time.monotonic() + 400
            while ready not in (told := output.read_text()):
                assert process.poll() is None, told
                assert time.monotonic() < deadline, told
                time.sleep(0.2)
            yield process
            if process.poll() is None:
                stop(process, signal.SIGTERM)
        finally:
            end(process)

    def variables(self) -> dict[str, str]:
        """Environment of what runs on this site."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT", "MLFLOW"))}
        own = {"SENTINEL_ROOT": str(self.folder / "data"), "COLUMNS": "200"}
        return kept | own | self.environment


def stop(process: subprocess.Popen, signal_number: int) -> None:
    """Stop a command as a person or a container does: by itself, with all it started."""
    below = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal_number)
    assert process.wait(timeout=300) == 0
    _, left = psutil.wait_procs(below, timeout=120)
    assert left == [], [" ".join(p.cmdline()) for p in left]
