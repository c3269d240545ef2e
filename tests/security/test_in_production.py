"""Runs as in production, and then every secret is searched for in all that they left behind.

The pages and a worker of `sentinel ui`, both with passwords and on PostgreSQL; an object store;
Ray with a token; endpoints that quote the key they were given when they fail. The judge's key comes
from a Prefect block, all other secrets from the environment.
"""

from __future__ import annotations

import base64
import contextlib
import json
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import psutil
import pytest
import yaml

from tests.chat_server import Server, answer
from tests.live.asking import ask_json
from tests.live.services import BIN, QUIET, clean_environment, free_port, object_store, postgres
from tests.live.services import running as serving
from tests.security.spellings import found_in

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

REPLY = "marmalade-reply"
SECRETS = {
    "endpoint key": "sk/endpoint+4f1c09d2a7==",
    "judge key": "sk-judge/77b0e3c51f+",
    "hub token": "hf_hub_51d0c6e29b",
    "Ray token": "c82d90417be35a6f00d1c82d90417be3",
    "database password": "postgres-9e07ab4c21d5",
    "object store's key": "aws-store/0a96bd7713+",
    "Prefect password": "prefect-61fc03b97d",
    "key of Prefect's blocks": "c2VudGluZWwtc2VudGluZWwtc2VudGluZWwtMDEyMzQ=",
    "MLflow password": "mlflow-e4a25f8c06",
    "MLflow cookie key": "cookie-7d5b1e90a2",
}
USERS = {"prefect": f"somebody:{SECRETS['Prefect password']}",
         "mlflow": f"somebody:{SECRETS['MLflow password']}"}  # fmt: skip
PATH = "conf/experiments/marked.yaml"

# What a person does in the pages: a Secret block, and its name in the pool's environment.
BLOCK = """
import os
import time
from prefect.blocks.system import Secret
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolUpdate

Secret(value=os.environ["VALUE"]).save("judge-key")
with get_client(sync_client=True) as client:
    # The worker writes the template when it first looks at the pool.
    while not (template := client.read_work_pool("sentinel").base_job_template):
        time.sleep(0.5)
    named = {"JUDGE_KEY": "{{ prefect.blocks.secret.judge-key }}"}
    template["variables"]["properties"]["env"]["default"] = named
    client.update_work_pool("sentinel", WorkPoolUpdate(base_job_template=template))
"""


