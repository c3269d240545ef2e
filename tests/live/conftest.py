"""A laboratory for the long tests: experiments in a folder, run as a user would run them."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pytest
import yaml

from tasks.storage.store import Store

ROOT = Path(__file__).resolve().parents[2]
MODEL = ROOT / ".models" / "SmolLM2-135M-Instruct"

BENCHMARKS = {
    "product": ("products", {"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 1}),
    "sum": ("chain_sum", {"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 1}),
    "letters": ("letter_counting", {"min_words": 2, "max_words": 4}),
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.slow)
            item.add_marker(pytest.mark.timeout(900))


@dataclass
class Lab:
    """One data root with experiments run in it by the command line."""

    folder: Path
    items: int = 24
    environment: dict[str, str] = field(default_factory=dict)
    #: Where ``sentinel`` is started, and words before its command that lead to its machine.
    cwd: Path = ROOT
    on: tuple[str, ...] = ()

    @property
    def store(self) -> Store:
        return Store(str(self.folder / "data"))

    def write(self, **changes: object) -> Path:
        """Write an experiment with models, benchmarks and settings; returns its path."""
        conf = self.folder / "conf"
        models = changes.pop("models", {"small": {}})
        benchmarks = changes.pop("benchmarks", None) or {
            name: {"source": {"generator": g, "size": self.items, "seed": 7, "config": c}}
            for name, (g, c) in BENCHMARKS.items()
        }
        assert isinstance(models, dict)
        assert isinstance(benchmarks, dict)
        for name, more in models.items():
            _dump(conf / "models" / f"{name}.yaml", vllm_model(name) | more)
        for name, more in benchmarks.items():
            _dump(conf / "benchmarks" / f"{name}.yaml", {"name": name, "version": 1} | more)
        document = {
            "name": "lab",
            "models": list(models),
            "benchmarks": list(benchmarks),
            "prompt": "{question}\nAnswer with the final answer only.",
            "decoding": {"temperature": 0, "max_tokens": 48},
            "sweep": {"sizes": [1], "estimators": ["logistic-isotonic", "atc-max", "constant"]},
        }
        document |= changes
        return _dump(conf / "experiments" / f"{document['name']}.yaml", document)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start ``sentinel`` with these arguments; its output goes to a file beside the data."""
        log = (self.folder / "output.txt").open("w")
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT")}
        environment |= {"SENTINEL_ROOT": str(self.folder / "data"), "COLUMNS": "200"}
        return subprocess.Popen(
            [*self.on, str(Path(sys.executable).parent / "sentinel"), *arguments],
            stdout=log,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment | self.environment,
            cwd=self.cwd,
        )

    def run(self, *arguments: str) -> str:
        """Run ``sentinel`` to its end and return what it printed; fails if it fails."""
        status = self.start(*arguments).wait(timeout=800)
        assert status == 0, self.output[-6000:]
        return self.output

    @property
    def output(self) -> str:
        return (self.folder / "output.txt").read_text()

    def responses(self, model: str = "small") -> pa.Table:
        """All stored responses of a model, sorted by key."""
        folders = sorted((self.folder / "data" / "responses" / model).glob("*/*"))
        tables = []
        for folder in folders:
            address = folder.relative_to(self.folder / "data").as_posix()
            tables.append(self.store.artefact(address).read())
        return pa.concat_tables(t for t in tables if t is not None)

    def parts(self, model: str = "small") -> dict[str, int]:
        """Stored parts of a model's responses and when each was written (nanoseconds)."""
        found = (self.folder / "data" / "responses" / model).rglob("part-*.parquet")
        return {p.relative_to(self.folder).as_posix(): p.stat().st_mtime_ns for p in found}

    def generated(self) -> list[str]:
        """Names of the jobs whose generation ran (and was not taken from the cache)."""
        return sorted(
            set(re.findall(r"'generate (\S+ / \S+)' - Finished in state Completed", self.output))
        )


def vllm_model(name: str) -> dict[str, object]:
    return {
        "name": name,
        "engine": "vllm",
        "model": str(MODEL),
        "options": {"dtype": "bfloat16", "max_model_len": 1024, "enforce_eager": True},
        "resources": {"cpus": 1, "gpus": 0},
    }


def _dump(path: Path, document: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return path


@pytest.fixture(scope="session")
def model_folder() -> Path:
    if not (MODEL / "config.json").exists():
        pytest.skip("the embedded model is not there: run `make setup`")
    return MODEL


@pytest.fixture
def lab(tmp_path: Path, model_folder: Path) -> Lab:
    return Lab(tmp_path)


@pytest.fixture(scope="module")
def shared_lab(tmp_path_factory: pytest.TempPathFactory, model_folder: Path) -> Lab:
    """A laboratory that the tests of a module use one after the other."""
    return Lab(tmp_path_factory.mktemp("lab"))


@pytest.fixture
def wait_until() -> Callable[[Callable[[], object], float], None]:
    def wait(condition: Callable[[], object], seconds: float = 300) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, "waited in vain"
            time.sleep(0.1)

    return wait


@pytest.fixture(scope="session")
def vllm_server(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a real OpenAI-compatible server with the embedded model."""
    import urllib.request

    from tests.live.services import end, free_port

    port = free_port()
    log = (tmp_path_factory.mktemp("server") / "log.txt").open("w")
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server"]
    command += ["--model", str(model_folder), "--served-model-name", "small"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--api-key", "a-test-key"]
    command += ["--max-model-len", "1024", "--enforce-eager", "--logprobs-mode", "raw_logprobs"]
    process = subprocess.Popen(
        command,
        stdout=log,
        stderr=subprocess.STDOUT,
        env=os.environ | {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1"},
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 600
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2)
                break
            except OSError:
                assert process.poll() is None, Path(log.name).read_text()[-3000:]
                assert time.monotonic() < deadline, "the server did not start"
                time.sleep(1)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        end(process)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
