"""A worker by `sentinel deploy --serve`: the runs it takes, the limits they keep, how it stops.

One site with a judge that counts what is asked of it at once; the tests follow one another.
"""

from __future__ import annotations

import re
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from flows.stopped import MESSAGE
from tasks.judging.asking import PART_ROWS
from tests.chat_server import Server
from tests.live import sums
from tests.live.asking import ask
from tests.live.services import await_true
from tests.live.site import BENCHMARKS, OVER, Site, stop

ITEMS, MODELS = 10, ("small", "other")
PATH = "conf/experiments/sums.yaml"
JOBS = [f"{m} / {b}" for m in MODELS for b in BENCHMARKS]


@pytest.fixture(scope="module")
def grader() -> Iterator[Server]:
    server = sums.grading(0.1)
    yield server
    server.close()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, grader: Server) -> Iterator[Site]:
    server = sums.adding()
    made = Site(tmp_path_factory.mktemp("site"), server.url)
    made.experiment(ITEMS)
    for seed, name in enumerate(("grader", "second")):
        made.write(f"conf/judges/{name}.yaml", sums.judge(name, grader.url, seed=seed))
    try:
        with made.pages(runs_at_once=0):
            yield made
    finally:
        server.close()


def judged(grader: Server, name: str) -> int:
    """How many cases were put to a judge in the format that it takes."""
    asked = [b for b in grader.bodies if b["model"] == name and "response_format" not in b]
    return len(asked)


def completed(site: Site, *runs: dict) -> list[dict]:
    ended = [site.await_state(run, *OVER) for run in runs]
    assert [run["state_type"] for run in ended] == ["COMPLETED"] * len(runs), ended
    return ended


def slots_taken(site: Site, name: str = "sentinel-judge-jobs") -> int:
    return site.api(f"/v2/concurrency_limits/{name}")["active_slots"]


def test_one_slot_for_the_judge_holds_over_two_runs(site: Site, grader: Server) -> None:
    with site.serving("--judge-jobs", "1"):
        completed(site, site.start("experiment", path=PATH, sizes=[1]))
        asked = {"path": PATH, "judge": "grader"}
        runs = completed(site, site.start("rejudge", **asked), site.start("experiment", **asked))
        first, second = sorted(runs, key=lambda run: run["start_time"])
        assert second["start_time"] < first["end_time"]  # They ran side by side,
        assert grader.most_at_once == 1  # took turns,
        assert judged(grader, "grader") == ITEMS * len(JOBS)  # and judged nothing twice.
        assert slots_taken(site) == 0
        assert {run["name"] for run in runs} == {
            "rejudge sums: all models (judge grader)", "experiment sums: all models (judge grader)"
        }  # fmt: skip
        rejudged = min(runs, key=lambda run: not run["name"].startswith("rejudge"))
        assert set(site.tasks(rejudged)) >= {f"judge {job}" for job in JOBS}
        shown = site.artifacts(rejudged)
        assert set(shown) == {"plan", "results", "estimates", "figures", "mlflow", "report"}
        assert "the judge changed" in shown["plan"]["data"]
        # What a helper thread of a step says reaches the page of the run that it works for.
        words = "takes no JSON schema"
        await_true(lambda: any(words in line for r in runs for line in site.logs(r)), 120, words)


