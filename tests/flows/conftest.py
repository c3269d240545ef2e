"""The command line, run in this process and watched for side effects."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import ray

from flows import cli

KEPT = b"what an earlier run wrote"


@dataclass(frozen=True)
class Ran:
    status: int
    out: str
    err: str


@pytest.fixture
def sentinel(monkeypatch, capsys) -> Callable[..., Ran]:
    """Run a command in this process, as the console script does."""

    def run(*words: object) -> Ran:
        monkeypatch.setattr(sys, "argv", ["sentinel", *map(str, words)])
        # No message is broken into lines where the length of a temporary path happens to say so.
        monkeypatch.setenv("COLUMNS", "1000")
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capsys.readouterr()
        return Ran(int(ended.value.code or 0), out, err)

    return run


@pytest.fixture
def refused(sentinel, tmp_path: Path, monkeypatch) -> Callable[..., str]:
    """The message of a command that must refuse its input, and must leave files as they were."""

    def no_cluster(*_: object, **__: object) -> None:
        raise AssertionError("Ray was started before the input was checked")

    monkeypatch.setattr(ray, "init", no_cluster)

    def run(*words: object) -> str:
        fresh, kept = tmp_path / "out" / "fresh.parquet", tmp_path / "kept.parquet"
        kept.write_bytes(KEPT)
        ran = sentinel(*words, "-o", fresh)
        again = sentinel(*words, "-o", kept)
        for one in (ran, again):
            assert one.status == 2
            assert "Traceback" not in one.err
            assert one.err.startswith("error: ")
            assert "\n  -> " in one.err
            assert one.out == ""
        assert not fresh.exists()
        assert kept.read_bytes() == KEPT
        assert not list(tmp_path.rglob("*.tmp"))
        return ran.err

    return run


@pytest.fixture(scope="session")
def cluster() -> Iterator[None]:
    """One local Ray for the tests that sweep."""
    ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()
