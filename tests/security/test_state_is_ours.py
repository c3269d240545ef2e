"""What Prefect would execute is this user's; pages elsewhere and addresses get no password."""

from __future__ import annotations

import json
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows import steps
from tasks.errors import SentinelError
from tasks.host.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    (tmp_path / "state").mkdir()
    return Workspace(str(tmp_path), tmp_path / "state")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_results_lie_where_nobody_else_writes(workspace: Workspace) -> None:
    """Also where an earlier version, or another umask, had left the folder open."""
    (workspace.state / "prefect").mkdir()
    (workspace.state / "prefect").chmod(0o777)
    workspace.prepare_environment()
    assert mode(workspace.state / "prefect") == 0o700
    storage = Path(os.environ["PREFECT_RESULTS_LOCAL_STORAGE_PATH"])
    assert storage.is_relative_to(workspace.state / "prefect")


def test_results_of_another_user_are_not_read(workspace: Workspace, monkeypatch) -> None:
    (workspace.state / "prefect").mkdir()
    monkeypatch.setattr(os, "getuid", lambda: (workspace.state / "prefect").stat().st_uid + 1)
    with pytest.raises(SentinelError, match="belongs to another user"):
        workspace.prepare_environment()


def test_results_are_text_whatever_the_environment_says() -> None:
    """A worker may have been started without our settings."""
    persisted = [steps.generate_responses, steps.judge_responses, steps.profile_responses]
    assert [task.result_serializer for task in persisted] == ["json"] * 3
    others = [steps.sweep_model, steps.transfer_models]
    assert not any(task.persist_result for task in others)


@pytest.fixture
def port() -> Iterator[int]:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield listening.getsockname()[1]


def test_pages_elsewhere_are_not_taken_for_this_hosts(workspace: Workspace, port: int) -> None:
    """A note in a shared folder must not have passwords sent to its writer."""
    for url, believed in (
        (f"http://127.0.0.1:{port}", True),
        (f"http://localhost:{port}", False),
        (f"http://127.0.0.1@localhost:{port}", False),
        (f"http://127.0.0.1.example.org:{port}", False),
    ):
        workspace.pages_file.write_text(json.dumps({"prefect": url}))
        assert (workspace.pages() == {"prefect": url}) is believed, url


def test_addresses_hold_no_passwords(workspace: Workspace) -> None:
    """They are logged and linked to; clients take the password from variables of its own."""
    os.environ["MLFLOW_TRACKING_URI"] = "https://ann:p%40ss%2Fw@mlflow.example.org:5000/base"
    os.environ["PREFECT_API_URL"] = "http://ann:pre%3Afect@[::1]:4200/api"
    workspace.prepare_environment()
    assert os.environ["MLFLOW_TRACKING_URI"] == "https://mlflow.example.org:5000/base"
    assert workspace.mlflow_page == "https://mlflow.example.org:5000/base"
    assert os.environ["MLFLOW_TRACKING_USERNAME"] == "ann"
    assert os.environ["MLFLOW_TRACKING_PASSWORD"] == "p@ss/w"
    assert os.environ["PREFECT_API_URL"] == "http://[::1]:4200/api"
    assert os.environ["PREFECT_API_AUTH_STRING"] == "ann:pre:fect"


def test_addresses_without_passwords_stay_as_they_are(workspace: Workspace) -> None:
    given = {
        "MLFLOW_TRACKING_URI": "postgresql+psycopg2://ann:secret@db/mlflow",  # Not a server's.
        "PREFECT_API_URL": "http://127.0.0.1:4200/api",
    }
    os.environ.update(given)
    workspace.prepare_environment()
    assert {name: os.environ[name] for name in given} == given
    assert "MLFLOW_TRACKING_PASSWORD" not in os.environ


def test_a_root_with_a_password_is_refused(monkeypatch) -> None:
    monkeypatch.setenv("SENTINEL_ROOT", "ftp://ann:the-password@host/root")
    with pytest.raises(SentinelError, match="holds a password") as told:
        Workspace.from_environment()
    assert "the-password" not in str(told.value)
    monkeypatch.setenv("SENTINEL_ROOT", "s3://bucket/a@b:c")
    assert Workspace.from_environment().root == "s3://bucket/a@b:c"


@pytest.mark.parametrize(
    "root",
    [
        "simplecache::ftp://ann:the-password@host/root",
        "filecache::s3://key:the-password@bucket/root",
        "simplecache::zip::ftp://ann:the-password@host/root.zip",
        "ftp://ann:the-/password@host/root",
        "https://store.example.org/root?sig=the-password",
        "s3://bucket/root?secret=the-password",
    ],
)
def test_a_root_with_a_secret_anywhere_is_refused(monkeypatch, root: str) -> None:
    monkeypatch.setenv("SENTINEL_ROOT", root)
    with pytest.raises(SentinelError, match="holds a password") as told:
        Workspace.from_environment()
    assert "the-" not in str(told.value)


@pytest.mark.parametrize(
    "root",
    [
        "s3://bucket/a",
        "ftp://ann@host:21/root",
        "sftp://[::1]:22/root",
        "abfs://container@account.dfs.core.windows.net/root",
        "simplecache::s3://bucket/a",
        "memory://",
    ],
)
def test_a_root_without_a_secret_is_taken(monkeypatch, root: str) -> None:
    monkeypatch.setenv("SENTINEL_ROOT", root)
    assert Workspace.from_environment().root == root


@pytest.mark.parametrize("variable", ["MLFLOW_TRACKING_URI", "MLFLOW_BACKEND_STORE_URI"])
def test_an_address_that_mlflow_does_not_know_is_refused_at_once(
    workspace: Workspace, monkeypatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "postgres://ann:the-password@db/mlflow")
    with pytest.raises(SentinelError, match=f"{variable} begins with postgres://") as told:
        workspace.prepare_environment()
    assert "the-password" not in str(told.value)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "https://mlflow.example.org",
        "sqlite:////tmp/mlflow.db",
        "postgresql+psycopg2://ann:pwd@db/mlflow",
        "mssql+pyodbc://ann:pwd@db/mlflow",
        "databricks",
        "mlruns",
    ],
)
def test_addresses_that_mlflow_knows_are_taken(
    workspace: Workspace, monkeypatch, address: str
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    assert workspace.tracking_uri == (address or f"sqlite:///{workspace.state / 'mlflow.db'}")
