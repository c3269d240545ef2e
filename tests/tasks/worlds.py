"""An experiment in a small world: changed a field at a time, planned, and run in this process.

The run is the flows' own steps. Only the engine is stood in for; whoever runs it does so for Ray.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.benchmarks.questions import Questions
from tasks.conf import Experiment
from tasks.conf.choices import Request
from tasks.engines.contract import Prompt
from tasks.errors import SentinelError
from tasks.generation.generate import generate
from tasks.jobs import Job, jobs_of
from tasks.planning.plan import KINDS, Kind, Plan, answered, plan
from tasks.signals.profile import profile_artefact
from tasks.storage.store import Store
from tasks.sweeps import sweep as sweeps
from tasks.sweeps import transfer as transfers
from tasks.sweeps.compared import whole
from tasks.verdicts.stored import judge_artefact
from tests.tasks.doubles import ListedPool, items_of

#: Units done, by kind of step and job.
DONE = Counter[tuple[str, str]]


class Pool(ListedPool):
    """Answers each prompt, every third one wrongly; which ones depends on how it is asked."""

    def _answers(self, prompts: Sequence[Prompt]) -> pa.Table:
        table = super()._answers(prompts)
        texts = [
            "It is 1." if (int(p.item_id[1:]) + int(p.digest, 16)) % 3 == 0 else text
            for p, text in zip(prompts, table["text"].to_pylist(), strict=True)
        ]
        place = table.column_names.index("text")
        return table.set_column(place, table.field("text"), pa.array(texts, pa.string()))


@dataclass(frozen=True)
class World:
    """An experiment, the store it runs in, and how many items each benchmark has."""

    experiment: Experiment
    root: Path
    items: int = 14
    chosen: tuple[str, ...] = ()
    kinds: Collection[Kind] = KINDS
    lost: tuple[str, ...] = field(default=())

    @property
    def store(self) -> Store:
        return Store(str(self.root))

    @property
    def request(self) -> Request:
        models = self.experiment.models
        return Request(
            self.experiment, tuple(m for m in models if not self.chosen or m.name in self.chosen)
        )

    @property
    def questions(self) -> Questions:
        names = [b.name for b in self.experiment.benchmarks]
        count = min(self.items, self.experiment.limit or self.items)
        missing = {n: SentinelError(f"{n} is away", "wait") for n in names if n in self.lost}
        return Questions({n: items_of(n, count) for n in names if n not in missing}, missing)

    def having(self, **changes: object) -> World:
        """The world with some fields of its experiment changed."""
        return dataclasses.replace(self, experiment=dataclasses.replace(self.experiment, **changes))

    def model(self, **changes: object) -> World:
        """The world with the first model changed."""
        first, *others = self.experiment.models
        return self.having(models=(dataclasses.replace(first, **changes), *others))

    def benchmark(self, **changes: object) -> World:
        """The world with the first benchmark changed."""
        first, *others = self.experiment.benchmarks
        return self.having(benchmarks=(dataclasses.replace(first, **changes), *others))

    def sweep(self, **changes: object) -> World:
        return self.having(sweep=dataclasses.replace(self.experiment.sweep, **changes))

    def files(self) -> dict[str, tuple[int, int]]:
        """Every file of the store, and which writing of it this is."""
        return {
            p.relative_to(self.root).as_posix(): (p.stat().st_mtime_ns, p.stat().st_ino)
            for p in self.root.rglob("*.parquet")
        }


def run(world: World) -> tuple[DONE, set[str]]:
    """Take the steps as the flows do; returns units done by kind and job, and what failed."""
    done: DONE = Counter()
    failed = set(world.questions.problems)
    before = world.files()
    for model in world.request.chosen:
        for job in jobs_of(world.experiment, model):
            if job.benchmark.name in failed:
                continue
            try:
                done["generate", job.name] += _answer(world, job)
            except SentinelError:
                failed.add(job.name)
    _compare(world)
    for path, written in world.files().items():
        if before.get(path) == written:
            continue
        kind, *names = path.split("/")
        if kind in ("verdicts", "profiles"):
            step = {"verdicts": "judge", "profiles": "profile"}[kind]
            done[step, " / ".join(names[:2])] += pq.read_metadata(world.root / path).num_rows
        elif kind == "sweeps":
            done["sweep", names[0]] += 1
        elif kind == "transfer":
            done["transfer", "between models"] += 1
    return +done, failed


def _answer(world: World, job: Job) -> int:
    """Responses, verdicts and profiles of a job; returns how many prompts were asked."""
    items, store, pool = world.questions.items[job.benchmark.name], world.store, Pool()
    if "generate" in world.kinds:
        generate(job, items, pool, store)
    elif not answered(job, world.questions, store):
        return 0
    if "judge" in world.kinds:
        judge_artefact(job, items, store)
    if "profile" in world.kinds:
        profile_artefact(job, store)
    return len(pool.asked)


def _compare(world: World) -> None:
    joined = {}
    for model in world.experiment.models:
        try:
            found = whole(world.experiment, model, world.questions, world.store)
        except SentinelError:  # Told of the job already.
            continue
        if not found.left_out:
            joined[model.name] = found.join(world.questions.items, world.store)
            sweep = found.sweep(world.experiment.sweep)
            sweeps.sweep(joined[model.name], sweep, world.store)
    if len(joined) > 1 and world.experiment.sweep.transfer:
        transfers.transfer(joined, world.experiment.sweep, world.store)


def planned(world: World) -> Plan:
    return plan(world.request, world.questions, world.store, world.kinds)
