"""Sweeps in MLflow: names and tags to compare by, and re-running that updates and never doubles."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from tasks.conf import Experiment
from tasks.errors import SentinelError
from tasks.tracking.track import Tracker
from tests.tasks import tracked
from tests.tasks.tracked import NAMES, active, joined, points, splits, unnumbered, whole

pytestmark = pytest.mark.slow  # MLflow makes its database, which takes seconds.


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'mlflow.db'}"


@pytest.fixture
def client(database: str) -> MlflowClient:
    return MlflowClient(database)


@pytest.fixture
def named(request: pytest.FixtureRequest) -> str:
    """An experiment of the test's own."""
    return request.node.name


@pytest.fixture
def base(named: str, make_experiment) -> Experiment:
    return make_experiment(name=named, benchmarks=tracked.benchmarks(), sweep={"sizes": (1, 2)})


@pytest.fixture
def log(base: Experiment, database: str, named: str, tmp_path: Path) -> tracked.Log:
    return functools.partial(tracked.log, base, database, tmp_path, experiment=named)


def test_a_sweep_has_the_names_that_people_search_by(log, client, named) -> None:
    log(joined("m"))
    (parent,) = active(client, "sweep", named).values()
    assert parent.data.params == {
        "k": "1, 2", "estimators": "atc-max, constant", "path": "fast", "seed": "42",
        "label": "as in the file",
    }  # fmt: skip
    for tag, value in {
        "models": "m", "estimator": "atc-max", "features": "max", "judge": "rules",
        "benchmarks": "a v1, b v1, c v1",
    }.items():  # fmt: skip
        assert parent.data.tags[tag] == value
    assert not {"missing", "shared"} & set(parent.data.tags)
    children = active(client, "estimator", named)
    assert set(children) == {"m atc-max", "m constant"}
    assert {run.data.tags["k"] for run in children.values()} == {"1, 2"}
    child = children["m atc-max"]
    assert child.data.tags["data"] == parent.data.tags["data"]
    assert child.data.tags["code"].startswith("0.1.0 (generate ")
    assert child.data.tags["composition.extremes"].count(" + ") == 1
    whole(client, {"m": joined("m")}, named)


def test_running_again_doubles_nothing_and_a_new_model_joins(log, client, named) -> None:
    first = log(joined("m"))
    before = {name: run.info.run_id for name, run in active(client, "estimator", named).items()}
    assert log(joined("m")) == first
    log(joined("m"), joined("n", seed=1))
    after = {name: run.info.run_id for name, run in active(client, "estimator", named).items()}
    assert set(after) - set(before) == {"n atc-max", "n constant"}
    assert {name: after[name] for name in before} == before
    whole(client, {"m": joined("m"), "n": joined("n", seed=1)}, named)
    (parent,) = active(client, "sweep", named).values()
    trainings = active(client, "training", named)
    assert set(trainings) == {"estimator of m", "estimator of n"}
    for run in trainings.values():
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
    for model in "mn":
        assert len(client.search_model_versions(f"name = '{named}-{model}'")) == 1


def test_a_changed_sweep_shows_its_present_values_only(log, client, named) -> None:
    """MLflow keeps every point that a metric ever had; the chart by k would show them all."""
    log(joined("m"))
    log(joined("m", seed=5))
    whole(client, {"m": joined("m", seed=5)}, named)
    log(joined("m"))  # And back, as when a judge is changed and changed again.
    whole(client, {"m": joined("m")}, named)
    assert len(active(client, "sweep", named)) == 1


def test_another_version_of_a_benchmark_replaces_the_sweep(
    base, database, client, named, tmp_path
) -> None:
    tracked.log(base, database, tmp_path, joined("m"), experiment=named)
    raised = dataclasses.replace(base.benchmarks[2], version=2)
    changed = dataclasses.replace(base, benchmarks=(*base.benchmarks[:2], raised))
    tracked.log(changed, database, tmp_path, joined("m", seed=5), experiment=named)
    whole(client, {"m": joined("m", seed=5)}, named)
    (parent,) = active(client, "sweep", named).values()
    assert parent.data.tags["benchmarks"] == "a v1, b v1, c v2"


