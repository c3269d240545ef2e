"""`sentinel deploy`, `plan` and `models` refuse what they cannot do, and say what would help."""

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_CLIENT_MAX_RETRIES,
    temporary_settings,
)


@pytest.fixture
def conf(tmp_path: Path, monkeypatch) -> Path:
    """A conf folder of one experiment, as the working folder's own."""
    source = {"generator": "chain_sum", "size": 5}
    documents = {
        "models/m": {"name": "m", "engine": "vllm", "model": "org/m"},
        "benchmarks/easy": {"name": "easy", "version": 1, "source": source},
        "benchmarks/hard": {"name": "hard", "version": 1, "source": source | {"seed": 8}},
        "experiments/e": {
            "name": "e", "models": ["m"], "benchmarks": ["easy", "hard"],
            "decoding": {"max_tokens": 64}, "sweep": {"sizes": [1], "estimators": ["constant"]},
        },
    }  # fmt: skip
    for name, document in documents.items():
        path = tmp_path / "conf" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(document))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "conf"


def test_the_plan_says_what_is_missing_and_why(sentinel: Callable, conf: Path) -> None:
    ran = sentinel("plan", "conf/experiments/e.yaml")
    assert ran.status == 0, ran.err
    for words in ("7 steps to run, 0 done already", "m / easy", "no responses yet", "at most"):
        assert words in ran.out
    assert not (conf.parent / "root").exists()


def test_the_plan_of_an_unknown_model(sentinel: Callable, conf: Path) -> None:
    ran = sentinel("plan", "conf/experiments/e.yaml", "--model", "n")
    assert ran.status == 2
    assert "model 'n' is unknown" in ran.err


@pytest.mark.parametrize(
    "words",
    [("deploy",), ("models", "announce", "m")],
    ids=" ".join,
)
def test_without_a_server_nothing_is_registered(
    sentinel: Callable, conf: Path, words: tuple[str, ...]
) -> None:
    ran = sentinel(*words)
    assert ran.status == 3
    assert "no Prefect server is known" in ran.err
    assert "`sentinel ui`" in ran.err


def test_a_server_that_is_not_there(sentinel: Callable, conf: Path) -> None:
    """Addresses at which nothing listens, and one that is none."""
    for url in ("http://127.0.0.1:9/api", "nonsense"):
        with temporary_settings({PREFECT_API_URL: url, PREFECT_CLIENT_MAX_RETRIES: 0}):
            ran = sentinel("deploy")
        assert ran.status == 3
        assert "the Prefect server did not take the deployments" in ran.err
        assert "Traceback" not in ran.err


def test_what_conf_lacks_is_told(sentinel: Callable, conf: Path, monkeypatch) -> None:
    monkeypatch.chdir(conf)
    ran = sentinel("models", "announce", "m")
    assert ran.status == 2
    assert "conf/models/m.yaml does not exist" in ran.err
    ran = sentinel("models", "add", "models/m.yaml", "--experiment", "experiments/e.yaml")
    assert ran.status == 2
    assert "run it where the conf folder is" in ran.err


@pytest.mark.parametrize("port", [-1, 0, 65536])
def test_a_port_that_is_none(sentinel: Callable, conf: Path, port: int) -> None:
    ran = sentinel("ui", "--prefect-port", port)
    assert ran.status == 2
    assert "'--prefect-port'" in ran.err


def test_one_port_for_both_pages(sentinel: Callable, conf: Path) -> None:
    ran = sentinel("ui", "--prefect-port", 4987, "--mlflow-port", 4987)
    assert ran.status == 2
    assert "both servers are to use port 4987" in ran.err


@pytest.mark.parametrize(
    ("option", "other"), [("--prefect-port", "--mlflow-port"), ("--mlflow-port", "--prefect-port")]
)
def test_a_port_that_is_taken(sentinel: Callable, conf: Path, option: str, other: str) -> None:
    with socket.socket() as listens, socket.socket() as kept:
        # Nobody else is given this one meanwhile, and who asks for it as a server does may have it.
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        for one in (listens, kept):
            one.bind(("127.0.0.1", 0))
        listens.listen()
        port = listens.getsockname()[1]
        ran = sentinel("ui", option, port, other, kept.getsockname()[1])
    assert ran.status == 2
    assert f"port {port} on 127.0.0.1 is taken" in ran.err
    assert f"or choose {option}" in ran.err


@pytest.mark.parametrize(
    "words", [("ui",), ("deploy",), ("run", "conf/experiments/e.yaml")], ids=" ".join
)
def test_a_state_folder_that_cannot_be_made(
    sentinel: Callable, conf: Path, monkeypatch, tmp_path: Path, words: tuple[str, ...]
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SENTINEL_STATE", str(tmp_path / "file"))
    ran = sentinel(*words)
    assert ran.status == 2
    assert f"the state folder {tmp_path / 'file'} cannot be used: File exists" in ran.err
    assert "SENTINEL_STATE" in ran.err


def test_a_state_folder_that_cannot_be_written(sentinel: Callable, conf: Path, monkeypatch) -> None:
    # Not by its permissions: these tests may run as root, who may write anywhere.
    monkeypatch.setattr(os, "access", lambda path, _: Path(path).name != "state")
    ran = sentinel("run", "conf/experiments/e.yaml")
    assert ran.status == 2
    assert "cannot be used: Permission denied" in ran.err


@pytest.mark.parametrize(
    ("words", "told"),
    [((), "no model is named"), (("--since", "HEAD"), "not a git repository"),
     (("nobody",), "'nobody' is unknown")],
    ids=str,
)  # fmt: skip
def test_what_cannot_be_announced_is_told(
    sentinel: Callable, conf: Path, words: tuple[str, ...], told: str
) -> None:
    ran = sentinel("models", "announce", *words)
    assert ran.status == 2
    assert told in ran.err


def test_a_bad_model_changes_no_file(sentinel: Callable, conf: Path, tmp_path: Path) -> None:
    before = (conf / "experiments" / "e.yaml").read_text()
    (tmp_path / "n.yaml").write_text("name: n\nengine: abacus\nmodel: x\n")
    ran = sentinel("models", "add", "n.yaml", "--experiment", "conf/experiments/e.yaml")
    assert ran.status == 2
    assert "engine" in ran.err
    assert (conf / "experiments" / "e.yaml").read_text() == before
    assert not (conf / "models" / "n.yaml").exists()


def test_a_model_is_added_without_a_server(sentinel: Callable, conf: Path, tmp_path: Path) -> None:
    (tmp_path / "n.yaml").write_text("name: n\nengine: vllm\nmodel: x\n")
    ran = sentinel(
        "models", "add", "n.yaml", "--experiment", "conf/experiments/e.yaml", "--no-announce"
    )
    assert ran.status == 0, ran.err
    assert "n is in conf/experiments/e.yaml" in ran.out
    planned = sentinel("plan", "conf/experiments/e.yaml", "--model", "n")
    assert "n / easy" in planned.out
    assert "m / easy" not in planned.out


@pytest.mark.parametrize("words", [("deploy",), ("models", "announce", "m")], ids=" ".join)
def test_an_experiment_that_is_not_valid_is_told_and_holds_up_no_other(
    sentinel: Callable, conf: Path, words: tuple[str, ...]
) -> None:
    """Both come as far as to need a server."""
    (conf / "experiments" / "a.yaml").write_text("name: a\nmodels: [m]\n")
    ran = sentinel(*words)
    assert "left out of the forms: conf/experiments/a.yaml: benchmarks: " in ran.err
    assert "no Prefect server is known" in ran.err
    assert ran.status == 3
