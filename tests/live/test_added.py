"""A model is added by a form, an event, a commit and the schedule: what is missing runs, no more.

One site with its pages, its worker and its automation; the tests follow one another as days do.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest
import yaml
from mlflow import MlflowClient

from tasks.benchmarks.questions import load_questions
from tasks.conf.choices import Changes, request
from tasks.planning.plan import Plan, plan
from tests.live import sums
from tests.live.asking import ask
from tests.live.services import await_true
from tests.live.site import BENCHMARKS, Site

PATH = "conf/experiments/sums.yaml"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    server, grader = sums.adding(), sums.grading(0)
    made = Site(tmp_path_factory.mktemp("site"), server.url)
    made.experiment(20, models=["small"])
    made.write("conf/judges/grader.yaml", sums.judge("grader", grader.url, answers="line"))
    try:
        with made.pages():
            yield made
    finally:
        server.close()
        grader.close()


def planned(site: Site, *models: str) -> Plan:
    """The plan, made here and now from the store."""
    asked = request(site.folder / PATH, Changes(models=models))
    return plan(asked, load_questions(asked.experiment), site.store)


def jobs(*models: str) -> list[str]:
    return [f"{m} / {b}" for m in models for b in BENCHMARKS]


class Watched:
    """What a run did: the jobs that its tasks name, and those that wrote parts."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.parts, self.runs = site.parts(), len(site.runs())

    def ran(self, runs: int = 1) -> list[dict]:
        ended = self.site.finished(self.runs + runs)[self.runs :]
        assert [run["state_type"] for run in ended] == ["COMPLETED"] * runs
        return ended

    def asked(self, run: dict, step: str = "generate") -> list[str]:
        """Jobs of which this step was not taken from the cache."""
        states = self.site.tasks(run)
        return sorted(
            name.removeprefix(f"{step} ")
            for name, state in states.items()
            if name.startswith(f"{step} ") and state == "Completed"
        )

    def stored(self) -> list[str]:
        """Jobs with new parts; parts that were there are as they were."""
        now = self.site.parts()
        assert {p: t for p, t in now.items() if p in self.parts} == self.parts
        added = set(now) - set(self.parts)
        return sorted({" / ".join(p.split("/")[1:3]) for p in added})


def compared(site: Site) -> set[str]:
    """Models in the one sweep that MLflow has."""
    client = MlflowClient(site.mlflow)
    found = client.get_experiment_by_name("sums").experiment_id
    (sweep,) = client.search_runs([found], "tags.`sentinel.kind` = 'sweep'")
    return set(sweep.data.tags["models"].split(", "))


def test_the_first_model_runs_as_planned(site: Site) -> None:
    before, watched = planned(site), Watched(site)
    assert before.jobs == jobs("small")
    site.start("experiment", path=PATH)
    (run,) = watched.ran()
    assert watched.asked(run) == watched.stored() == sorted(before.jobs)
    assert planned(site).steps == ()
    assert compared(site) == {"small"}


REFUSED = [
    ("experiment", {"path": PATH, "models": ["nobody"]}, "nobody"),
    ("experiment", {"path": PATH, "benchmarks": ["nothing"]}, "nothing"),
    ("experiment", {"path": PATH, "limit": 0}, "minimum"),
    ("experiment", {"path": PATH, "sizes": [0]}, "0"),
    ("experiment", {}, "'path' is a required property"),
    ("rejudge", {"path": PATH, "judge": "judy"}, "judy"),
    ("rejudge", {"path": PATH, "estimators": ["constant"]}, "estimators"),
    ("sweep", {"path": PATH, "estimators": ["forrest"]}, "forrest"),
    ("report", {"path": "conf/experiments/none.yaml"}, "none.yaml"),
    ("catch-up", {"paths": [PATH, PATH]}, "non-unique"),
]


def test_bad_values_are_refused_before_a_run_starts(site: Site) -> None:
    watched = Watched(site)
    for deployment, values, told in REFUSED:
        with pytest.raises(urllib.error.HTTPError) as refused:
            site.start(deployment, **values)
        assert refused.value.code in (409, 422), (deployment, values)
        assert told in refused.value.read().decode(), (deployment, values)
    assert len(site.runs()) == watched.runs


