"""Sweeps in a real MLflow: by several processes at one moment, by killed ones, and at size."""

from __future__ import annotations

import dataclasses
import functools
import io
import itertools
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import requests
from mlflow import MlflowClient

from estimators.config import expand
from tasks.conf import Experiment
from tasks.conf.choices import Request
from tasks.signals.features import Joined
from tasks.tracking.registry import example, load_registered
from tasks.tracking.runs import connect, experiment_id
from tasks.tracking.track import TrackedSweep, Tracker
from tests.live.services import free_port
from tests.tasks import tracked
from tests.tasks.tracked import active, joined, whole

pytestmark = pytest.mark.slow

PROCESSES = 3

#: Benchmarks and models of a large sweep; v1's has nine models.
LETTERS, MODELS = "abcdefghij", int(os.environ.get("SENTINEL_MODELS", "4"))

#: What a driver may be killed at: calls of MLflow's client that write.
WRITES = ("create_run", "log_batch", "log_artifacts", "set_terminated", "set_tag", "delete_run")


@pytest.fixture(scope="module")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server over SQLite that keeps the artifacts itself, as one for a team does."""
    folder = tmp_path_factory.mktemp("mlflow")
    port = free_port()
    command = [str(Path(sys.executable).parent / "mlflow"), "server", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--workers", "1", "--serve-artifacts"]
    command += ["--artifacts-destination", str(folder / "artifacts")]
    own = {"MLFLOW_BACKEND_STORE_URI": f"sqlite:///{folder / 'mlflow.db'}"}
    log = folder / "log.txt"
    process = subprocess.Popen(
        command, stdout=log.open("wb"), stderr=subprocess.STDOUT, env=dict(os.environ) | own,
        start_new_session=True,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 300
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2)
                break
            except OSError:
                assert process.poll() is None, log.read_text()[-3000:]
                assert time.monotonic() < deadline, "the server did not start"
                time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> str:
    found = f"sqlite:///{tmp_path_factory.mktemp('database') / 'mlflow.db'}"
    MlflowClient(found).search_experiments()  # Its tables are made once.
    return found


@pytest.fixture(params=["server", "database"])
def uri(request: pytest.FixtureRequest) -> str:
    return request.getfixturevalue("mlflow_server" if request.param == "server" else "database")


@pytest.fixture
def named(request: pytest.FixtureRequest) -> str:
    """An experiment of the test's own."""
    return request.node.originalname


@pytest.fixture
def base(make_experiment: Callable[..., Experiment], named: str) -> Experiment:
    return make_experiment(name=named, benchmarks=tracked.benchmarks(), sweep={"sizes": (1, 2)})


def at_once(*calls: Callable[[], object]) -> list[int | None]:
    """Run each call in a process of its own, all of them at the same moment; their exit codes.

    The processes are forked from one that has imported all this and has a single thread.
    """
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload([__name__])
    gate = server.Barrier(len(calls))
    processes = [server.Process(target=_together, args=(gate, call)) for call in calls]
    for process in processes:
        process.start()
    for process in processes:
        process.join(500)
    return [process.exitcode for process in processes]


def _together(gate: threading.Barrier, call: Callable[[], object]) -> None:
    gate.wait()
    call()


def test_a_new_database_is_made_once(tmp_path) -> None:
    """The first two runs of an installation, started together."""
    call = functools.partial(_is_the_first, f"sqlite:///{tmp_path / 'new.db'}")
    assert at_once(*[call] * PROCESSES) == [0] * PROCESSES


def _is_the_first(uri: str) -> None:
    assert experiment_id(connect(uri), "e", "/nowhere") == "1"


def test_the_same_sweep_logged_by_processes_at_one_moment(base, uri, named, tmp_path) -> None:
    one = joined("m")
    call = functools.partial(tracked.log, base, uri, tmp_path, one, experiment=named)
    assert at_once(*[call] * PROCESSES) == [0] * PROCESSES
    client = MlflowClient(uri)
    whole(client, {"m": one}, named)
    (version,) = client.search_model_versions(f"name = '{named}-m'")
    champion = client.get_model_version_by_alias(f"{named}-m", "champion")
    assert champion.version == version.version
    (training,) = active(client, "training", named).values()
    assert version.run_id == training.info.run_id


