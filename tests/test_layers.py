"""Who may know whom: the contracts of pyproject.toml hold, and a breach of each would be caught."""

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
PACKAGES = ("entropy", "estimators", "tasks", "flows")
LONGEST = 400

# What runs in the driver alone: it uses MLflow.
DRIVER_ONLY = {"tasks.tracking"}


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    code = "from importlinter.cli import lint_imports_command as lint; lint(['--no-cache'])"
    return subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env={"PYTHONPATH": str(folder), "NO_COLOR": "1"},
        capture_output=True, text=True,
    )  # fmt: skip


def contracts() -> list[dict]:
    settings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    return settings["tool"]["importlinter"]["contracts"]


def test_the_contracts_hold() -> None:
    done = lint(REPOSITORY)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(contracts())} kept, 0 broken" in done.stdout


BREACHES = {
    "entropy/profile.py": ["import ray", "import logging", "import tasks.errors"],
    "entropy/trace.py": ["import estimators.table"],
    "estimators/scores.py": ["import mlflow", "from entropy import trace"],
    "tasks/sweeps/sweep.py": [
        "import tasks.tracking.track",
        "import prefect",
        "import flows.steps",
    ],
    "tasks/engines/openai.py": ["import mlflow"],
    "tasks/tracking/track.py": ["import prefect"],
    "tasks/tables.py": ["import yaml", "import tasks.signals.features"],
    "flows/cli.py": ["import yaml"],
}


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("copy")
    for package in PACKAGES:
        shutil.copytree(REPOSITORY / package, folder / package,
                        ignore=shutil.ignore_patterns("__pycache__"))  # fmt: skip
    shutil.copy(REPOSITORY / "pyproject.toml", folder)
    return folder


@pytest.mark.parametrize(
    ("module", "line"), [(m, line) for m, lines in BREACHES.items() for line in lines]
)
def test_a_breach_is_caught(copy: Path, module: str, line: str) -> None:
    path = copy / module
    whole = path.read_text()
    try:
        path.write_text(f"{whole}\n{line}\n")
        done = lint(copy)
    finally:
        path.write_text(whole)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Broken contracts" in done.stdout
    assert Path(module).stem in done.stdout.split("Broken contracts")[1]


def test_every_module_of_tasks_says_whether_workers_run_it() -> None:
    """A module that is new to ``tasks`` joins the contract, or the list at the top of this file."""
    (listed,) = (c["source_modules"] for c in contracts() if "Ray workers" in c["name"])
    there = {
        f"tasks.{p.stem}"
        for p in (REPOSITORY / "tasks").iterdir()
        if (p.suffix == ".py" or (p / "__init__.py").exists()) and not p.name.startswith("_")
    }
    assert there == set(listed) | DRIVER_ONLY


def test_no_module_is_too_long_to_read_in_one_go() -> None:
    lengths = {
        str(path.relative_to(REPOSITORY)): len(path.read_text().splitlines())
        for package in PACKAGES
        for path in (REPOSITORY / package).rglob("*.py")
    }
    assert {path: n for path, n in lengths.items() if n > LONGEST} == {}
