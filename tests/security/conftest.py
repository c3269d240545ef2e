"""A data root that a whole experiment has filled, and a search through every byte of it."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.chat_server import Server, answer
from tests.live.conftest import Lab

#: Stands in every question and in every answer of the marked experiment.
QUESTION, REPLY = "zebrafinch-question", "marmalade-reply"


class Root:
    """Everything an experiment leaves behind: its data root, what it printed, and Ray's files."""

    def __init__(self, lab: Lab, ray_folder: Path) -> None:
        self.lab, self.ray_folder = lab, ray_folder

    def places(self, text: str) -> list[str]:
        """Files that hold the text: as bytes, or within a Parquet file's compressed columns."""
        found = []
        files = [self.lab.folder / "output.txt"]
        for folder in (self.lab.folder / "data", self.ray_folder):
            files += [p for p in folder.rglob("*") if p.is_file()]
        for path in files:
            if text.encode() in path.read_bytes() or (
                path.suffix == ".parquet" and text in str(_texts(pq.read_table(path)))
            ):
                found.append(str(path))
        return found


def _texts(table: pa.Table) -> list[object]:
    kept = [f.name for f in table.schema if "string" in str(f.type)]
    return [table.schema.metadata, table.select(kept).to_pylist()]


class Quoting:
    """Servers that quote what they are asked, when they answer, refuse or fail.

    The model ``m`` is refused its first question and fails at the next once; ``fails`` fails
    always. The judge gives reasons full of quotes, and refuses one case.
    """

    def __init__(self) -> None:
        self.failed = False

    def __call__(self, number: int, body: dict) -> tuple:
        asked = body["messages"][-1]["content"]
        problem = {"error": {"message": f"cannot answer: {asked} with {REPLY}"}}
        match body["model"]:
            case "fails":
                return 500, {}, problem
            case "judge" if " 5?" in asked:
                return 400, {}, problem
            case "judge":
                reason = {"extracted": asked[:200], "reason": asked, "verdict": "correct"}
                return 200, {}, answer(text=json.dumps(reason))
        if " 3?" in asked:
            return 400, {}, problem
        if " 4?" in asked and not self.failed:
            self.failed = True
            return 500, {}, problem
        return 200, {}, answer(text=f"{REPLY} to {asked}: {number % 3}")


@pytest.fixture
def server() -> Iterator[Server]:
    started = Server()

    started.rule = Quoting()
    yield started
    started.close()


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Root]:
    # Sockets live in Ray's folder and their paths may have 107 characters at most.
    ray_folder = Path(tempfile.mkdtemp(prefix="ray-"))
    lab = Lab(tmp_path)
    lab.environment = {"SENTINEL_TEST_KEY": "sk-endpoint", "RAY_TMPDIR": str(ray_folder)}
    yield Root(lab, ray_folder)
    shutil.rmtree(ray_folder, ignore_errors=True)


@pytest.fixture
def marked(root: Root, server: Server, tmp_path: Path):
    """Writes an experiment on an endpoint whose questions and answers carry marks."""

    def write(**changes: object) -> Path:
        benchmarks = {}
        for name in ("one", "two"):
            path = tmp_path / f"{name}.parquet"
            rows = [
                {"item_id": str(i), "question": f"{QUESTION} {name} {i}?", "answer": str(i % 3)}
                for i in range(15)
            ]
            pq.write_table(pa.Table.from_pylist(rows), path)
            fields = {"item_id": "item_id"}
            benchmarks[name] = {"source": {"path": str(path)}, "fields": fields}
        endpoint = {"base_url": server.url, "api_key_env": "SENTINEL_TEST_KEY", "max_retries": 1}
        named = {"small": "m", "failing": "fails"}
        models = {
            name: {"engine": "openai", "model": model, "options": {}, "endpoint": endpoint}
            for name, model in named.items()
        }
        judge = {"kind": "llm", "model": "judge", "answers": "schema", "endpoint": endpoint}
        chain = {"kind": "chain", "llm": judge, "sample": 1}
        return root.lab.write(
            models=models,
            benchmarks=benchmarks,
            decoding={"top_k": 2, "max_tokens": 8},
            judge=chain,
            **changes,
        )

    return write