def test_a_stopped_worker_ends_its_runs_and_a_new_one_goes_on(site: Site, grader: Server) -> None:
    asked = {"path": PATH, "judge": "second", "models": ["small"]}
    let_go, held, answered = threading.Event(), threading.Event(), grader.rule

    def rule(number: int, body: dict) -> tuple:
        """No answer until two jobs were seen to ask, and after some none until the stop."""
        let_go.wait(600)
        if judged(grader, "second") > 12:
            held.wait(600)
        return answered(number, body)

    grader.rule = rule
    try:
        with site.serving("--judge-jobs", "2") as process:
            run, taken = site.start("rejudge", **asked), []

            def begun() -> bool:
                taken.append(slots_taken(site))
                return judged(grader, "second") >= 8

            await_true(lambda: slots_taken(site) == 2, 300, "two judges at work")
            let_go.set()
            await_true(begun, 300, "the first judgements")
            assert max(taken) <= 2  # Of three jobs.
            stop(process, signal.SIGTERM)
    finally:
        let_go.set()
        held.set()
        grader.rule = answered
    before = judged(grader, "second")
    assert before < ITEMS * len(BENCHMARKS)
    ended = site.await_state(run, *OVER, seconds=120)
    assert (ended["state_type"], ended["state"]["message"]) == ("CRASHED", MESSAGE)
    with site.serving("--judge-jobs", "2") as process:
        completed(site, site.start("rejudge", **asked))
        # Two jobs were interrupted, with at most a part of judgements that was not stored yet each.
        wanted = ITEMS * len(BENCHMARKS)
        assert wanted <= judged(grader, "second") <= wanted + 2 * PART_ROWS
        stop(process, signal.SIGINT)


def test_sweep_and_report_from_their_forms(site: Site) -> None:
    with site.serving() as process:
        swept, reported = completed(
            site,
            site.start("sweep", path=PATH, estimators=["atc-max", "constant"], sizes=[1]),
            site.start("report", path=PATH, estimator="constant"),
        )
        assert swept["name"] == "sweep sums: all models (estimators atc-max, constant; k = 1)"
        assert reported["name"] == "report sums (constant)"
        shown = site.artifacts(swept)
        assert set(shown) == {"plan", "results", "estimates", "figures", "mlflow", "report"}
        assert "atc-max" in shown["results"]["data"]
        assert "data:image/png;base64" in shown["figures"]["data"]
        assert shown["estimates"]["type"] == "table"
        linked = site.artifacts(reported)["report"]["data"]
        assert "constant" in page_behind(site, linked)
        # A worker that ended by itself is told of: nobody would take the runs.
        (worker,) = psutil.Process(process.pid).children()
        worker.kill()
        assert process.wait(timeout=120) == 3
    assert "the Prefect worker ended with status -9" in (site.folder / "serve.txt").read_text()


@pytest.mark.long
def test_a_slot_of_a_killed_job_is_free_again_after_its_lease(tmp_path: Path) -> None:
    """Also when the server that granted it was restarted meanwhile."""
    server, grader = sums.adding(), sums.grading(0.5)
    site = Site(tmp_path, server.url)
    site.experiment(ITEMS, models=["small"])
    site.write("conf/judges/grader.yaml", sums.judge("grader", grader.url, answers="line"))
    asked = {"path": PATH, "judge": "grader"}
    try:
        with site.pages(runs_at_once=0), site.serving("--judge-jobs", "1") as process:
            completed(site, site.start("experiment", path=PATH, sizes=[1]))
            run = site.start("rejudge", **asked)
            await_true(lambda: grader.bodies, 60, "the first question to the judge")
            for below in psutil.Process(process.pid).children(recursive=True):
                if "prefect.engine" in " ".join(below.cmdline()):
                    below.kill()
            site.await_state(run, "CRASHED")
            killed = time.monotonic()
            assert slots_taken(site) == 1
        with site.pages(runs_at_once=0), site.serving("--judge-jobs", "1"):
            asked_before = len(grader.bodies)
            again = site.start("rejudge", **asked)
            await_true(lambda: len(grader.bodies) > asked_before, 150, "a slot")
            assert 20 < time.monotonic() - killed < 120
            completed(site, again)
            assert slots_taken(site) == 0
    finally:
        server.close()
        grader.close()


def page_behind(site: Site, link: str) -> str:
    """The page that a link's address in MLflow shows, as its own page asks for it."""
    address, run, path = re.search(
        r"\(?(http[^#]+)/#/.*runs/(\w+)/artifacts/([\w.]+)", link
    ).groups()
    assert address == site.mlflow
    url = f"{site.mlflow}/get-artifact?path={path}&run_uuid={run}"
    return ask(url).decode()
