"""`infra/compose.yaml` started by Docker: the whole of it, with a run, a killed head and a stop.

Needs a Docker engine, its compose plugin and the image, so it is skipped where one is missing:

    docker compose -f infra/compose.yaml build worker
    python -m pytest -m long tests/infra/test_compose.py
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests.live.conftest import MODEL
from tests.live.services import await_true, free_port

pytestmark = [pytest.mark.long, pytest.mark.slow, pytest.mark.timeout(900)]

ROOT = Path(__file__).resolve().parents[2]
IMAGE = "entropy-sentinel:cpu"
SECRETS = {"postgres_password": "a-password-of-this-test", "ray_token": "a-token-of-this-test"}

# Only the ports and the folder of the model differ from what the file says.
OVERRIDE = """\
services:
  prefect: {{ports: !override ["127.0.0.1:{prefect}:4200"]}}
  mlflow: {{ports: !override ["127.0.0.1:{mlflow}:5000"]}}
  worker: {{volumes: ["{models}:/app/.models:ro"]}}
  ray-worker: {{volumes: ["{models}:/app/.models:ro"]}}
"""

# Of the process that holds the cluster together; the container ends with it.
KILL_HEAD = (
    'for p in /proc/[0-9]*; do grep -aq "gcs/gcs_serve[r]" $p/cmdline && kill -9 ${p#/proc/}; done'
)


def docker(*words: str, seconds: float = 300) -> subprocess.CompletedProcess:
    return subprocess.run(
        ["docker", *words],
        capture_output=True,
        text=True,
        timeout=seconds,
        stdin=subprocess.DEVNULL,
    )


@dataclass(frozen=True)
class Host:
    """The services of one project, named so that no other project's are touched."""

    name: str
    folder: Path

    def compose(self, *words: str) -> subprocess.CompletedProcess:
        files = [f"--file={self.folder / name}" for name in ("infra/compose.yaml", "override.yaml")]
        return docker("compose", f"--project-name={self.name}", *files, *words)

    def inside(self, service: str, command: str) -> subprocess.CompletedProcess:
        return self.compose("exec", "--no-TTY", service, "bash", "-c", command)

    def nodes(self) -> int:
        return self.inside("ray-head", "timeout 20 ray status").stdout.count(" node_")


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    if not shutil.which("docker") or docker("version").returncode:
        pytest.skip("no Docker engine answers")
    if docker("compose", "version").returncode or docker("image", "inspect", IMAGE).returncode:
        pytest.skip(f"docker compose and its image {IMAGE} are needed")
    if not (MODEL / "config.json").exists():
        pytest.skip(f"the demo's model is not at {MODEL}: make setup")
    (tmp_path / "infra" / "secrets").mkdir(parents=True)
    shutil.copy(ROOT / "infra" / "compose.yaml", tmp_path / "infra")
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    shutil.copytree(MODEL, tmp_path / "models" / MODEL.name)
    for name, value in SECRETS.items():
        (tmp_path / "infra" / "secrets" / name).write_text(value)
    experiment = yaml.safe_load((ROOT / "conf" / "experiments" / "demo.yaml").read_text())
    experiment |= {
        "name": "small", "benchmarks": ["sum-1-digit", "sum-2-digits"], "sweep": {"sizes": [1]},
    }  # fmt: skip
    (tmp_path / "conf" / "experiments" / "small.yaml").write_text(yaml.safe_dump(experiment))
    for path in [tmp_path, *tmp_path.rglob("*")]:  # As read by user 1000.
        path.chmod(0o755 if path.is_dir() else 0o644)
    ports = {"prefect": free_port(), "mlflow": free_port()}
    (tmp_path / "override.yaml").write_text(OVERRIDE.format(models=tmp_path / "models", **ports))
    made = Host(f"sentinel-test-{os.getpid()}", tmp_path)
    try:
        yield made
    finally:
        made.compose("--profile", "gpu", "down", "--volumes", "--timeout", "5")


def test_one_host_runs_an_experiment_and_outlives_a_killed_head(host: Host) -> None:
    up = host.compose("up", "--detach", "--no-build", "--wait")
    assert up.returncode == 0, up.stderr
    user = host.inside("worker", "id --user && ls -A /app && ! touch /app/new")
    assert user.stdout.split()[0] == "1000", user
    assert not {"tests", "data", "secrets", "tasks"} & set(user.stdout.split())

    run = "sentinel run conf/experiments/small.yaml"
    first = host.inside("worker", run)
    assert first.returncode == 0, (first.stdout + first.stderr)[-3000:]
    assert "120 responses, 120 of them new" in first.stdout + first.stderr

    host.inside("ray-head", KILL_HEAD)
    await_true(lambda: host.nodes() < 3, 60, "the head to be gone")
    await_true(lambda: host.nodes() == 3, 180, "head, worker and the driver's node to be back")
    again = host.inside("worker", run)
    assert again.returncode == 0, (again.stdout + again.stderr)[-3000:]
    assert "0 steps to run" in again.stdout + again.stderr

    told = host.compose("logs").stdout + host.compose("config").stdout
    told += "".join(docker("inspect", i).stdout for i in host.compose("ps", "-q").stdout.split())
    assert "Ray runtime started" in told
    assert not [name for name, value in SECRETS.items() if value in told]
    # Else Ray takes a folder on the disk.
    assert "object store is using" not in told
