"""What a commit brought: models that an experiment lists now and did not list so before."""

import json
import subprocess
from pathlib import Path

import pytest

from tasks.errors import SentinelError
from tasks.planning.commits import listed_since

E, F = "conf/experiments/e.yaml", "conf/experiments/f.yaml"


def git(*words: str) -> None:
    own = ("-c", "user.name=a", "-c", "user.email=a@b.example", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *own, *words], check=True, capture_output=True)


def write(path: str, **document: object) -> None:
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"name": file.stem} | document))


def model(name: str, of: str = "org/m") -> None:
    write(f"conf/models/{name}.yaml", engine="vllm", model=of)


def experiment(path: str, *models: str) -> None:
    sweep = {"sizes": [1], "estimators": ["constant"]}
    write(path, models=models, benchmarks=["easy", "hard"], sweep=sweep)


def commit() -> None:
    git("add", "-A")
    git("commit", "-q", "-m", "more")


@pytest.fixture
def conf(tmp_path: Path, monkeypatch) -> Path:
    """A repository with two experiments, of which both list ``m``."""
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(("easy", "hard")):
        source = {"generator": "chain_sum", "size": 5, "seed": seed}
        write(f"conf/benchmarks/{name}.yaml", version=1, source=source)
    model("m")
    experiment(E, "m")
    experiment(F, "m")
    git("init", "-q", ".")
    commit()
    return Path("conf")


def test_nothing_is_new_without_a_change(conf: Path) -> None:
    commit_of_text = Path("README.md")
    commit_of_text.write_text("words")
    commit()
    assert listed_since("HEAD~1", conf) == []


def test_a_committed_model_is_new_where_it_is_listed(conf: Path) -> None:
    model("n", "org/n")
    experiment(F, "m", "n")
    commit()
    assert listed_since("HEAD~1", conf) == [("n", F)]
    assert listed_since("HEAD", conf) == []


def test_a_hook_asks_this_repository_whatever_git_has_set(conf: Path, monkeypatch) -> None:
    model("n", "org/n")
    experiment(F, "m", "n")
    commit()
    for name, value in {"GIT_DIR": ".git", "GIT_INDEX_FILE": ".git/index"}.items():
        monkeypatch.setenv(name, value)
    assert listed_since("HEAD~1", conf) == [("n", F)]


def test_a_model_that_no_experiment_lists_is_not_new(conf: Path) -> None:
    model("n", "org/n")
    commit()
    assert listed_since("HEAD~1", conf) == []


def test_a_changed_model_is_new_in_all_its_experiments(conf: Path) -> None:
    model("m", "org/m2")
    commit()
    assert listed_since("HEAD~1", conf) == [("m", E), ("m", F)]


def test_a_known_model_is_new_in_another_experiment(conf: Path) -> None:
    model("n", "org/n")
    experiment(E, "m", "n")
    commit()
    experiment(F, "m", "n")
    commit()
    assert listed_since("HEAD~1", conf) == [("n", F)]
    assert listed_since("HEAD~2", conf) == [("n", E), ("n", F)]


def test_a_new_experiment_brings_all_its_models(conf: Path) -> None:
    path = "conf/experiments/g.yaml"
    experiment(path, "m")
    commit()
    assert listed_since("HEAD~1", conf) == [("m", path)]


def test_an_experiment_that_was_broken_listed_nothing(conf: Path) -> None:
    Path(F).write_text("models: [")
    commit()
    experiment(F, "m")
    commit()
    assert listed_since("HEAD~1", conf) == [("m", F)]


def test_an_experiment_that_is_broken_holds_up_no_other(conf: Path) -> None:
    model("n", "org/n")
    experiment(E, "m", "n")
    experiment(F, "m", "nobody")
    commit()
    assert listed_since("HEAD~1", conf) == [("n", E)]


def test_an_unknown_commit_and_a_folder_without_repository_are_told(conf: Path, tmp_path) -> None:
    with pytest.raises(SentinelError, match="is no commit"):
        listed_since("HEAD~9", conf)
    with pytest.raises(SentinelError, match="is no commit"):
        listed_since("--help", conf)
    (tmp_path / ".git").rename(tmp_path / "gone")
    with pytest.raises(SentinelError, match="not a git repository"):
        listed_since("HEAD", conf)