def test_by_the_form(site: Site) -> None:
    site.write("conf/experiments/sums.yaml", _listing(site, "small", "other"))
    before, watched = planned(site, "other"), Watched(site)
    assert before.jobs == jobs("other")
    site.start("experiment", path=PATH, models=["other"])
    (run,) = watched.ran()
    assert run["name"] == "experiment sums: other"
    assert watched.asked(run) == watched.stored() == sorted(before.jobs)
    assert compared(site) == {"small", "other"}


def test_by_an_event(site: Site) -> None:
    new = site.write("third.yaml", sums.model("third", site.endpoint))
    path = site.folder / PATH
    path.write_text(f"# kept\n{path.read_text()}")
    watched = Watched(site)
    told = site.sentinel("models", "add", str(new), "--experiment", PATH)
    assert "announced third" in told
    (run,) = watched.ran()
    assert run["name"] == "experiment sums: third"
    assert run["parameters"]["models"] == ["third"]
    assert watched.asked(run) == watched.stored() == sorted(jobs("third"))
    assert compared(site) == {"small", "other", "third"}
    assert "# kept" in (site.folder / PATH).read_text()


def test_by_a_commit_and_by_a_second_event_for_it(site: Site) -> None:
    """The hook of the docs; what a webhook sends at the same moment does nothing twice."""
    repository(site)
    hook = site.folder / ".git/hooks/post-commit"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\nsentinel models announce --since HEAD~1\n")
    hook.chmod(0o755)
    site.write("conf/models/fifth.yaml", sums.model("fifth", site.endpoint))
    site.write("conf/experiments/sums.yaml", _listing(site, "small", "other", "third", "fifth"))
    before, watched = planned(site), Watched(site)
    assert before.jobs == jobs("fifth")
    git(site, "add", "conf")
    told = git(site, "commit", "--message", "A fifth model")
    assert "announced fifth for conf/experiments/sums.yaml" in told
    send(site, event("fifth", PATH))
    first, second = watched.ran(2)
    assert [run["name"] for run in (first, second)] == ["experiment sums: fifth"] * 2
    assert watched.asked(first) == watched.stored() == sorted(before.jobs)
    assert watched.asked(second) == []
    assert planned(site).steps == ()
    assert compared(site) == {"small", "other", "third", "fifth"}
    # A commit that brings no model announces none.
    (site.folder / "README").write_text("words")
    git(site, "add", "README")
    assert "no model is new" in git(site, "commit", "--message", "Words")


def test_an_event_that_cannot_be_followed_is_a_run_that_says_so(site: Site) -> None:
    watched = Watched(site)
    for model, experiment, told in (
        ("nobody", PATH, "model 'nobody' is unknown"),
        ("third", "conf/experiments/none.yaml", "is no experiment of this deployment"),
    ):
        count = len(site.runs())
        send(site, event(model, experiment))
        failed = site.finished(count + 1)[-1]
        assert failed["state_type"] == "FAILED"
        assert told in failed["state"]["message"]
    assert watched.stored() == []


def event(model: str, experiment: str) -> dict:
    """What a webhook or a CI step without this package sends."""
    return {
        "id": str(uuid4()),
        "occurred": datetime.now(UTC).isoformat(),
        "event": "sentinel.model.added",
        "resource": {"prefect.resource.id": f"sentinel.model.{model}"},
        "payload": {"model": model, "experiment": experiment},
    }


def send(site: Site, *events: dict) -> None:
    # An event that arrives twice is known by its id.
    assert ask(f"{site.prefect}/api/events", events, again=True) == b""


def repository(site: Site) -> None:
    """Make the site's conf folder a git repository, as that of a team is."""
    git(site, "init", "--quiet")
    git(site, "add", "conf")
    git(site, "commit", "--quiet", "--message", "What is there")