def test_sweeps_that_differ_logged_at_one_moment(base, database, named, tmp_path) -> None:
    """One of them stands in the end, whole; nothing of the others is mixed into it."""
    one, changed, added = joined("m"), joined("m", seed=4), joined("n", seed=1)
    sweeps = [{"m": one}, {"m": one, "n": added}, {"m": changed}]
    calls = [
        functools.partial(
            tracked.log, base, database, tmp_path, *models.values(), label="x", experiment=named
        )
        for models in sweeps
    ]
    assert at_once(*calls) == [0] * len(calls)
    client = MlflowClient(database)
    standing = []
    for models in sweeps:
        try:
            whole(client, models, named)
        except AssertionError:
            continue
        standing.append(models)
    assert len(standing) == 1
    # And whichever is logged next replaces it.
    tracked.log(base, database, tmp_path, added, label="x", experiment=named)
    whole(client, {"n": added}, named)


def test_a_killed_driver_leaves_what_the_next_one_completes(
    base, database, named, tmp_path
) -> None:
    """Killed while it creates, fills and discards runs: at three of about twenty-five writes."""
    before, models = joined("m", seed=4), {"m": joined("m"), "n": joined("n", seed=1)}
    call = functools.partial(
        tracked.log, base, database, tmp_path, *models.values(), experiment=named
    )
    client, codes = MlflowClient(database), []
    for last in (3, 9, 18, 100):
        tracked.log(base, database, tmp_path, before, experiment=named)
        codes += at_once(functools.partial(_killed_at, last, call))
        tracked.log(base, database, tmp_path, *models.values(), experiment=named)
        whole(client, models, named)
    assert set(codes[:3]) == {-signal.SIGKILL}
    assert codes[-1] == 0  # Beyond the last write.
    assert len(client.search_model_versions(f"name = '{named}-n'")) == 1


def _killed_at(last: int, call: Callable[[], object]) -> None:
    """Make a call in a process that is killed at its write of this number."""
    count = itertools.count(1)
    for name in WRITES:
        real = getattr(MlflowClient, name)

        def counted(*words, real=real, **options):
            if next(count) == last:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*words, **options)

        setattr(MlflowClient, name, counted)
    call()


def test_a_clock_that_is_behind_loses_nothing(base, database, named, tmp_path, monkeypatch) -> None:
    """The later sweep starts after the one that it saw, so whoever looks on keeps the later one."""
    client = MlflowClient(database)
    tracked.log(base, database, tmp_path, joined("m"), experiment=named)
    (first,) = active(client, "sweep", named).values()
    now = time.time
    monkeypatch.setattr("tasks.tracking.runs.time.time", lambda: now() - 3600)
    tracked.log(base, database, tmp_path, joined("m", seed=4), experiment=named)
    whole(client, {"m": joined("m", seed=4)}, named)
    (second,) = active(client, "sweep", named).values()
    assert second.info.start_time > first.info.start_time