class House:
    """A folder with conf, state and logs, the addresses of its pages, and what was seen of it."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder, self.environment = folder, environment
        self.ports = {"prefect": free_port(), "mlflow": free_port()}
        self.commands: set[str] = set()

    def write(self, path: str, document: object) -> None:
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(yaml.safe_dump(document, sort_keys=False))

    def start(self, *words: str, **more: str) -> subprocess.Popen[bytes]:
        """Start a command in the folder; what it prints is kept there too."""
        log = (self.folder / "printed" / f"{words[0]}-{time.monotonic_ns()}.txt").open("wb")
        command = [str(BIN / "sentinel"), *words]
        return subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, cwd=self.folder,
            env=self.environment | more,
        )  # fmt: skip

    def sentinel(self, *words: str, status: int = 0) -> None:
        assert self.start(*words).wait(timeout=300) == status, self.printed(words[0])

    def printed(self, command: str) -> str:
        files = sorted((self.folder / "printed").glob(f"{command}-*"))
        return "\n".join(f.read_text(errors="replace") for f in files)

    def ask(self, page: str, path: str, user: str | None, body: object = None) -> Any:
        """Answer of a page to a user; of none, nothing proves who asks."""
        url = f"http://127.0.0.1:{self.ports[page]}{path}"
        proof = f"Basic {base64.b64encode(user.encode()).decode()}" if user is not None else None
        return ask_json(url, body, headers={"Authorization": proof} if proof else None)

    def watch(self, ended: threading.Event) -> None:
        """Note the command lines of everything that runs below this process."""
        while not ended.wait(0.5):
            for process in psutil.Process().children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    self.commands.add("\0".join(process.cmdline()))

    @contextlib.contextmanager
    def pages(self) -> Iterator[None]:
        words = [w for p in ("prefect", "mlflow") for w in (f"--{p}-port", str(self.ports[p]))]
        ui = self.start("ui", *words)
        try:
            deadline = time.monotonic() + 240
            while "Ctrl-C" not in self.printed("ui"):
                assert ui.poll() is None, self.printed("ui")
                assert time.monotonic() < deadline, self.printed("ui")
                time.sleep(0.3)
            yield
        finally:
            children = psutil.Process(ui.pid).children(recursive=True)
            ui.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                ui.wait(timeout=30)
            for child in children:
                with contextlib.suppress(psutil.NoSuchProcess):
                    child.kill()


def misbehaving(server: Server) -> None:
    """Answers of models, of a judge, and of servers that fail and quote the key they were given."""
    key, judges = SECRETS["endpoint key"], SECRETS["judge key"]

    def rule(number: int, body: dict) -> tuple:
        asked = body["messages"][-1]["content"]
        match body["model"]:
            case "judge" if "one 3?" in asked:
                return 400, {}, {"error": {"message": f"no more for {judges}"}}
            case "judge":
                return 200, {}, answer(text=f'{{"success": {number % 2 == 0}}}')
            case "refuses":
                return 400, {}, {"error": {"message": f"bad request of {key}: {asked}"}}
            case "fails":
                return 500, {}, {"error": {"message": f"Authorization: Bearer {key}"}}
            case "denies":
                return 401, {}, {"error": {"message": f"Incorrect API key provided: {key}"}}
            case "babbles":
                return 200, {}, f"<html>{key}</html>".encode()
        return 200, {}, answer(text=f"{REPLY}: {number % 3}")

    server.rule = rule


def write_conf(house: House, url: str) -> None:
    def endpoint(key: str) -> dict:
        return {"base_url": url, "api_key_env": key, "max_retries": 0}

    for name in ("good", "refuses", "fails", "denies", "babbles"):
        model = {"name": name, "engine": "openai", "model": name}
        house.write(f"conf/models/{name}.yaml", model | {"endpoint": endpoint("ENDPOINT_KEY")})
    for name in ("one", "two"):
        rows = [{"id": f"{i}", "question": f"{name} {i}?", "answer": f"{i % 3}"} for i in range(12)]
        file = house.folder / f"{name}.jsonl"
        file.write_text("\n".join(map(json.dumps, rows)))
        source = {"source": {"path": str(file)}, "fields": {"item_id": "id"}}
        house.write(f"conf/benchmarks/{name}.yaml", {"name": name, "version": 1} | source)
    judge = {"kind": "llm", "model": "judge", "endpoint": endpoint("JUDGE_KEY"), "answers": "line"}
    marked = {
        "name": "marked",
        "models": ["good"],
        "benchmarks": ["one", "two"],
        "decoding": {"top_k": 2, "max_tokens": 8},
        "judge": judge,
        "sweep": {"sizes": [1], "estimators": ["atc-max", "constant"]},
    }
    house.write(PATH, marked)
    house.write(
        "conf/experiments/failing.yaml",
        marked | {"name": "failing", "models": ["refuses", "fails", "denies", "babbles"],
                  "models_at_once": 4},
    )  # fmt: skip


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    pytest.importorskip("flask_wtf", reason="MLflow's passwords need Flask-WTF: see infra/locks")
    ray_folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")
    (tmp_path / "printed").mkdir()
    auth = tmp_path / "auth.ini"
    auth.write_text(
        f"[mlflow]\ndefault_permission = READ\nadmin_username = somebody\n"
        f"database_uri = sqlite:///{tmp_path}/users.db\n"
    )
    server = Server()
    misbehaving(server)
    store, clients = object_store(tmp_path)
    clients["AWS_SECRET_ACCESS_KEY"] = SECRETS["object store's key"]
    with postgres() as database, serving(store):

        def url(driver: str, name: str) -> str:
            plain = database.url(driver, name)
            return plain.replace("//sentinel@", f"//sentinel:{SECRETS['database password']}@")

        s3 = boto3.client("s3", **_boto(clients))
        s3.create_bucket(Bucket="house")
        made = House(
            tmp_path,
            clean_environment()
            | QUIET
            | clients
            | {
                "SENTINEL_ROOT": "s3://house/root",
                "SENTINEL_STATE": str(tmp_path / "state"),
                "COLUMNS": "200",
                "ENDPOINT_KEY": SECRETS["endpoint key"],
                "HF_TOKEN": SECRETS["hub token"],
                "RAY_AUTH_MODE": "token",
                "RAY_AUTH_TOKEN": SECRETS["Ray token"],
                "RAY_TMPDIR": ray_folder,
                "PREFECT_API_DATABASE_CONNECTION_URL": url("asyncpg", "prefect"),
                "PREFECT_SERVER_API_AUTH_STRING": USERS["prefect"],
                "PREFECT_SERVER_ENCRYPTION_KEY": SECRETS["key of Prefect's blocks"],
                "MLFLOW_BACKEND_STORE_URI": url("psycopg2", "mlflow"),
                "MLFLOW_AUTH_CONFIG_PATH": str(auth),
                "MLFLOW_AUTH_ADMIN_PASSWORD": SECRETS["MLflow password"],
                "MLFLOW_FLASK_SERVER_SECRET_KEY": SECRETS["MLflow cookie key"],
                "MLFLOW_TRACKING_USERNAME": "somebody",
                "MLFLOW_TRACKING_PASSWORD": SECRETS["MLflow password"],
            },
        )
        write_conf(made, server.url)
        ended = threading.Event()
        watching = threading.Thread(target=made.watch, args=(ended,))
        watching.start()
        try:
            with made.pages():
                yield made
        finally:
            ended.set()
            watching.join()
            server.close()
        # What the databases, the object store and Ray hold is searched as files are.
        _collect(made.folder, database, s3, ray_folder)
        looked_through(made)
    shutil.rmtree(ray_folder, ignore_errors=True)


def _boto(clients: dict[str, str]) -> dict[str, str]:
    return {
        "endpoint_url": clients["AWS_ENDPOINT_URL"],
        "aws_access_key_id": clients["AWS_ACCESS_KEY_ID"],
        "aws_secret_access_key": clients["AWS_SECRET_ACCESS_KEY"],
        "region_name": clients["AWS_DEFAULT_REGION"],
    }


def _collect(folder: Path, database: Any, s3: Any, ray_folder: str) -> None:
    for name in ("prefect", "mlflow"):
        host = ["-h", "127.0.0.1", "-p", str(database.port), "-U", "sentinel"]
        command = [database.programs / "pg_dump", *host, "--inserts", name]
        dump = subprocess.run(command, capture_output=True, check=True).stdout
        (folder / f"{name}.sql").write_bytes(dump)
    shutil.copy(database.folder / "log", folder / "postgres.log")
    for found in s3.list_objects_v2(Bucket="house")["Contents"]:
        file = folder / "bucket" / found["Key"]
        file.parent.mkdir(parents=True, exist_ok=True)
        s3.download_file("house", found["Key"], str(file))
    logs = shutil.ignore_patterns("sockets", "*.sock")
    shutil.copytree(ray_folder, folder / "ray", symlinks=True, ignore=logs)


def looked_through(house: House) -> None:
    """No secret is anywhere; what is no secret is found where it must be."""
    assert found_in(house.folder, SECRETS) == {}
    assert found_in(house.folder, USERS) == {}
    shown = {"mark": REPLY, "flow": "experiment marked: good"}
    there = found_in(house.folder, shown)
    assert any(name.startswith("bucket/root/responses/") for name in there["mark"])
    assert "prefect.sql" in there["flow"]
    sql = (house.folder / "mlflow.sql").read_text()
    assert "good" in sql
    # A pickled result would run whatever its writer put there; a failure is kept as a message.
    storage = house.folder / "state" / "prefect" / "storage"
    records = [json.loads(r.read_bytes()) for r in storage.iterdir()]
    kept = [r for r in records if "__exc_type__" not in r]
    assert {r["metadata"]["serializer"]["type"] for r in kept} == {"json"}
    hidden = [c for c in house.commands for name, value in SECRETS.items() if value in c]
    assert hidden == [], "a command line is for every user of the machine to read"
    assert any("prefect" in c for c in house.commands)
    assert list((house.folder / "ray").rglob("*.out"))


def refused(house: House, page: str, path: str, user: str | None, body: object) -> int:
    with pytest.raises(urllib.error.HTTPError) as told:
        house.ask(page, path, user, body)
    return told.value.code


def test_strangers_are_refused_and_no_secret_is_left_by_runs_that_work_or_fail(house) -> None:
    flows, runs = "/api/flows/filter", "/api/2.0/mlflow/experiments/search"
    for user in (None, "somebody:wrong", "else:" + SECRETS["Prefect password"]):
        assert refused(house, "prefect", flows, user, {}) == 401
        assert refused(house, "mlflow", runs, user, {"max_results": 9}) == 401
    # A stranger cannot start anything by an event either.
    event = {
        "occurred": "2026-01-01T00:00:00Z",
        "id": "8d1c0f9e-98c5-4c0f-9d5c-0c4b7c1f0a11",
        "event": "sentinel.model.added",
        "resource": {"prefect.resource.id": "sentinel.model.good"},
        "payload": {"model": "good", "experiment": PATH},
    }
    assert refused(house, "prefect", "/api/events", None, [event]) == 401

    api = f"http://127.0.0.1:{house.ports['prefect']}/api"
    house.environment |= {
        "PREFECT_API_URL": api,
        "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{house.ports['mlflow']}",
    }
    house.sentinel("validate", PATH)
    house.sentinel("plan", PATH)
    judge = {"JUDGE_KEY": SECRETS["judge key"]}
    failing = house.start("run", "conf/experiments/failing.yaml", **judge)
    values = {"VALUE": SECRETS["judge key"], "PREFECT_API_AUTH_STRING": USERS["prefect"]}
    subprocess.run(
        [BIN / "python", "-c", BLOCK], env=house.environment | values, check=True, timeout=300
    )
    # The event of somebody who knows the password starts a run, in the worker.
    house.sentinel("models", "announce", "good")
    ended = finished(house)
    assert [(r["name"], r["state_name"]) for r in ended] == [
        ("experiment marked: good", "Completed")
    ]
    assert failing.wait(timeout=300) != 0
    told = house.printed("run")
    for name in ("fails", "denies", "babbles"):
        assert f"{name} / one" in told, told[-3000:]
    found = house.ask("mlflow", runs, USERS["mlflow"], {"max_results": 9})
    assert "marked" in {e["name"] for e in found["experiments"]}


def finished(house: House) -> list[dict]:
    """The runs that the worker made, once there is one and all are over."""
    deadline = time.monotonic() + 240
    while True:
        found = house.ask("prefect", "/api/flow_runs/filter", USERS["prefect"], {})
        runs = [r for r in found if r["deployment_id"]]
        if runs and all(r["state_type"] in ("COMPLETED", "FAILED", "CRASHED") for r in runs):
            return runs
        assert time.monotonic() < deadline, [(r["name"], r["state_name"]) for r in found]
        time.sleep(0.5)