def git(site: Site, *words: str) -> str:
    """Run git in the site's folder, its hooks with the site's settings; what was printed."""
    who = {f"GIT_{role}_{k}": "a@b.example" for role in ("AUTHOR", "COMMITTER")
           for k in ("NAME", "EMAIL")}  # fmt: skip
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["git", *words], cwd=site.folder, env=site.variables() | who | {"PATH": path},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_nothing_is_doubled_in_mlflow(site: Site) -> None:
    client = MlflowClient(site.mlflow)
    assert {m.name for m in client.search_registered_models()} == {
        f"sums-{m}" for m in ("small", "other", "third", "fifth")
    }
    (before,) = client.search_model_versions("name = 'sums-small'")
    watched = Watched(site)
    site.start("sweep", path=PATH)
    watched.ran()
    (after,) = client.search_model_versions("name = 'sums-small'")
    assert before.version == after.version


def test_by_the_schedule(site: Site) -> None:
    """A model only written into the files, a benchmark's version, a judge; and then nothing."""
    models = ("small", "other", "third", "fifth", "fourth")
    site.write("conf/models/fourth.yaml", sums.model("fourth", site.endpoint))
    changed = _listing(site, *models) | {"judge": "grader"}
    site.write("conf/experiments/sums.yaml", changed)
    easy = sums.benchmarks(20, easy=1)["easy"] | {"version": 2}
    site.write("conf/benchmarks/easy.yaml", easy)
    before, watched = planned(site), Watched(site)
    assert before.jobs == [*(f"{m} / easy" for m in models[:4]), *jobs("fourth")]
    said = site.sentinel("plan", PATH)
    assert said.count("the benchmark's version") == 4
    assert said.count("the judge changed") == 8
    told = site.sentinel("deploy", "--schedule", "at night", status=2)
    assert "'at night' is no cron line" in told
    # The sixth field is seconds.
    site.sentinel("deploy", "--schedule", "* * * * * */10", "--judge-jobs", "3")
    first = fired(site, 1)[0]
    (inner,) = (
        r for r in site.api("/flow_runs/filter", {"sort": "START_TIME_ASC"})
        if r["parent_task_run_id"] and r["name"].startswith("experiment sums")
    )  # fmt: skip
    assert watched.asked(inner) == watched.stored() == sorted(before.jobs)
    assert watched.asked(inner, "judge") == sorted(jobs(*models))
    assert planned(site).steps == ()
    assert "what is missing" in site.artifacts(first)["plan"]["description"].lower()
    again = Watched(site)
    second = fired(site, 2)[1]
    # Lines of a run arrive some seconds after its end.
    await_true(
        lambda: any("nothing is missing" in line for line in site.logs(second)), 120, "a line"
    )
    assert again.stored() == []
    assert again.asked(second) == []
    # Registered again without a word about them, the schedule and the limit stay as they are;
    # automations that say the same are not written again.
    found = "/deployments/name/catch-up/catch-up"
    written = {a["name"]: a["updated"] for a in site.api("/automations/filter", {})}
    site.sentinel("deploy")
    assert {a["name"]: a["updated"] for a in site.api("/automations/filter", {})} == written != {}
    assert [s["schedule"]["cron"] for s in site.api(found)["schedules"]] == ["* * * * * */10"]
    limit = "/v2/concurrency_limits/sentinel-judge-jobs"
    assert site.api(limit)["limit"] == 3
    site.sentinel("deploy", "--schedule", "none")
    assert site.api(found)["schedules"] == []


def fired(site: Site, count: int) -> list[dict]:
    """The first runs of the schedule, ended."""
    deadline = time.monotonic() + 400
    while True:
        started = [r for r in site.runs() if r["auto_scheduled"] and r["start_time"]]
        if len(started) >= count and all(r["end_time"] for r in started[:count]):
            assert {r["state_type"] for r in started[:count]} == {"COMPLETED"}
            return started[:count]
        assert time.monotonic() < deadline, [(r["name"], r["state_name"]) for r in site.runs()]
        time.sleep(0.5)


def _listing(site: Site, *models: str) -> dict:
    return yaml.safe_load((site.folder / PATH).read_text()) | {"models": list(models)}
