"""Names of runs in Prefect say what was chosen in the form."""

from types import SimpleNamespace

import pytest

import flows.again
import flows.experiment

PATH = "conf/experiments/sums.yaml"
EMPTY = {
    "models": (),
    "benchmarks": (),
    "limit": None,
    "estimators": (),
    "sizes": (),
    "judge": None,
}

NAMES = [
    ("experiment", EMPTY, "experiment sums: all models"),
    ("experiment", EMPTY | {"models": ("a", "b")}, "experiment sums: a, b"),
    (
        "experiment",
        EMPTY | {"models": ("a",), "limit": 5, "judge": "grader"},
        "experiment sums: a (limit 5; judge grader)",
    ),
    ("rejudge", {"judge": "grader"}, "rejudge sums: all models (judge grader)"),
    (
        "sweep",
        {"sizes": (1, 2), "estimators": ("v1-grid",), "benchmarks": ["x", "y"]},
        "sweep sums: all models (2 benchmarks: x, y; estimators v1-grid; k = 1, 2)",
    ),
    ("report", {"estimator": None}, "report sums"),
    ("report", {"estimator": "constant"}, "report sums (constant)"),
    # What an event lacks that starts a run.
    ("experiment", EMPTY | {"path": "", "models": ("a",)}, "experiment without an experiment: a"),
    ("experiment", EMPTY | {"models": ("",)}, "experiment sums: no name"),
]


@pytest.mark.parametrize(("flow", "given", "name"), NAMES, ids=[name for *_, name in NAMES])
def test_a_run_is_named_by_what_was_chosen(
    flow: str, given: dict, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = SimpleNamespace(flow_name=flow, parameters={"path": PATH} | given)
    for module in (flows.experiment, flows.again):
        monkeypatch.setattr(module, "flow_run", running)
    made = {f.name: f.flow_run_name for f in (flows.experiment.experiment, flows.again.rejudge,
                                              flows.again.sweep, flows.again.report)}  # fmt: skip
    assert made[flow]() == name