def test_a_model_that_leaves_takes_its_runs_along(log, client, named) -> None:
    log(joined("m"), joined("n", seed=1))
    log(joined("n", seed=1))
    whole(client, {"n": joined("n", seed=1)}, named)
    assert {name.split()[0] for name in active(client, "estimator", named)} == {"n"}


def test_a_size_that_is_dropped_leaves_no_point(log, client, named) -> None:
    """With its settings unchanged: a sweep whose rows of one k are gone."""
    from tasks.tracking.runs import Runs, Wanted, experiment_id

    runs = Runs(client, experiment_id(client, named, None))
    wanted = [
        Wanted({"kind": "sweep"}, "s x", metrics=[("aee", 0.1 * k, k) for k in sizes])
        for sizes in ((1, 2, 3), (1, 2))
    ]
    for one in wanted:
        run = runs.settle({"sweep": "x"}, one, [])
    assert points(client, run) == [(1, 0.1), (2, 0.2)]
    assert [r.info.run_id for r in active(client, "sweep", named).values()] == [run.info.run_id]


def test_other_settings_stand_beside_and_register_nothing(log, client, named) -> None:
    log(joined("m"))
    log(joined("m", seed=3), label="limit 5")
    log(joined("m"), seed=7)
    log(joined("m"), names=NAMES[:1])
    found = client.get_experiment_by_name(named).experiment_id
    sweeps = client.search_runs([found], "tags.`sentinel.kind` = 'sweep'")
    # All are told apart by their names; what differs in more than sizes or seed, in words.
    assert len({run.info.run_name for run in sweeps}) == 4
    assert sorted(map(unnumbered, sweeps)) == [
        f"{named} sweep: atc-max",
        *[f"{named} sweep: atc-max + 1"] * 2,
        f"{named} sweep: atc-max + 1 (limit 5)",
    ]
    # So are the runs of one estimator, and the number in the name finds those of one sweep.
    children = client.search_runs([found], "tags.`sentinel.kind` = 'estimator'")
    assert len({run.info.run_name for run in children}) == len(children) == 7
    number = sweeps[0].info.run_name.removeprefix(f"{named} sweep ")[:4]
    query = f"tags.`sentinel.sweep` LIKE '{number}%' and tags.`sentinel.kind` = 'estimator'"
    below = client.search_runs([found], query)
    assert {run.data.tags["mlflow.parentRunId"] for run in below} == {sweeps[0].info.run_id}
    query = "tags.`sentinel.kind` = 'sweep' and tags.label = 'limit 5' and tags.k = '1, 2'"
    (labelled,) = client.search_runs([found], query)
    assert labelled.data.params["label"] == "limit 5"
    assert len(client.search_model_versions(f"name = '{named}-m'")) == 1


def test_what_people_add_to_a_run_stays(log, client, named) -> None:
    first = log(joined("m"))
    client.set_tag(first.run_id, "reviewed", "by Ann")
    client.set_tag(first.run_id, "models", "written over")
    log(joined("m"), joined("n", seed=1))
    (parent,) = active(client, "sweep", named).values()
    assert parent.info.run_id != first.run_id
    assert parent.data.tags["reviewed"] == "by Ann"
    assert parent.data.tags["models"] == "m, n"
    assert client.get_run(first.run_id).info.lifecycle_stage == "deleted"  # It can be restored.


