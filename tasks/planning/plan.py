"""What a run of an experiment would do and why, told from the store before anything starts."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import pyarrow as pa
import pyarrow.compute as pc

from tasks.benchmarks.questions import Questions
from tasks.conf import Experiment, Model
from tasks.conf.choices import Request
from tasks.errors import SentinelError
from tasks.jobs import Job, jobs_of
from tasks.planning.reasons import why_behind, why_unanswered
from tasks.signals.features import Joined
from tasks.storage.store import Artefact, Store
from tasks.sweeps.compared import Whole
from tasks.sweeps.sweep import count_pieces, missing_pieces
from tasks.sweeps.transfer import missing_pairs
from tasks.verdicts.stored import not_kept, unjudged

Kind = Literal["generate", "judge", "profile", "sweep", "transfer"]

#: Steps of a whole run, in their order.
KINDS: tuple[Kind, ...] = get_args(Kind)

#: Steps of the comparison that every run ends with, which is of all models that are complete then.
COMPARISON: tuple[Kind, ...] = ("sweep", "transfer")

_UNITS: dict[Kind, str] = {
    "generate": "responses",
    "judge": "responses",
    "profile": "traces",
    "sweep": "pieces",
    "transfer": "pairs",
}
_FOLLOWS = "follows new profiles or verdicts"

#: Characters a token of English text, for prompts that no tokenizer has seen.
_CHARACTERS_A_TOKEN = 4


@dataclass(frozen=True)
class Step:
    """One piece of work: ``missing`` of ``total`` units, and why.

    ``job`` is ``MODEL / BENCHMARK``, or the model of a sweep. Responses are judged and profiled by
    stored parts, so ``missing`` may exceed the items asked for. ``tokens`` is what a generation
    reads and writes: by the mean of this job's stored responses where there are any
    (``measured``), else up to the limit of the decoding. A sweep that follows other steps is needed
    ``at_most``: where new responses or verdicts give the numbers of before, it is found done.
    """

    kind: Kind
    job: str
    missing: int
    total: int
    why: str
    tokens: int = 0
    measured: bool = False
    at_most: bool = False


@dataclass(frozen=True)
class Plan:
    """The steps that a run would take, those that it would find done, and what it cannot do.

    ``experiment`` is its name, with the label of the run where there is one.
    """

    experiment: str
    steps: tuple[Step, ...]
    done: int
    problems: Mapping[str, str]

    @property
    def jobs(self) -> list[str]:
        """Names of the model x benchmark jobs that lack responses."""
        return [s.job for s in self.steps if s.kind == "generate"]

    @property
    def models(self) -> list[str]:
        """Names of the models that any step is about, but for the transfer between them."""
        named = (s.job.split(" / ")[0] for s in self.steps if s.kind != "transfer")
        return list(dict.fromkeys(named))

    @property
    def tokens(self) -> int:
        """Estimated tokens of all generations, read and written."""
        return sum(s.tokens for s in self.steps)

    @property
    def _about(self) -> str:
        return "about" if all(s.measured for s in self.steps if s.tokens) else "at most"

    def rows(self) -> list[dict[str, str]]:
        """The steps as rows of a table for people."""
        return [
            {
                "step": s.kind,
                "job": s.job,
                "missing": f"{'at most ' * s.at_most}{s.missing:,} of {s.total:,} {_UNITS[s.kind]}",
                "tokens": f"{'about' if s.measured else 'at most'} {s.tokens:,}" * bool(s.tokens),
                "why": s.why,
            }
            for s in self.steps
        ]

    def markdown(self) -> str:
        """The plan for a page or a terminal."""
        head = (
            f"**{self.experiment}**: {len(self.steps)} steps to run, {self.done} done already"
            f"{f'; tokens: {self._about} {self.tokens:,}' if self.tokens else ''}.\n"
        )
        lines = [f"- not possible: {name}: {told}" for name, told in self.problems.items()]
        if rows := self.rows():
            lines += ["", "| " + " | ".join(rows[0]) + " |", "|" + "---|" * len(rows[0])]
            lines += ["| " + " | ".join(row.values()) + " |" for row in rows]
        return "\n".join([head, *lines])


def plan(
    request: Request, questions: Questions, store: Store, kinds: Collection[Kind] = KINDS
) -> Plan:
    """What a run of the chosen models would do; nothing is written or computed.

    Steps follow each other as they would run: what has to be generated has to be judged and
    profiled too, and a model with any of it missing is swept anew. A model that was not chosen is
    swept where it is complete and its sweep is not.

    Parameters
    ----------
    kinds : collection of kinds
        Steps that the run takes on the chosen models; what others would do stays as it is, and a
        model that needs them is not compared.
    """
    planner = _Planner(request.experiment, questions, store)
    for model in request.experiment.models:
        planner.model(model, kinds if model in request.chosen else COMPARISON)
    planner.transfer()
    return Plan(request.title, tuple(planner.steps), planner.done, planner.problems)


def answered(job: Job, questions: Questions, store: Store) -> bool:
    """Whether all responses of a job are stored; False where its items cannot be had."""
    items = questions.items.get(job.benchmark.name)
    return items is not None and set(items["item_id"].to_pylist()) <= job.responses(store).done()


class _Planner:
    """Collects the steps of a run, model by model."""

    def __init__(self, experiment: Experiment, questions: Questions, store: Store) -> None:
        self._experiment, self._questions, self._store = experiment, questions, store
        self._compared: dict[str, Joined | None] = {}
        self.steps: list[Step] = []
        self.done = 0
        self.problems = {name: error.problem for name, error in questions.problems.items()}

    def model(self, model: Model, kinds: Collection[Kind]) -> None:
        """Add the steps of one model; those of a model that was not chosen are its sweep alone."""
        ready: list[Job] = []
        gaps, now, readable = {}, True, True
        for job in jobs_of(self._experiment, model):
            name = job.benchmark.name
            if (items := self._questions.items.get(name)) is None:
                gaps[name] = "its items cannot be read"
                continue
            try:
                steps = list(self._of_job(job, items))
            except SentinelError as error:  # A damaged part.
                self.problems[job.name] = error.problem
                readable = False
                continue
            untaken = next((n for n, s in enumerate(steps) if not self._taken(s, kinds)), None)
            for step in steps[:untaken]:
                self._add(step, step.kind in kinds)
            if untaken is None:
                ready.append(job)
                now = now and not any(step.missing for step in steps)
            else:
                gaps[name] = "not whole"
        whole = Whole(tuple(ready), gaps)
        if readable and not whole.left_out:
            self._sweep(model.name, whole, now)

    def transfer(self) -> None:
        """Add the transfer between the models that are compared; call it last."""
        settings = self._experiment.sweep
        if len(self._compared) < 2 or not settings.transfer:
            return
        try:
            missing, total = missing_pairs(self._compared, settings, self._store)
        except SentinelError as error:
            self.problems["transfer between models"] = error.problem
            return
        new = None in self._compared.values()
        why = _FOLLOWS if new else "models, estimators or rows changed"
        step = Step("transfer", "between models", missing, total, why if missing else "")
        self._add(replace(step, at_most=new))

    def _add(self, step: Step, taken: bool = True) -> None:
        if step.missing:
            self.steps.append(step)
        elif taken:
            self.done += 1

    def _taken(self, step: Step, kinds: Collection[Kind]) -> bool:
        """Whether the run takes a step, or finds it done."""
        return not step.missing or (step.kind in kinds and step.job not in self.problems)

    def _of_job(self, job: Job, items: pa.Table) -> Iterator[Step]:
        """The steps of one job, done or not; one that cannot be judged becomes a problem."""
        store = self._store
        responses, profiles = job.responses(store), job.profiles(store)
        generation = _generation(job, items, store)
        yield generation
        yield _follow("profile", generation, profiles.lacking(responses), responses, profiles)
        waiting = unjudged(job, items, store)
        if obstacle := not_kept(job, store, waiting):
            self.problems[job.name] = obstacle.problem
        yield _follow("judge", generation, waiting, responses, job.verdicts(store))

    def _sweep(self, name: str, whole: Whole, now: bool) -> None:
        settings, store = whole.sweep(self._experiment.sweep), self._store
        if not now:
            pieces = count_pieces([job.benchmark.name for job in whole.jobs], settings)
            self._compared[name] = None
            self._add(Step("sweep", name, pieces, pieces, _FOLLOWS, at_most=True))
            return
        try:
            joined = whole.join(self._questions.items, store)
            missing, total = missing_pieces(joined, settings, store)
        except SentinelError as error:
            self.problems[f"sweep of {name}"] = error.problem
            return
        self._compared[name] = joined
        before = store.list(f"sweeps/{name}")
        why = "estimators, sizes or rows changed" if before else "not swept yet"
        self._add(Step("sweep", name, missing, total, why if missing else ""))


def _generation(job: Job, items: pa.Table, store: Store) -> Step:
    there = job.responses(store).done() & set(items["item_id"].to_pylist())
    total, missing = len(items), len(items) - len(there)
    why, tokens, mean = "", 0, None
    if missing:
        stored = job.responses(store).read(["n_tokens"])
        mean = None if stored is None else pc.mean(stored["n_tokens"]).as_py()
        why = why_unanswered(job, store, some=bool(there))
        asked = items.filter(
            pc.invert(pc.is_in(items["item_id"], value_set=pa.array(sorted(there), pa.string())))
        )
        letters = pc.sum(pc.utf8_length(asked["question"])).as_py() + missing * len(job.prompt)
        limit = job.experiment.decoding.max_tokens
        tokens = round(letters / _CHARACTERS_A_TOKEN + missing * (mean or limit))
    return Step("generate", job.name, missing, total, why, tokens, mean is not None)


def _follow(
    kind: Literal["judge", "profile"],
    generation: Step,
    waiting: Sequence[str],
    responses: Artefact,
    artefact: Artefact,
) -> Step:
    """The step after a generation: over new responses, and the ``waiting`` parts of stored ones."""
    left = len(set().union(*(responses.ids(name) for name in waiting)))
    missing = left + generation.missing
    why = ""
    if left:
        why = why_behind(kind, waiting, artefact)
    elif generation.missing:
        why = "follows new responses"
    return Step(kind, generation.job, missing, max(generation.total, missing), why)
