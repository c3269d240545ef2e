"""What a run chooses anew: what counts as a change, how it is told, and where its results go."""

import json
from pathlib import Path

import pytest

from tasks.conf import load_experiment
from tasks.conf.choices import Changes, Request, request
from tasks.errors import SentinelError

PATH = "conf/experiments/e.yaml"
NAMES = ("a", "b", "c", "d")
CONF = Path(__file__).parents[2] / "conf"


def write(path: str, **document: object) -> None:
    file = Path("conf") / f"{path}.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"name": file.stem} | document))


@pytest.fixture(autouse=True)
def conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An experiment of three benchmarks, three estimators and two sizes, of at most 50 items."""
    monkeypatch.chdir(tmp_path)
    for name in NAMES:
        write(f"benchmarks/{name}", version=1, source={"path": f"{name}.jsonl"})
    for name in ("m", "n"):
        write(f"models/{name}", engine="vllm", model=f"org/{name}")
    write("judges/rules", kind="rules")
    write("judges/slow", kind="rules", deadline_s=60)
    write(
        "experiments/e", models=["m"], benchmarks=["a", "b", "c"], judge="rules", limit=50,
        sweep={"sizes": [1, 2], "estimators": ["ensemble", "v1-grid", "constant"]},
    )  # fmt: skip


def asked(**changes: object) -> Request:
    return request(PATH, Changes(**changes))


SAME = [
    {},
    {"models": ("m",)},
    {"models": ("n",)},  # Completes the same comparison.
    {"benchmarks": ("a", "b", "c")},
    {"benchmarks": ("c", "a", "b")},
    {"limit": 50},
    {"judge": "rules"},
    {"estimators": ("ensemble", "v1-grid", "constant")},
    {"estimators": ("ensemble", "constant", "v1-grid")},
    {"sizes": (1, 2)},
    {"sizes": (2, 1)},
]


@pytest.mark.parametrize("changes", SAME, ids=str)
def test_choosing_what_the_file_says_is_no_change(changes: dict) -> None:
    found, listed = asked(**changes), load_experiment(PATH)
    assert (found.label, found.folder, found.title) == ("", "e", "e")
    assert found.experiment.benchmarks == listed.benchmarks
    assert found.experiment.sweep == listed.sweep


OTHER = [
    ({"benchmarks": ("d", "b", "a")}, "3 benchmarks: a, b, d", "3-benchmarks-a-b-d"),
    ({"benchmarks": ("d", "c", "a", "b")}, "4 benchmarks: a, b, c, d", "4-benchmarks-a-b-c-d"),
    ({"limit": 5}, "limit 5", "limit-5"),
    ({"judge": "slow"}, "judge slow", "judge-slow"),
    ({"estimators": ("constant",)}, "estimators constant", "estimators-constant"),
    ({"estimators": ("v1-grid",)}, "estimators v1-grid", "estimators-v1-grid"),
    ({"sizes": (1,)}, "k = 1", "k-1"),
    (
        {"limit": 5, "judge": "slow", "estimators": ("atc-max", "constant"), "sizes": (2,)},
        "limit 5; judge slow; estimators atc-max, constant; k = 2",
        "limit-5-judge-slow-estimators-atc-max-constant-k-2",
    ),
    # Beside a change, what is as in the file is not told.
    ({"limit": 5, "judge": "rules", "sizes": (1, 2)}, "limit 5", "limit-5"),
]


@pytest.mark.parametrize(("changes", "label", "folder"), OTHER, ids=lambda v: str(v))
def test_what_differs_stands_beside_the_files_own_results(
    changes: dict, label: str, folder: str
) -> None:
    found = asked(**changes)
    assert found.label == label
    assert found.folder == f"e/{folder}"
    assert found.title == f"e ({label})"


def test_another_first_estimator_is_a_change() -> None:
    """Its scores are those of the sweep, and its estimates those of the results."""
    found = asked(estimators=("constant", "v1-grid", "ensemble"))
    assert found.label == "estimators constant, v1-grid, ensemble"
    assert found.experiment.sweep.estimators[0] == "constant"


def test_a_long_choice_is_cut_and_told_from_others() -> None:
    names = [f"benchmark-{n:03}" for n in range(40)]
    for name in names:
        write(f"benchmarks/{name}", version=1, source={"path": "x.jsonl"})
    first, second = (asked(benchmarks=tuple(names[:n])) for n in (39, 40))
    assert first.label.startswith("39 benchmarks: benchmark-000, benchmark-001")
    assert len(Path(first.folder).name) < 120
    write("experiments/e", models=["m"], benchmarks=names[:2], sweep={"sizes": [1]})
    same_number = asked(benchmarks=tuple(names[1:]))
    assert len({first.label, second.label, same_number.label}) == 3


def test_all_changes_together_are_a_name_that_a_folder_may_have() -> None:
    names = [f"benchmark-{n:03}" for n in range(40)]
    for name in names:
        write(f"benchmarks/{name}", version=1, source={"path": "x.jsonl"})
    write(f"judges/{(judge := 'j' * 60)}", kind="rules")
    labels = set()
    for sizes in ((1, 2, 3, 4, 5, 6, 7, 8, 9), (1, 2, 3, 4, 5, 6, 7, 8)):
        found = asked(
            benchmarks=names, limit=100_000, judge=judge, sizes=sizes,
            estimators=("v1-grid", "v4-grid", "baselines", "atc-max", "constant", "ensemble"),
        )  # fmt: skip
        labels.add(found.label)
        assert len(Path(found.folder).name) <= len(found.label) < 170
    assert len(labels) == 2


def test_a_change_that_gives_no_experiment_is_told_with_its_field() -> None:
    for changes, told in (
        ({"estimators": ("forrest",)}, "e.yaml, as changed: sweep: estimators: .*'forrest'"),
        ({"sizes": (3,)}, "k = 3 leaves no unseen benchmark among 3"),
        ({"limit": 0}, "limit: .*greater than or equal to 1"),
    ):
        with pytest.raises(SentinelError, match=told):
            asked(**changes)
