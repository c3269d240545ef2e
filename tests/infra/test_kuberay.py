"""KubeRay's own fields, by what its reference says, and by its CRDs where there are some."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

INFRA = Path(__file__).resolve().parents[2] / "infra" / "kuberay"
FIELDS = json.loads((Path(__file__).parent / "kuberay_fields.json").read_text())

#: A folder of ray.io_rayclusters.yaml and ray.io_rayjobs.yaml, from a release of KubeRay.
CRDS = "SENTINEL_KUBERAY_CRDS"


def resources() -> list[dict]:
    found = [d for p in sorted(INFRA.glob("*.yaml")) for d in yaml.safe_load_all(p.read_text())]
    return [d for d in found if d["apiVersion"].startswith("ray.io/")]


def problems(document: dict, schema: dict) -> list[str]:
    found = jsonschema.Draft202012Validator(schema).iter_errors(document)
    return [f"{e.json_path}: {e.message}" for e in found]


def strict(schema: Any) -> Any:
    """A CRD's schema that refuses the fields it does not name, as `kubectl apply` does."""
    if isinstance(schema, list):
        return [strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    made = {name: strict(part) for name, part in schema.items()}
    if isinstance(schema.get("properties"), dict) and not (
        schema.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in schema
    ):
        made["additionalProperties"] = False
    if schema.get("x-kubernetes-int-or-string"):
        made = {k: v for k, v in made.items() if k != "anyOf"} | {"type": ["integer", "string"]}
    return made


def of_crd(document: dict, folder: Path) -> list[str]:
    """What a CRD of the folder says against a resource."""
    path = folder / f"ray.io_{document['kind'].lower()}s.yaml"
    (version,) = [
        v for v in yaml.safe_load(path.read_text())["spec"]["versions"] if v["name"] == "v1"
    ]
    return problems(
        document["spec"], strict(version["schema"]["openAPIV3Schema"]["properties"]["spec"])
    )


def broken() -> Iterator[tuple[str, dict]]:
    """The files of ours, each with one mistake."""

    def changed(kind: str, *path: str | int, value: object) -> dict:
        document = copy.deepcopy(next(d for d in resources() if d["kind"] == kind))
        place: Any = document["spec"]
        for step in path[:-1]:
            place = place[step]
        if value is None:
            del place[path[-1]]
        else:
            place[path[-1]] = value
        return document

    cluster, job, first = "RayCluster", "RayJob", ("workerGroupSpecs", 0)
    yield "misspelt field", changed(cluster, "rayVersions", value="2.60.0")
    yield "unknown mode", changed(cluster, "authOptions", "mode", value="tokens")
    yield (
        "number where text is",
        changed(cluster, "headGroupSpec", "rayStartParams", "num-cpus", value=0),
    )
    yield "text where a number is", changed(cluster, *first, "maxReplicas", value="8")
    yield "group without name", changed(cluster, *first, "groupName", value=None)
    yield (
        "labels that the operator refuses",
        changed(cluster, *first, "rayStartParams", "labels", value="node-type=cpu"),
    )
    yield "unknown upscaling", changed(cluster, "autoscalerOptions", "upscalingMode", value="Slow")
    yield "unknown submission", changed(job, "submissionMode", value="K8sJob")
    yield "deletion that never comes", changed(job, "shutdownAfterJobFinishes", value=False)


def test_there_is_something_to_check() -> None:
    assert sorted(d["kind"] for d in resources()) == ["RayCluster", "RayJob"]


@pytest.mark.parametrize("document", resources(), ids=lambda d: d["kind"])
def test_fields_are_those_of_the_reference(document: dict) -> None:
    assert problems(document, FIELDS) == []


@pytest.mark.parametrize(
    ("mistake", "document"), [*broken()], ids=lambda v: v if isinstance(v, str) else ""
)
def test_a_mistake_is_seen(mistake: str, document: dict) -> None:
    assert problems(document, FIELDS), mistake


@pytest.mark.parametrize("document", resources(), ids=lambda d: d["kind"])
def test_fields_are_those_of_the_crds(document: dict) -> None:
    folder = os.environ.get(CRDS)
    if not folder:
        pytest.skip(f"set {CRDS} to KubeRay's folder config/crd/bases to check by its own CRDs")
    assert of_crd(document, Path(folder)) == []


def test_a_crd_refuses_what_it_does_not_name(tmp_path: Path) -> None:
    """The check by CRDs itself, on a small one made here."""
    spec = {
        "type": "object",
        "required": ["a"],
        "properties": {
            "a": {"type": "integer"},
            "size": {
                "anyOf": [{"type": "integer"}, {"type": "string"}],
                "x-kubernetes-int-or-string": True,
            },
            "map": {"type": "object", "additionalProperties": {"type": "string"}},
        },
    }
    schema = {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}}
    crd = {"spec": {"versions": [{"name": "v1", "schema": schema}]}}
    (tmp_path / "ray.io_rayclusters.yaml").write_text(yaml.safe_dump(crd))

    def told(**fields: object) -> list[str]:
        return of_crd({"kind": "RayCluster", "spec": fields}, tmp_path)

    assert told(a=1, size="1Gi", map={"x": "y"}) == []
    assert "'b' was unexpected" in told(a=1, b=2)[0]
    assert "is not of type 'string'" in told(a=1, map={"x": 1})[0]
    assert "'a' is a required property" in told()[0]
