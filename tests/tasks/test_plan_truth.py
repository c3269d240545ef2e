"""What the plan says is what a run then does: after every change, in numbers of rows and files.

The run is the flows' own steps, in one process: engines and Ray tasks are stood in for, everything
else is real. What was done is read from the engine's calls and the files that were written.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.conf import Benchmark, Decoding, Endpoint, Experiment, File, Model, Sweep
from tasks.conf.judges import RuleJudge
from tasks.generation.generate import generate
from tasks.jobs import jobs_of
from tasks.planning.plan import COMPARISON, KINDS, Kind
from tasks.storage.store import Store
from tasks.sweeps import sweep as sweeps
from tasks.sweeps import transfer as transfers
from tasks.verdicts.stored import judge_artefact
from tests.tasks.worlds import DONE, Pool, World, planned, run

NAMES = ("alpha", "beta", "gamma")


def holds(world: World) -> DONE:
    """Check the plan against the run, and that nothing is left to plan; returns what was done."""
    before = planned(world)
    did, failed = run(world)
    said = Counter({(s.kind, s.job): s.missing for s in before.steps})
    bounds = {(s.kind, s.job) for s in before.steps if s.at_most}
    assert {k: n for k, n in did.items() if k not in bounds} == {
        k: n for k, n in said.items() if k not in bounds
    }
    assert did <= said
    assert set(before.problems) == failed
    if not failed and world.kinds is KINDS:
        assert planned(world).steps == ()
    return did


@pytest.fixture(scope="module", autouse=True)
def without_ray():
    """Run Ray's tasks where they are submitted."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (sweeps, transfers):
            patch.setattr(module.ray, "put", lambda value: value)
            patch.setattr(module, "_evaluate", Inline(module._evaluate._function))
            patch.setattr(module, "compute_pieces", Inline.store)
        yield


class Inline:
    """Stands in for a remote function."""

    def __init__(self, function: Callable[..., bytes]) -> None:
        self.function = function

    def options(self, **_: object) -> Inline:
        return self

    def remote(self, *arguments: object) -> Callable[[], bytes]:
        return lambda: self.function(*arguments)

    @staticmethod
    def store(tasks: dict, store: Store, in_all: int, progress: object) -> None:
        for task, file in tasks.items():
            store.write_bytes(file, task())


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> World:
    """Two models, three benchmarks, everything done."""
    world = World(
        Experiment(
            name="small",
            models=tuple(Model(n, "vllm", f"org/{n}") for n in ("m", "n")),
            benchmarks=tuple(Benchmark(n, 1, File(f"{n}.jsonl")) for n in NAMES),
            decoding=Decoding(top_k=2, max_tokens=8),
            sweep=Sweep(sizes=(1,), estimators=("constant",), transfer=("constant",)),
            batch_items=5,
            limit=12,
        ),
        tmp_path_factory.mktemp("plan") / "root",
    )
    did = holds(world)
    assert did["generate", "m / alpha"] == 12
    assert did["transfer", "between models"] == 2
    return world


@pytest.fixture
def world(finished: World, tmp_path: Path) -> World:
    shutil.copytree(finished.root, tmp_path / "copy")
    return dataclasses.replace(finished, root=tmp_path / "copy")


def part(world: World, kind: str, number: int = 0) -> Path:
    """A stored part of the first job."""
    job = jobs_of(world.experiment, world.experiment.models[0])[0]
    artefact = getattr(job, kind)(world.store)
    return world.root / artefact.parts()[number]


def deleted(kind: str) -> Callable[[World], World]:
    def change(world: World) -> World:
        parts = sorted((world.root / kind / "m").rglob("*.parquet"))
        if parts:
            parts[0].unlink()
        return world

    return change


def added(*names: str) -> Callable[[World], World]:
    def change(world: World) -> World:
        known = {m.name for m in world.experiment.models}
        new = tuple(Model(n, "vllm", f"org/{n}") for n in names if n not in known)
        return dataclasses.replace(
            world.having(models=(*world.experiment.models, *new)), chosen=names
        )

    return change


def answered_anew(world: World) -> World:
    """Another experiment loses a part of the responses it shares, and answers and judges it."""
    other = world.having(judge=RuleJudge(deadline_s=9))
    job = jobs_of(other.experiment, other.experiment.models[0])[0]
    part(world, "responses").unlink()
    generate(job, other.questions.items[job.benchmark.name], Pool(), other.store)
    judge_artefact(job, other.questions.items[job.benchmark.name], other.store)
    return world


REMOTE = Endpoint("http://127.0.0.1:1/v1", None)

ANSWERS: set[Kind] = {"generate", "judge", "profile"}

