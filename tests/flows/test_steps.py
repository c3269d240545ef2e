"""When Prefect's record of a step is trusted: while its artefact is of the responses there are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from flows import steps
from tasks.conf import Benchmark, Decoding, Experiment, File, Model
from tasks.generation.generate import generate
from tasks.jobs import Job
from tasks.signals.profile import profile_artefact
from tasks.storage.store import Store
from tasks.verdicts.stored import judge_artefact
from tests.tasks.doubles import ListedPool, items_of

ITEMS = items_of("alpha", 6)


@pytest.fixture
def job() -> Job:
    model = Model("m", "vllm", "org/m")
    benchmarks = tuple(Benchmark(n, 1, File(f"{n}.jsonl")) for n in ("alpha", "beta"))
    experiment = Experiment(
        name="small",
        models=(model,),
        benchmarks=benchmarks,
        decoding=Decoding(top_k=2, max_tokens=8),
        sweep={"sizes": (1,), "estimators": ("constant",)},
        batch_items=3,
    )
    return Job(experiment, model, benchmarks[0])


class Submitted:
    """Stands in for a Prefect task: whether it was to be done whatever Prefect remembers."""

    def __init__(self) -> None:
        self.refresh: list[bool] = []

    def with_options(self, *, refresh_cache: bool) -> Submitted:
        self.refresh.append(refresh_cache)
        return self

    def submit(self, *_: object) -> None:
        pass


@pytest.mark.parametrize(
    ("kind", "step", "submit"),
    [
        ("verdicts", "judge_responses", lambda job, store: steps.submit_judge(job, ITEMS, store)),
        ("profiles", "profile_responses", steps.submit_profile),
    ],
    ids=["judge", "profile"],
)
def test_a_step_is_done_again_where_answers_are_new_or_its_parts_are_damaged(
    job: Job,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    step: str,
    submit: Callable[[Job, Store], object],
) -> None:
    store = Store(str(tmp_path))
    monkeypatch.setattr(steps, step, task := Submitted())

    def follow() -> None:
        judge_artefact(job, ITEMS, store)
        profile_artefact(job, store)

    generate(job, ITEMS, ListedPool(), store)
    submit(job, store)
    follow()
    submit(job, store)
    store.delete(job.responses(store).parts()[1])
    generate(job, ITEMS, ListedPool(), store)
    submit(job, store)
    follow()
    submit(job, store)
    store.write_bytes(getattr(job, kind)(store).parts()[0], b"PAR1 and then nothing")
    submit(job, store)
    assert task.refresh == [True, False, True, False, True]
