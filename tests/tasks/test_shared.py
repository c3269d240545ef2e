"""Models that lack benchmarks: what each is swept over, and what all are compared over."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from estimators.table import FeatureTable
from tasks.benchmarks.questions import Questions
from tasks.conf import Model
from tasks.errors import SentinelError
from tasks.generation.generate import generate
from tasks.jobs import jobs_of
from tasks.signals.features import Joined
from tasks.signals.profile import profile_artefact
from tasks.sweeps.compared import whole
from tasks.sweeps.results import results
from tasks.sweeps.shared import over, shared_benchmarks
from tasks.sweeps.sweep import fitting
from tasks.verdicts.stored import judge_artefact
from tests.tasks.doubles import ListedPool, items_of
from tests.tasks.tracked import benchmarks, joined, splits

NAMES = ("a", "b", "c", "d")
COUNT = 12
#: Names of estimators that look at other benchmarks in no way, and one that fits.
ESTIMATORS = ("logistic-isotonic", "atc-max", "constant")


def without(one: Joined, name: str) -> Joined:
    """The same rows but for one benchmark."""
    table = one.table
    left = [b for b in table.benchmarks if b != name]
    kept = table.group != table.benchmarks.index(name)
    names = np.array(table.benchmarks)[table.group[kept]]
    group = np.array([left.index(n) for n in names])
    cut = FeatureTable(
        table.model, tuple(left), table.features, table.X[kept], table.y[kept], group
    )
    return Joined(cut, ())


def test_scores_over_shared_benchmarks_are_those_of_a_sweep_over_them_alone() -> None:
    one = joined("m", benchmarks=NAMES)
    keys = ["estimator", "composition"]
    wide, alone = (
        frame.assign(composition=frame["composition"].str.join("+")).sort_values(
            keys, ignore_index=True
        )
        for frame in (
            over(splits(one, (1, 2), ESTIMATORS), ("a", "c", "d")).to_pandas(),
            splits(without(one, "b"), (1, 2), ESTIMATORS).to_pandas(),
        )
    )
    assert len(wide) == 3 * (3 + 3)
    for column in (*keys, "k", "n_train"):
        assert wide[column].tolist() == alone[column].tolist()
    for column in ("aee_unseen", "rho_unseen", "aee_all", "rho_all"):
        np.testing.assert_array_equal(wide[column], alone[column])
    for column in ("benchmarks", "estimate", "truth"):
        assert [list(v) for v in wide[column]] == [list(v) for v in alone[column]]
    assert wide[["auroc_unseen", "ece_unseen", "auroc_all", "ece_all"]].isna().all(axis=None)


def test_what_is_shared() -> None:
    full, part = joined("m", benchmarks=NAMES), joined("n", benchmarks=("a", "d"))
    other = joined("o", benchmarks=("b", "c"))
    assert shared_benchmarks({"m": full}) is None
    assert shared_benchmarks({"m": full, "n": joined("n", benchmarks=NAMES)}) is None
    assert shared_benchmarks({"m": full, "n": part}) == ("a", "d")
    assert shared_benchmarks({"n": part, "o": other}) == ()
    assert len(over(splits(full), ())) == len(over(splits(full), ("a",))) == 0


def test_results_say_what_models_are_compared_over() -> None:
    full, part = joined("m", benchmarks=NAMES), joined("n", benchmarks=("a", "d"))
    tables = {"m": full, "n": part}
    rows = {m: splits(one, (1,)) for m, one in tables.items()}
    found = results(rows, tables, "constant", 42)
    text = found.text()
    assert "Over a, d, which all models have:" in text
    assert found.compared["compositions"].tolist() == [2] * 4
    # What a model has is shown of it, shared or not.
    assert set(found.estimates.query("model == 'm'")["benchmark"]) == set(NAMES)
    assert "auroc" not in text.split("which all models have")[1]
    apart = {"n": part, "o": joined("o", benchmarks=("b", "c"))}
    told = results({m: splits(one, (1,)) for m, one in apart.items()}, apart, "constant", 42).text()
    assert "No two benchmarks are shared by all models" in told
    same = results({"m": rows["m"]}, {"m": full}, "constant", 42)
    assert "which all models have" not in same.text()


@pytest.fixture
def experiment(make_experiment):
    models = (Model("m", "vllm", "org/m"), Model("n", "vllm", "org/n"))
    return make_experiment(models=models, benchmarks=benchmarks(NAMES[:3]), sweep={"sizes": (1, 2)})


@pytest.fixture
def questions() -> Questions:
    return Questions({b: items_of(b, COUNT) for b in NAMES[:3]}, {})


def answer(experiment, model: Model, items, store, *names: str) -> None:
    for job in jobs_of(experiment, model):
        if job.benchmark.name in names:
            generate(job, items[job.benchmark.name], ListedPool(), store)
            judge_artefact(job, items[job.benchmark.name], store)
            profile_artefact(job, store)


def test_a_model_is_compared_over_the_benchmarks_it_has_whole(experiment, questions, store) -> None:
    m, n = experiment.models
    answer(experiment, m, questions.items, store, "a", "b", "c")
    answer(experiment, n, questions.items, store, "a", "c")
    # A benchmark answered in part is missing, however many of its items are there.
    answer(experiment, n, {"b": questions.items["b"].slice(0, COUNT - 1)}, store, "b")
    full, part = (whole(experiment, model, questions, store) for model in experiment.models)
    assert (full.left_out, dict(full.gaps)) == ("", {})
    assert full.join(questions.items, store).notes == join_notes(experiment, m, questions, store)
    assert full.sweep(experiment.sweep) == experiment.sweep
    assert part.left_out == ""
    assert dict(part.gaps) == {"b": f"1 of {COUNT} items not answered"}
    table = part.join(questions.items, store)
    assert table.table.benchmarks == ("a", "c")
    assert table.notes[0] == (
        f"compared over 2 benchmarks only; missing: b (1 of {COUNT} items not answered)"
    )
    # Two training benchmarks would leave none unseen.
    assert part.sweep(experiment.sweep).sizes == (1,)


def join_notes(experiment, model: Model, questions, store) -> tuple[str, ...]:
    from tasks.signals.features import join_jobs

    return join_jobs(jobs_of(experiment, model), questions.items, store).notes


def test_items_that_cannot_be_read_are_missing_for_every_model(
    experiment, questions, store
) -> None:
    for model in experiment.models:
        answer(experiment, model, questions.items, store, "a", "b")
    gated = Questions(
        {b: questions.items[b] for b in "ab"}, {"c": SentinelError("c is gated", "log in")}
    )
    for model in experiment.models:
        found = whole(experiment, model, gated, store)
        assert dict(found.gaps) == {"c": "its items cannot be read"}
        assert found.join(gated.items, store).table.benchmarks == ("a", "b")


def test_a_model_with_one_whole_benchmark_is_left_out(experiment, questions, store) -> None:
    answer(experiment, experiment.models[0], questions.items, store, "a")
    found = whole(experiment, experiment.models[0], questions, store)
    assert found.left_out == (
        "1 benchmark whole, two are needed; missing: b (12 of 12 items not answered), "
        "c (12 of 12 items not answered)"
    )


def test_sizes_that_leave_nothing_unseen_go(make_experiment) -> None:
    settings = dataclasses.replace(make_experiment().sweep, sizes=(1, 2, 3))
    assert fitting(settings, 3).sizes == (1, 2)
    assert fitting(dataclasses.replace(settings, sizes=(3,)), 2).sizes == (1,)
