"""The plan names exactly what is missing, and why; a change of conf changes the right steps."""

import dataclasses

import pyarrow as pa
import pytest

from tasks.benchmarks.questions import Questions
from tasks.conf import Decoding
from tasks.conf.choices import Request
from tasks.conf.judges import RuleJudge
from tasks.errors import SentinelError
from tasks.generation.generate import generate
from tasks.jobs import jobs_of
from tasks.planning.plan import answered, plan
from tasks.signals.profile import profile_artefact
from tasks.sweeps.compared import whole
from tasks.verdicts.stored import judge_artefact
from tests.tasks.doubles import ListedPool, items_of

COUNT = 12


@pytest.fixture
def questions() -> Questions:
    return Questions({b: items_of(b, COUNT) for b in ("alpha", "beta")}, {})


def asked(experiment, **changes) -> Request:
    changed = dataclasses.replace(experiment, **changes)
    return Request(changed, changed.models)


def run(experiment, items: dict[str, pa.Table], store, steps=("generate", "judge", "profile")):
    """Do the steps of every job, as the flow would."""
    for model in experiment.models:
        for job in jobs_of(experiment, model):
            if "generate" in steps:
                generate(job, items[job.benchmark.name], ListedPool(), store)
            if "judge" in steps:
                judge_artefact(job, items[job.benchmark.name], store)
            if "profile" in steps:
                profile_artefact(job, store)


def told(planned) -> dict[tuple[str, str], tuple[int, str]]:
    return {(s.kind, s.job): (s.missing, s.why) for s in planned.steps}


def test_an_empty_store_lacks_everything(make_experiment, questions, store) -> None:
    planned = plan(asked(make_experiment()), questions, store)
    assert told(planned) == {
        ("generate", "m / alpha"): (COUNT, "no responses yet"),
        ("judge", "m / alpha"): (COUNT, "follows new responses"),
        ("profile", "m / alpha"): (COUNT, "follows new responses"),
        ("generate", "m / beta"): (COUNT, "no responses yet"),
        ("judge", "m / beta"): (COUNT, "follows new responses"),
        ("profile", "m / beta"): (COUNT, "follows new responses"),
        ("sweep", "m"): (1, "follows new profiles or verdicts"),
    }
    assert planned.jobs == ["m / alpha", "m / beta"]
    assert planned.models == ["m"]
    assert planned.done == 0
    # Prompts of 16 or 17 letters after one of none, 8 tokens at most each.
    letters = (
        10 * len("What is twice 0?") + 2 * len("What is twice 10?") + COUNT * len("{question}")
    )
    assert planned.steps[0].tokens == round(letters / 4 + COUNT * 8)
    assert not planned.steps[0].measured


def test_a_plan_names_what_was_chosen(make_experiment, questions, store) -> None:
    request = dataclasses.replace(asked(experiment := make_experiment()), label="limit 12")
    planned = plan(request, questions, store)
    assert planned.markdown().startswith(f"**{experiment.name} (limit 12)**: 7 steps to run")


def test_what_is_done_is_not_planned(make_experiment, questions, store) -> None:
    experiment = make_experiment()
    run(experiment, questions.items, store)
    planned = plan(asked(experiment), questions, store)
    assert told(planned) == {("sweep", "m"): (1, "not swept yet")}
    assert planned.done == 6
    assert whole(experiment, experiment.models[0], questions, store).gaps == {}


def test_a_second_model_lacks_its_own_jobs_only(make_experiment, questions, store) -> None:
    experiment = make_experiment()
    run(experiment, questions.items, store)
    other = dataclasses.replace(experiment.models[0], name="n", model="org/n")
    planned = plan(asked(experiment, models=(*experiment.models, other)), questions, store)
    assert planned.jobs == ["n / alpha", "n / beta"]
    chosen = Request(dataclasses.replace(experiment, models=(*experiment.models, other)), (other,))
    planned = plan(chosen, questions, store)
    assert {s.job for s in planned.steps if s.kind in ("judge", "profile")} == set(planned.jobs)
    # The comparison is of both, and the first one was not swept yet either.
    assert told(planned)["sweep", "m"] == (1, "not swept yet")
    assert told(planned)["transfer", "between models"] == (2, "follows new profiles or verdicts")


