"""Nodes of two kinds, and nodes that lack what a run needs. GPUs are Ray's word alone here.

Every broken node is an ordinary one whose environment hides or replaces a package.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.conftest import ROOT, Lab
from tests.live.services import BIN, QUIET, RayCluster, await_true, clean_environment, end
from tests.live.sums import adding, benchmarks, model
from tests.live.whereabouts import where

pytestmark = pytest.mark.long

GPU = ("--num-gpus", 2, "--labels")


def hiding(folder: Path, package: str) -> dict[str, str]:
    """Environment in which a package cannot be imported, as where it is not installed."""
    folder.mkdir()
    error = f"raise ModuleNotFoundError(\"No module named '{package}'\", name='{package}')\n"
    (folder / f"{package}.py").write_text(error)
    return {"PYTHONPATH": str(folder)}


def older(folder: Path) -> dict[str, str]:
    """Environment with another version of this package."""
    for name in ("entropy", "estimators", "tasks"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    keys = folder / "tasks" / "storage" / "keys.py"
    keys.write_text(re.sub(r"^(GENERATE_VERSION) = \d+", r"\1 = 999", keys.read_text(), flags=re.M))
    return {"PYTHONPATH": str(folder)}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayCluster]:
    """A node for sweeps, two with two GPUs each, and three that lack something."""
    folder = tmp_path_factory.mktemp("nodes")
    broken = {
        "bare": hiding(folder / "bare", "tasks"),
        "older": older(folder / "older"),
        "no-vllm": hiding(folder / "no-vllm", "vllm"),
    }
    cluster = RayCluster()
    try:
        cluster.head()
        cluster.worker(1, None, "--labels", "name=cpu,node-type=cpu")
        for name in ("gpu-1", "gpu-2"):
            cluster.worker(4, None, *GPU, f"name={name},node-type=gpu")
        for name, environment in broken.items():
            cluster.worker(1, environment, "--labels", f"name={name},node-type=gpu,lacks={name}")
        yield cluster
    finally:
        cluster.close()


def vllm(name: str, **resources: object) -> dict[str, object]:
    return {"name": name, "resources": {"cpus": 1, "gpus": 0} | resources}


def test_each_model_says_what_its_node_lacks_and_the_others_go_on(
    lab: Lab, cluster: RayCluster, tmp_path: Path
) -> None:
    """One run with a model on each broken node, one too large for any node, and one that is well.

    Four GPUs are there, but not on one node.
    """
    server = adding()
    lab.environment = cluster.clients | {"SENTINEL_ROOM_TIMEOUT_S": "20"}
    # Ray adds the driver's folder to its workers' path, which would mend the nodes of this test.
    lab.cwd = tmp_path
    models = {
        "well": model("well", server.url),
        "bare": vllm("bare", labels={"lacks": "bare"}),
        "older": vllm("older", labels={"lacks": "older"}),
        "no-vllm": vllm("no-vllm", labels={"lacks": "no-vllm"}),
        "no-folder": vllm("no-folder") | {"model": "/nowhere/a-model"},
        "large": vllm("large", gpus=4, tensor_parallel=4),
    }
    path = lab.write(
        models=models, benchmarks=benchmarks(12, a=1, b=2), models_at_once=6,
    )  # fmt: skip
    try:
        assert lab.start("run", str(path)).wait(timeout=300) == 2, lab.output[-4000:]
    finally:
        server.close()
    told = " ".join(lab.output.split())
    for message in (
        r"model 'bare': a node of the cluster cannot import .* No module named 'tasks'",
        r"node \S+ has entropy-sentinel \S+ \(generate 999.* and the driver \S+ \(generate \d",
        r"model 'no-vllm': node \S+ cannot import vLLM: No module named 'vllm'",
        r"model 'no-folder': node \S+ has no folder /nowhere/a-model",
        r"model 'large' waits for a node with room for an engine .*4 GPUs.*within 20 s",
        r"model 'large': no node had room for an engine, and none is large enough .*4 GPUs",
    ):
        assert re.search(message, told), (message, lab.output[-6000:])
    # The model that is well was swept, and on no node that is for engines.
    assert lab.store.list("results/lab")
    pieces = {node for (node, task) in where(cluster)[0] if task.endswith("_evaluate")}
    assert pieces == {"cpu"}


HOLDS_GPUS = """
import time
from tasks.cluster.joining import ray_cluster
from tasks.engines import pool
from tests.live.test_room import Settings, Weightless
from tasks.conf import Model
from tasks.conf.models import Resources
pool.VllmEngine = Weightless
resources = Resources(cpus=1, gpus=2, tensor_parallel=2, replicas=2)
with ray_cluster(), pool.EnginePool(Model("m", "vllm", "x", resources=resources), Settings) as held:
    held.generate([])
    print("holding", flush=True)
    time.sleep(600)
"""

_FREE_GPUS = """
import os, ray
ray.init(address=os.environ["RAY_ADDRESS"], log_to_driver=False, logging_level="ERROR")
print(int(ray.available_resources().get("GPU", 0)))
"""


def free_gpus(cluster: RayCluster) -> int:
    done = subprocess.run(
        [BIN / "python", "-c", _FREE_GPUS], capture_output=True, text=True, timeout=60,
        env=clean_environment() | QUIET | cluster.clients,
    )  # fmt: skip
    return int(done.stdout.splitlines()[-1])


def test_a_driver_that_dies_gives_its_gpus_back(cluster: RayCluster) -> None:
    """Two replicas of two GPUs hold a node each; the driver is killed outright."""
    driver = subprocess.Popen(
        [BIN / "python", "-c", HOLDS_GPUS], stdout=subprocess.PIPE, text=True, cwd=ROOT,
        env=clean_environment() | QUIET | cluster.clients,
    )  # fmt: skip
    try:
        assert driver.stdout is not None
        assert driver.stdout.readline() == "holding\n"
        await_true(lambda: free_gpus(cluster) == 0, 60, "start of both replicas")
    finally:
        end(driver)
    await_true(lambda: free_gpus(cluster) == 4, 60, "release of the GPUs")
    assert free_gpus(cluster) == 4


def test_another_ray_version_is_told(cluster: RayCluster) -> None:
    code = "from tasks.cluster.joining import ray_cluster as r\nwith r(): pass"
    done = subprocess.run(
        [BIN / "python", "-c", f"import ray; ray.__version__ = '2.1.0'\n{code}"],
        capture_output=True, text=True,
        timeout=120, cwd=ROOT, env=clean_environment() | QUIET | cluster.clients,
    )  # fmt: skip
    assert done.returncode != 0
    assert re.search(r"cannot join the Ray cluster.*ersion mismatch", done.stderr, re.S)
    assert "2.1.0" in done.stderr
