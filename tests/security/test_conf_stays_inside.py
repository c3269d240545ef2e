"""Names in conf lead nowhere else, and secrets stay out of it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tasks.conf import Benchmark, Model, load_experiment, load_named
from tasks.conf.choices import Changes, request
from tasks.errors import SentinelError

PLAIN = {"name": "stolen", "engine": "vllm", "model": "org/m"}


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    """A conf folder, and beside it a model's file that is none of it."""
    folder = tmp_path / "site" / "conf"
    for name in ("a", "b"):
        rows = {"name": name, "version": 1, "source": {"path": f"{name}.jsonl"}}
        write(folder / "benchmarks" / f"{name}.yaml", rows)
    write(folder / "models" / "m.yaml", PLAIN | {"name": "m"})
    document = {"name": "x", "models": ["m"], "benchmarks": ["a", "b"], "sweep": {"sizes": [1]}}
    write(folder / "experiments" / "x.yaml", document)
    write(tmp_path / "elsewhere" / "stolen.yaml", PLAIN)
    return folder


def write(path: Path, document: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(document))


def outside(conf: Path) -> list[str]:
    there = conf.parents[1] / "elsewhere" / "stolen"
    return ["../../../elsewhere/stolen", str(there), "../models/m", "./m", "m\n", "", ".", "m/../m"]


def test_a_name_is_no_path(conf: Path) -> None:
    for name in outside(conf):
        for kind, cls in (("models", Model), ("benchmarks", Benchmark)):
            with pytest.raises(SentinelError, match="is unknown") as told:
                load_named(conf, kind, name, cls)
            assert "org/m" not in str(told.value)


@pytest.mark.parametrize("field", ["models", "benchmarks", "judge"])
def test_names_given_for_one_run_are_no_paths_either(conf: Path, field: str) -> None:
    for name in outside(conf):
        value = name if field == "judge" else (name,)
        with pytest.raises(SentinelError, match="is unknown"):
            request(conf / "experiments" / "x.yaml", Changes(**{field: value}))


def test_a_file_does_not_call_itself_a_path(conf: Path) -> None:
    """Names of models and benchmarks are folders of the root, and parts of MLflow's names."""
    for name in ("../up", "a/b", "a b", ".hidden", "a\nb", "<b>"):
        write(conf / "models" / "m.yaml", PLAIN | {"name": name})
        with pytest.raises(SentinelError, match="name"):
            load_named(conf, "models", "m", Model)


@pytest.mark.parametrize(
    "variable",
    ["OPENAI_API_KEY", "HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "PGPASSWORD", "MY_PASSWORD_2",
     "RAY_AUTH_TOKEN", "PREFECT_API_AUTH_STRING", "GOOGLE_APPLICATION_CREDENTIALS", "APIKEY"],
)  # fmt: skip
def test_a_secret_is_not_read_into_the_conf(conf: Path, variable: str, monkeypatch) -> None:
    """It would be part of what is hashed, logged and stored."""
    monkeypatch.setenv(variable, "the-secret-itself")
    for text in (f"${{{variable}}}", f"https://host/v1?key=${{{variable}:-none}}"):
        write(conf / "models" / "m.yaml", PLAIN | {"name": "m", "options": {"a": [text]}})
        with pytest.raises(SentinelError, match="would put a secret into the conf") as told:
            load_experiment(conf / "experiments" / "x.yaml")
        assert "the-secret-itself" not in str(told.value)


@pytest.mark.parametrize(
    "variable", ["GPU_MEMORY_GB", "JUDGE_URL", "TOKENS", "MAX_TOKENS", "KEYS", "MONKEY", "SMOLLM2"]
)
def test_other_variables_are(conf: Path, variable: str, monkeypatch) -> None:
    monkeypatch.setenv(variable, "value")
    document = PLAIN | {"name": "m", "options": {"a": f"${{{variable}}}"}}
    write(conf / "models" / "m.yaml", document)
    assert load_named(conf, "models", "m", Model).options == {"a": "value"}
