"""Ray's autoscaler, as `ray up` starts it, with the node types of infra/ray-cluster.yaml.

Its machines are processes. KubeRay takes another autoscaler, which needs pods.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from ray.autoscaler._private.fake_multi_node.node_provider import (
    FAKE_HEAD_NODE_ID,
    FAKE_HEAD_NODE_TYPE,
)

from tests.live.conftest import ROOT, Lab
from tests.live.services import BIN, QUIET, RayCluster, await_true, clean_environment, end
from tests.live.sums import adding, benchmarks, model
from tests.live.test_nodes import HOLDS_GPUS

pytestmark = pytest.mark.long

# What this machine can play of a node of each type.
SIZES = {"head": {"CPU": 0}, "cpu": {"CPU": 1}, "gpu": {"CPU": 2, "GPU": 2}}

_NODE_TYPES = """
import json, os, ray
ray.init(address=os.environ["RAY_ADDRESS"], log_to_driver=False, logging_level="ERROR")
print(json.dumps([[n["Labels"].get("node-type", "head"), n["Alive"]] for n in ray.nodes()]))
"""


def settings(cluster: RayCluster) -> dict[str, object]:
    """The cluster file, but for sizes, the time a node may be idle, and who provides machines."""
    found = yaml.safe_load((ROOT / "infra" / "ray-cluster.yaml").read_text())
    types = found["available_node_types"]
    assert set(types) == set(SIZES)
    types = {name: types[name] | {"resources": SIZES[name], "node_config": {}} for name in SIZES}
    for kind in types.values():
        kind.pop("docker", None)
    types[FAKE_HEAD_NODE_TYPE] = types.pop("head")
    kept = ("max_workers", "upscaling_speed")
    return {name: found[name] for name in kept} | {
        "cluster_name": "test",
        "available_node_types": types,
        "head_node_type": FAKE_HEAD_NODE_TYPE,
        "idle_timeout_minutes": 0.15,
        # What follows here concerns machines that have to be set up.
        "auth": {},
        "file_mounts": {},
        "cluster_synced_files": [],
        "worker_setup_commands": [],
        "worker_start_ray_commands": [],
        "provider": {
            "type": "fake_multinode",
            "gcs_address": f"{cluster.host}:{cluster.port}",
            "head_node_id": FAKE_HEAD_NODE_ID,
            "launch_multiple": True,
            "use_node_id_as_ip": True,
            "disable_node_updaters": True,
            "disable_launch_config_check": True,
        },
    }


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[RayCluster]:
    cluster = RayCluster()
    config = tmp_path / "autoscaling.yaml"
    config.write_text(yaml.safe_dump(settings(cluster)))
    environment = {
        "RAY_FAKE_CLUSTER": "1",
        "AUTOSCALER_UPDATE_INTERVAL_S": "1",
        "RAY_OVERRIDE_NODE_ID_FOR_TESTING": FAKE_HEAD_NODE_ID,
    }
    try:
        cluster.head("--autoscaling-config", config, environment=environment)
        yield cluster
    finally:
        cluster.close()


def node_types(cluster: RayCluster, *, gone: bool = False) -> list[str]:
    """The type of each node that is up, sorted; with ``gone`` those that were as well."""
    done = subprocess.run(
        [BIN / "python", "-c", _NODE_TYPES], capture_output=True, text=True, timeout=60,
        env=clean_environment() | QUIET | cluster.clients,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    return sorted(kind for kind, alive in found if alive or gone)


def test_nodes_come_for_work_of_their_kind_and_go(lab: Lab, cluster: RayCluster) -> None:
    """From no node at all: a sweep brings CPU nodes alone, an engine the one GPU node it needs."""
    server = adding()
    lab.environment = cluster.clients
    path = lab.write(
        models={"remote": model("remote", server.url)}, benchmarks=benchmarks(24, a=1, b=2)
    )
    assert node_types(cluster) == ["head"]
    try:
        lab.run("run", str(path))
    finally:
        server.close()
    came = node_types(cluster, gone=True)
    assert "cpu" in came
    assert "gpu" not in came
    await_true(lambda: node_types(cluster) == ["head"], 90, "release of the CPU nodes")

    driver = subprocess.Popen(
        [BIN / "python", "-c", HOLDS_GPUS.replace("replicas=2", "replicas=1")],
        stdout=subprocess.PIPE, text=True, cwd=ROOT,
        env=clean_environment() | QUIET | cluster.clients,
    )  # fmt: skip
    try:
        assert driver.stdout is not None
        assert driver.stdout.readline() == "holding\n"
        assert node_types(cluster).count("gpu") == 1
    finally:
        end(driver)
    await_true(lambda: node_types(cluster) == ["head"], 90, "release of the GPU node")
    assert node_types(cluster) == ["head"]