@dataclasses.dataclass
class Large:
    """A sweep of twelve estimators, four sizes and many compositions."""

    base: Experiment
    uri: str
    folder: Path
    names = tuple(c.name for c in expand(["ensemble", "atc-max", "constant", "v1-grid"]))[:12]

    def log(self, models: dict[str, Joined]) -> TrackedSweep:
        settings = dataclasses.replace(self.base.sweep, sizes=(1, 2, 3, 4), estimators=self.names)
        asked = Request(dataclasses.replace(self.base, sweep=settings), ())
        tracker = Tracker(self.base.name, self.uri, self.folder.as_uri(), "http://page")
        figures = {f"{n}.png": bytes(40_000) for n in ("accuracy", "max_entropy", "sizes")}
        splits = {name: self.splits(name) for name in models}
        return tracker.log_sweep(asked, models, splits, figures, {}, "text", "page" * 500_000)

    @functools.cached_property
    def rows(self) -> pa.Table:
        return tracked.splits(joined("m", benchmarks=LETTERS), (1, 2, 3, 4), ("constant",))

    def splits(self, model: str) -> pa.Table:
        """Rows of one cheap estimator and model under the names of all."""
        names = self.rows.schema.names
        return pa.concat_tables(
            pa.table(
                [
                    [{"estimator": estimator, "model": model}[name]] * len(self.rows)
                    if name in ("estimator", "model")
                    else self.rows[name]
                    for name in names
                ],
                self.rows.schema,
            )
            for estimator in self.names
        )


def test_a_model_added_to_a_large_sweep_costs_few_calls(
    base, mlflow_server, named, tmp_path, monkeypatch
) -> None:
    models = {f"m{n}": joined(f"m{n}", seed=n, benchmarks=LETTERS) for n in range(MODELS)}
    large = Large(
        dataclasses.replace(base, benchmarks=tracked.benchmarks(LETTERS)), mlflow_server, tmp_path
    )
    sent: list[str] = []
    send = requests.Session.send

    def counted(session, request, **options):
        sent.append(request.url)
        return send(session, request, **options)

    monkeypatch.setattr(requests.Session, "send", counted)
    calls, seconds = [], []
    others = dict(list(models.items())[:-1])
    for step in (others, models, models):
        sent.clear()
        start = time.monotonic()
        large.log(step)
        seconds.append(time.monotonic() - start)
        calls.append(len(sent))
    print(f"calls {calls}, seconds {[round(s, 1) for s in seconds]}")
    assert len(active(MlflowClient(mlflow_server), "estimator", named)) == MODELS * 12
    # A new run takes three calls, one that gets another parent takes one; a registered estimator
    # takes 27, one that stays two; what is left is looking, and the parent's files.
    old = MODELS - 1
    assert calls[0] <= 3 * (12 * old + 1) + 28 * old + 30
    assert calls[1] <= 3 * (12 + 1) + 12 * old + 28 + 3 * old + 30
    assert calls[2] <= 2 * MODELS + 3


ELSEWHERE = """
import sys, mlflow

unpickled = []
sys.addaudithook(lambda event, about: event == "pickle.find_class" and unpickled.append(about))
estimator = mlflow.pyfunc.load_model("models:/{name}@champion")
assert unpickled == [], unpickled
found = estimator.predict(estimator.input_example, params={{"level": 0.8}})
print(found.to_json(double_precision=15))
"""


def test_the_champion_is_loaded_by_its_alias_elsewhere(
    base, mlflow_server, named, tmp_path, monkeypatch
) -> None:
    """By MLflow alone, in another process and folder, its files sent by the server; no pickle."""
    one = joined("m")
    tracked.log(base, mlflow_server, tmp_path, one, experiment=named)
    told = subprocess.run(
        [sys.executable, "-c", ELSEWHERE.format(name=f"{named}-m")],
        capture_output=True, text=True, cwd=tmp_path, timeout=120,
        env=os.environ | {"MLFLOW_TRACKING_URI": mlflow_server},
    )  # fmt: skip
    assert told.returncode == 0, told.stderr
    estimator = load_registered(mlflow_server, f"{named}-m")
    expected = estimator.estimate(example(), 0.8)
    shown = pd.read_json(io.StringIO(told.stdout.splitlines()[-1]))
    np.testing.assert_allclose(shown["p_correct"], expected["p_correct"])
    client = MlflowClient(mlflow_server)
    version = client.get_model_version_by_alias(f"{named}-m", "champion")
    assert version.source.startswith("mlflow-artifacts:")
    for fact in ("accuracy of **m**", "benchmarks: a v1, b v1, c v1", "judge: rules", "| a | 20 |"):
        assert fact in version.description
