"""A run that the server started reads experiments of its conf folder, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.again import rejudge, report, sweep
from flows.catch_up import catch_up
from flows.experiment import experiment
from flows.offered import offered
from tasks.errors import SentinelError

DEPLOYED = [experiment, rejudge, sweep, report, catch_up]
ID = "5f1c2d3e-98c5-4c0f-9d5c-0c4b7c1f0a11"
STRANGE = [
    "/etc/passwd", "conf/experiments/../../private.yaml", "conf/models/m.yaml",
    "private.yaml", "conf/experiments/none.yaml", "./conf/experiments/../x.yaml",
]  # fmt: skip


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with one experiment, and a file that is none."""
    (tmp_path / "conf" / "experiments").mkdir(parents=True)
    (tmp_path / "conf" / "experiments" / "x.yaml").write_text("name: x\n")
    (tmp_path / "private.yaml").write_text("a line of a private file: [\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def deployed(site: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """As within a run that a deployment started."""
    monkeypatch.setenv("PREFECT__RUNTIME__DEPLOYMENT__ID", ID)
    return site


@pytest.mark.parametrize("path", STRANGE)
def test_a_deployment_reads_no_other_file(deployed: Path, path: str) -> None:
    with pytest.raises(SentinelError, match=r"is no experiment of this deployment"):
        offered(path)


@pytest.mark.parametrize("path", ["conf/experiments/x.yaml", "./conf/experiments/x.yaml"])
def test_a_deployment_reads_its_experiments(deployed: Path, path: str) -> None:
    assert offered(path) == path


@pytest.mark.parametrize("path", ["", " "])
def test_an_event_without_an_experiment_is_told_what_it_lacks(deployed: Path, path: str) -> None:
    with pytest.raises(
        SentinelError, match=r"no experiment is named\s.*`experiment` of the payload"
    ):
        offered(path)


@pytest.mark.parametrize("path", STRANGE)
def test_a_person_names_any_file(site: Path, path: str) -> None:
    assert offered(path) == path


@pytest.mark.parametrize(
    "flow", [experiment, rejudge, sweep, report, catch_up], ids=lambda f: f.name
)
def test_every_deployed_flow_asks(deployed: Path, flow) -> None:
    """Their bodies alone; none comes as far as to need a server."""
    given = ("private.yaml",)
    with pytest.raises(SentinelError, match="is no experiment of this deployment") as told:
        flow.fn(given if flow is catch_up else given[0])
    assert "a line of a private file" not in str(told.value)