def test_added_items_are_counted_and_their_tokens_measured(
    make_experiment, questions, store
) -> None:
    experiment = make_experiment()
    run(experiment, {b: t.slice(0, 8) for b, t in questions.items.items()}, store)
    planned = plan(asked(experiment), questions, store)
    first = planned.steps[0]
    assert (first.job, first.missing, first.total) == ("m / alpha", 4, COUNT)
    assert first.why == "items added or lost, or interrupted"
    # Stored: 1, 2, 3, 4 tokens in turn, mean 2.5; four prompts of 16 or 17 letters.
    assert first.measured
    letters = 2 * len("What is twice 8?") + 2 * len("What is twice 10?") + 4 * len("{question}")
    assert first.tokens == round(letters / 4 + 4 * 2.5)
    assert not answered(jobs_of(experiment, experiment.models[0])[0], questions, store)


CHANGES = {
    "judge": ({"judge": RuleJudge(deadline_s=9)}, "judge", "the judge changed"),
    "decoding": (
        {"decoding": Decoding(top_k=2, max_tokens=9)},
        "generate",
        "the model's settings, the decoding or the prompt changed",
    ),
}


@pytest.mark.parametrize("kind", CHANGES)
def test_the_reason_names_what_changed(make_experiment, questions, store, kind) -> None:
    experiment = make_experiment()
    run(experiment, questions.items, store)
    changes, step, why = CHANGES[kind]
    planned = plan(asked(experiment, **changes), questions, store)
    first = next(s for s in planned.steps if s.kind == step)
    assert first.why == why
    assert first.missing == COUNT
    assert ("generate" in {s.kind for s in planned.steps}) == (step == "generate")


def test_a_raised_benchmark_version_is_told_from_other_settings(
    make_experiment, questions, store
) -> None:
    experiment = make_experiment()
    run(experiment, questions.items, store)
    alpha, beta = experiment.benchmarks
    changed = (dataclasses.replace(alpha, version=2), beta)
    planned = plan(asked(experiment, benchmarks=changed), questions, store)
    assert planned.jobs == ["m / alpha"]
    assert planned.steps[0].why.startswith("the benchmark's version or source changed")


def test_an_interrupted_run_lacks_the_steps_that_follow(make_experiment, questions, store) -> None:
    experiment = make_experiment()
    run(experiment, questions.items, store, steps=("generate", "judge"))
    planned = plan(asked(experiment), questions, store)
    assert told(planned) == {
        ("profile", "m / alpha"): (COUNT, "interrupted before this step"),
        ("profile", "m / beta"): (COUNT, "interrupted before this step"),
        ("sweep", "m"): (1, "follows new profiles or verdicts"),
    }
    assert set(whole(experiment, experiment.models[0], questions, store).gaps) == {"alpha", "beta"}


def test_a_benchmark_that_cannot_be_read_is_named_and_the_other_planned(
    make_experiment, questions, store
) -> None:
    gated = Questions(
        {"alpha": questions.items["alpha"]}, {"beta": SentinelError("beta is gated", "log in")}
    )
    planned = plan(asked(make_experiment()), gated, store)
    assert planned.jobs == ["m / alpha"]
    assert planned.problems == {"beta": "beta is gated"}
    assert "beta is gated" in planned.markdown()
    assert "sweep" not in {s.kind for s in planned.steps}


def test_the_markdown_has_a_row_a_step_and_no_question(make_experiment, questions, store) -> None:
    text = plan(asked(make_experiment()), questions, store).markdown()
    assert "| generate | m / alpha | 12 of 12 responses | at most " in text
    assert "7 steps to run, 0 done already" in text
    assert "twice" not in text