def test_models_that_lack_benchmarks_are_compared_over_those_all_have(log, client, named) -> None:
    full, part = joined("m"), joined("n", seed=1, benchmarks=("a", "c"))
    log(full, sizes=(1,))
    alone = active(client, "estimator", named)["m atc-max"]
    log(full, part, sizes=(1,))
    children = active(client, "estimator", named)
    # A model's own scores do not depend on what another model lacks.
    assert points(client, children["m atc-max"]) == points(client, alone)
    shared = {
        name: points(client, run, "aee.shared")
        for name, run in children.items()
        if name.endswith("atc-max")
    }
    table = splits(full, (1,)).to_pandas()
    table = table[table["estimator"] == "atc-max"]
    table = table.set_index(table["composition"].str.join("+"))
    # Trained on `a` the shared unseen benchmark is `c`, and the other way round.
    errors = [
        abs(dict(zip(row["benchmarks"], row["estimate"], strict=True))[unseen]
            - dict(zip(row["benchmarks"], row["truth"], strict=True))[unseen])
        for row, unseen in ((table.loc["a"], "c"), (table.loc["c"], "a"))
    ]  # fmt: skip
    assert shared["m atc-max"] == [(1, pytest.approx(sum(errors) / 2))]
    # The other model has nothing but these two.
    assert shared["n atc-max"] == points(client, children["n atc-max"])
    (parent,) = active(client, "sweep", named).values()
    middle = (shared["m atc-max"][0][1] + shared["n atc-max"][0][1]) / 2
    assert points(client, parent) == [(1, pytest.approx(middle))]
    assert "auroc" not in parent.data.metrics
    assert (parent.data.tags["missing"], parent.data.tags["shared"]) == ("n: b", "a, c")
    assert parent.data.tags["benchmarks"] == "a v1, b v1, c v1"
    assert children["n atc-max"].data.tags["benchmarks"] == "a v1, c v1"
    assert children["n atc-max"].data.tags["missing"] == "n: b"
    assert "missing" not in children["m atc-max"].data.tags
    (version,) = client.search_model_versions(f"name = '{named}-n'")
    assert "benchmarks: a v1, c v1\n" in version.description


def test_a_report_by_itself_has_a_run_that_is_replaced(database, client, named, tmp_path) -> None:
    page = tmp_path / "page.html"
    tracker = Tracker(named, database, (tmp_path / "mlflow").as_uri(), "http://pages")
    urls = []
    for text, estimator in (("one", None), ("one", None), ("two", None), ("two", "constant")):
        page.write_text(text)
        urls.append(tracker.log_report(named, estimator, page).report)
    # Unchanged, it is the same run; changed, another in its place.
    assert urls[0] == urls[1] != urls[2]
    found = active(client, "report", named)
    assert set(found) == {f"{named} report", f"{named} report (constant)"}
    (run,) = (r for name, r in found.items() if not name.endswith(")"))
    assert urls[2] == (
        f"http://pages/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}"
        "/artifacts/report.html?workflowType=machine_learning"
    )
    kept = client.download_artifacts(run.info.run_id, "report.html", str(tmp_path))
    assert Path(kept).read_text() == "two"


def test_variants_are_replaced_like_sweeps(client, database, named, tmp_path) -> None:
    tracker = Tracker(named, database, tmp_path.as_uri(), "http://page")
    for shift in (0.1, 0.2):
        rows = pd.DataFrame({"variant": ["cold", "warm"], "Mean Entropy": [shift, 2 * shift]})
        tracked_run = tracker.log_variants("s", rows, {"overview.csv": b"x"}, "text")
    (parent,) = active(client, "sensitivity", named).values()
    assert parent.info.run_id == tracked_run.run_id
    shown = {name: points(client, run, "mean_entropy")
             for name, run in active(client, "variant", named).items()}  # fmt: skip
    assert shown == {"cold": [(0, 0.2)], "warm": [(0, 0.4)]}
    assert client.list_artifacts(parent.info.run_id)[0].path == "overview.csv"


def test_an_experiment_in_the_trash_is_told(client, database, named, tmp_path) -> None:
    client.delete_experiment(client.create_experiment(named, tmp_path.as_uri()))
    with pytest.raises(SentinelError, match=r"in its trash\n  -> restore it with `mlflow exp"):
        Tracker(named, database, tmp_path.as_uri(), "http://page")


def test_a_server_that_went_away_is_told(log, monkeypatch) -> None:
    def gone(*_: object, **__: object) -> None:
        raise MlflowException("API request failed: Connection refused")

    monkeypatch.setattr(MlflowClient, "create_run", gone)
    with pytest.raises(SentinelError, match=r"MLflow at sqlite.* cannot be used: API .*\n  -> st"):
        log(joined("m"))