#: Every change, and which kinds of steps it makes necessary for the first model. Where answers or
#: verdicts change, a sweep and a transfer may follow.
CHANGES: dict[str, tuple[Callable[[World], World], set[Kind]]] = {
    "nothing": (lambda w: w, set()),
    "limit raised": (lambda w: w.having(limit=14), set(KINDS)),
    "limit lowered": (lambda w: w.having(limit=11), {"sweep", "transfer"}),
    "prompt": (lambda w: w.having(prompt="Please: {question}"), ANSWERS),
    "judge": (lambda w: w.having(judge=RuleJudge(deadline_s=9)), {"judge"}),
    "version": (lambda w: w.benchmark(version=2), ANSWERS),
    "tolerance": (lambda w: w.benchmark(tolerance=0.1), {"judge"}),
    "decoding": (lambda w: w.having(decoding=Decoding(top_k=2, max_tokens=9)), ANSWERS),
    "revision": (lambda w: w.model(revision="abc"), ANSWERS),
    "engine": (lambda w: w.model(engine="openai", endpoint=REMOTE), ANSWERS),
    "speed": (lambda w: w.model(options={"max_num_seqs": 4}).having(batch_items=3), set()),
    "name": (lambda w: w.having(name="other"), set()),
    "estimators": (lambda w: w.sweep(estimators=("constant", "atc-max")), {"sweep"}),
    "sizes": (lambda w: w.sweep(sizes=(1, 2)), {"sweep"}),
    "seed": (lambda w: w.sweep(seed=7), {"sweep", "transfer"}),
    "transfer": (lambda w: w.sweep(transfer=("constant", "atc-max")), {"transfer"}),
    "no transfer": (lambda w: w.sweep(transfer=()), set()),
    "text": (lambda w: w.having(store_text=False), ANSWERS),
    "responses deleted": (deleted("responses"), ANSWERS),
    "responses answered anew": (answered_anew, {"judge", "profile"}),
    "verdicts deleted": (deleted("verdicts"), {"judge"}),
    "profiles deleted": (deleted("profiles"), {"profile"}),
    "sweep deleted": (deleted("sweeps"), {"sweep"}),
    "transfer deleted": (deleted("transfer"), {"transfer"}),
    "model added": (added("o"), {"transfer"}),
    "model chosen": (lambda w: dataclasses.replace(w, chosen=("n",)), set()),
    "benchmark away": (
        lambda w: dataclasses.replace(w, lost=("gamma",)),
        {"sweep", "transfer"},
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_after_one_change(world: World, name: str) -> None:
    change, kinds = CHANGES[name]
    did = holds(change(world))
    first = {kind for kind, job in did if job.split(" / ")[0] in ("m", "between models")}
    assert kinds <= first <= (kinds | set(COMPARISON) if kinds & ANSWERS else kinds)


@settings(max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(sorted(CHANGES)), min_size=2, max_size=4, unique=True))
def test_after_several_changes_one_on_another(finished: World, tmp_path_factory, names) -> None:
    root = tmp_path_factory.mktemp("changes") / "root"
    shutil.copytree(finished.root, root)
    world = dataclasses.replace(finished, root=root)
    for name in names:
        world = CHANGES[name][0](world)
    holds(world)
    assert holds(world) == {}  # Nothing is left for a second run.


def test_an_added_model_is_all_that_is_paid_for(world: World) -> None:
    """Three jobs of twelve items, one sweep, and its transfer from and to both others."""
    assert holds(added("o")(world)) == {
        **{(kind, f"o / {name}"): 12 for kind in ANSWERS for name in NAMES},
        ("sweep", "o"): 1,
        ("transfer", "between models"): 4,
    }


def test_what_was_not_chosen_is_compared_as_well(world: World) -> None:
    """New estimators and a new model: the run of that model sweeps all of them anew."""
    did = holds(added("o")(world).sweep(estimators=("constant", "atc-max")))
    assert {job for kind, job in did if kind == "sweep"} == {"m", "n", "o"}
    assert {job.split(" / ")[0] for kind, job in did if kind in ANSWERS} == {"o"}


def test_a_lower_limit_keeps_another_judge_to_the_parts_it_needs(world: World) -> None:
    """Ten items asked for, in parts of five and two: the last part is not judged."""
    changed = world.having(judge=RuleJudge(deadline_s=9), limit=10)
    assert holds(changed)["judge", "m / alpha"] == 10
    assert holds(changed.having(limit=12))["judge", "m / alpha"] == 2


def test_answers_given_anew_are_judged_and_profiled_anew(world: World) -> None:
    """The part of a deleted one has its name, and nothing said of the old answers is left."""
    job = jobs_of(world.experiment, world.experiment.models[0])[0]
    kinds = ("responses", "verdicts", "profiles")
    before = {kind: part(world, kind).stat().st_mtime_ns for kind in kinds}
    part(world, "responses").unlink()
    did = holds(world)
    assert [did[kind, job.name] for kind in ("generate", "judge", "profile")] == [5, 5, 5]
    assert all(part(world, kind).stat().st_mtime_ns > before[kind] for kind in kinds)


def test_a_damaged_part_is_told_and_leaves_the_other_model_alone(world: World) -> None:
    part(world, "responses").write_bytes(b"PAR1 and then nothing")
    changed = world.having(limit=14)
    before = planned(changed)
    assert set(before.problems) == {"m / alpha"}
    assert "is damaged" in before.problems["m / alpha"]
    did = holds(changed)
    assert did["generate", "n / alpha"] == did["generate", "m / beta"] == 2
    assert did["sweep", "n"] == 1
    assert ("sweep", "m") not in did


def test_texts_that_were_not_kept_cannot_be_judged_anew(world: World) -> None:
    silent = world.having(store_text=False)
    holds(silent)
    changed = silent.having(judge=RuleJudge(deadline_s=9))
    assert "were not kept" in planned(changed).problems["m / alpha"]
    assert holds(changed) == {}


@pytest.mark.parametrize("kinds", [("judge", *COMPARISON), COMPARISON], ids=["rejudge", "sweep"])
def test_runs_that_generate_nothing(world: World, kinds: tuple[Kind, ...]) -> None:
    """One model lacks responses to a benchmark: it is judged and compared over the others."""
    part(world, "responses").unlink()
    changed = world.having(judge=RuleJudge(deadline_s=9)).sweep(seed=7)
    did = holds(dataclasses.replace(changed, kinds=kinds))
    judged = {job for kind, job in did if kind == "judge"}
    if "judge" in kinds:
        assert judged == {"m / beta", "m / gamma", "n / alpha", "n / beta", "n / gamma"}
        assert did["sweep", "n"] == did["sweep", "m"] == 1
    else:
        assert did == {}
