"""Adding a model: checked first, written once, and taken back whole if anything is wrong."""

import errno
import json
import os
from pathlib import Path

import pytest

from tasks.conf import load_experiment
from tasks.errors import SentinelError
from tasks.planning.added import add_model, experiment_path, listing

EXPERIMENT = """\
# What to run; this line is kept.
name: e
models: [m]   # those of today
benchmarks:
  - easy
  - hard
sweep: {sizes: [1], estimators: [constant]}
"""
PATH = "conf/experiments/e.yaml"
NEW = {"name": "n", "engine": "vllm", "model": "org/n"}


@pytest.fixture
def conf(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    source = {"generator": "chain_sum", "size": 5}
    for name, document in {
        "models/m": NEW | {"name": "m"},
        "benchmarks/easy": {"name": "easy", "version": 1, "source": source},
        "benchmarks/hard": {"name": "hard", "version": 1, "source": source},
    }.items():
        path = Path("conf") / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(document))
    Path(PATH).parent.mkdir()
    Path(PATH).write_text(EXPERIMENT)
    return Path("conf")


def new(tmp_path: Path, **changes: object) -> Path:
    file = tmp_path / "n.yaml"
    file.write_text(json.dumps(NEW | changes))
    return file


def test_a_model_joins_the_list_and_the_rest_of_the_file_stays(conf: Path, tmp_path: Path) -> None:
    assert add_model(new(tmp_path), conf, [PATH]) == "n"
    assert Path(PATH).read_text() == EXPERIMENT.replace("[m]", "[m, n]")
    assert [m.name for m in load_experiment(PATH).models] == ["m", "n"]
    assert listing("n", conf) == [PATH]


def test_a_list_of_lines_gains_a_line(conf: Path, tmp_path: Path) -> None:
    Path(PATH).write_text(EXPERIMENT.replace("[m]", "\n  - m"))
    add_model(new(tmp_path), conf, [PATH])
    assert "models: \n  - m\n  - n   # those of today\n" in Path(PATH).read_text()


def test_adding_twice_changes_nothing(conf: Path, tmp_path: Path) -> None:
    add_model(new(tmp_path), conf, [PATH])
    before = Path(PATH).read_text()
    assert add_model(conf / "models" / "n.yaml", conf, [PATH]) == "n"
    assert Path(PATH).read_text() == before


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"engine": "abacus"}, "engine"),
        ({"name": "other"}, "the name is 'other'"),
        ({"colour": "red"}, "colour"),
        ({"engine": "openai"}, "needs an `endpoint`"),
    ],
)
def test_a_bad_file_leaves_the_folder_as_it_was(
    conf: Path, tmp_path: Path, changes: dict, words: str
) -> None:
    with pytest.raises(SentinelError, match=words):
        add_model(new(tmp_path, **changes), conf, [PATH])
    assert not (conf / "models" / "n.yaml").exists()
    assert Path(PATH).read_text() == EXPERIMENT


def test_a_folder_that_cannot_be_written_is_told_and_nothing_changed(
    conf: Path, tmp_path: Path, monkeypatch
) -> None:
    """Renaming into place fails for the second file: the first one is taken back."""
    rename, seen = Path.replace, []

    def second_fails(source: Path, target: Path) -> Path:
        seen.append(target.name)
        if len(seen) == 2:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return rename(source, target)

    monkeypatch.setattr(Path, "replace", second_fails)
    with pytest.raises(SentinelError, match=r"cannot write conf/experiments/e\.yaml: Permission"):
        add_model(new(tmp_path), conf, [PATH])
    assert seen == ["n.yaml", "e.yaml"]
    assert not (conf / "models" / "n.yaml").exists()
    assert Path(PATH).read_text() == EXPERIMENT
    assert not list(conf.rglob("*.tmp"))


def test_a_name_given_twice_in_the_file_is_refused(conf: Path, tmp_path: Path) -> None:
    file = tmp_path / "n.yaml"
    file.write_text("name: n\nengine: vllm\nmodel: x\nmodel: y\n")
    with pytest.raises(SentinelError, match=r"n\.yaml, line 4: `model` was given in line 3"):
        add_model(file, conf, [PATH])
    assert not (conf / "models" / "n.yaml").exists()


@pytest.mark.parametrize("name", ["n.txt", "n"])
def test_a_file_that_conf_would_not_find_is_refused(conf: Path, tmp_path: Path, name: str) -> None:
    file = new(tmp_path).rename(tmp_path / name)
    with pytest.raises(SentinelError, match=r"name it n\.yaml"):
        add_model(file, conf, [PATH])
    with pytest.raises(SentinelError, match=r"missing\.yaml cannot be read: No such file"):
        add_model(tmp_path / "missing.yaml", conf, [PATH])


def test_another_model_of_that_name_is_not_overwritten(conf: Path, tmp_path: Path) -> None:
    add_model(new(tmp_path), conf, [PATH])
    with pytest.raises(SentinelError, match="another model of that name"):
        add_model(new(tmp_path, model="org/else"), conf, [PATH])
    assert "org/n" in (conf / "models" / "n.yaml").read_text()


@pytest.mark.parametrize("given", [PATH, f"./{PATH}", "e", "e.yaml", "/"])
def test_an_experiment_is_given_by_path_or_name(conf: Path, tmp_path: Path, given: str) -> None:
    given = str(tmp_path / PATH) if given == "/" else given
    assert experiment_path(given, conf) == PATH
    add_model(new(tmp_path), conf, [given])
    assert listing("n", conf) == [PATH]


def test_an_experiment_that_is_not_valid_holds_up_no_other(conf: Path, tmp_path: Path) -> None:
    Path("conf/experiments/broken.yaml").write_text("models: [")
    add_model(new(tmp_path), conf, [PATH])
    assert listing("n", conf) == [PATH]
    add_model(new(tmp_path).rename(tmp_path / "n.yaml"), conf, [])
    Path(PATH).write_text(EXPERIMENT)
    with pytest.raises(SentinelError, match=r"no experiment lists.*; .*broken\.yaml, line 1: not"):
        listing("n", conf)


def test_an_unknown_experiment_is_told(conf: Path, tmp_path: Path) -> None:
    with pytest.raises(SentinelError, match="is no experiment"):
        add_model(new(tmp_path), conf, ["conf/experiments/f.yaml"])
    assert not (conf / "models" / "n.yaml").exists()


def test_a_model_that_no_experiment_lists_cannot_be_announced(conf: Path, tmp_path: Path) -> None:
    add_model(new(tmp_path), conf, [])
    with pytest.raises(SentinelError, match="no experiment lists the model 'n'"):
        listing("n", conf)
    with pytest.raises(SentinelError, match="'nobody' is unknown"):
        listing("nobody", conf)
