"""One model x benchmark job, and the addresses of what it leaves behind."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pyarrow as pa

from tasks.conf import Benchmark, Experiment, Judge, Model
from tasks.judging.settings import asked, settings
from tasks.storage.keys import (
    digest,
    judgements_key,
    profiles_key,
    prompt_of,
    request_digest,
    responses_key,
    verdicts_key,
)
from tasks.storage.store import Artefact, Store


@dataclass(frozen=True)
class Job:
    """Responses of one model to the items of one benchmark, their verdicts and profiles."""

    experiment: Experiment
    model: Model
    benchmark: Benchmark

    @property
    def name(self) -> str:
        """What people see, as in ``smollm2-135m / gsm8k``."""
        return f"{self.model.name} / {self.benchmark.name}"

    @property
    def key(self) -> str:
        """Hash of all that determines the responses."""
        return responses_key(self.experiment, self.model, self.benchmark)

    @property
    def prompt(self) -> str:
        """Prompt template with its ``{question}``."""
        return prompt_of(self.experiment, self.benchmark)

    @property
    def request_digest(self) -> str:
        """Hash of what is asked besides the question."""
        return request_digest(self.model, self.experiment.decoding, self.prompt)

    @property
    def profile_k(self) -> int:
        """Candidates a token that the statistics are over."""
        return self.experiment.profile_top_k or self.experiment.decoding.top_k

    def responses(self, store: Store) -> Artefact:
        """Responses with their traces."""
        return self._artefact(store, "responses", self.key)

    def verdicts(self, store: Store) -> Artefact:
        """Verdicts of the experiment's judge, made from the responses part by part."""
        return self._verdicts(store, self.experiment.judge)

    def rule_verdicts(self, store: Store) -> Artefact:
        """Verdicts of the rules alone: a chain's first link, shared with judging by rules.

        Raises
        ------
        ValueError
            If the experiment's judge applies no rules.
        """
        rules = self.experiment.judge.rules
        if rules is None:
            raise ValueError(f"{self.name}: the judge applies no rules")
        return self._verdicts(store, rules)

    def judgements(self, store: Store) -> Artefact:
        """What a model judge said about the responses, and what it cost.

        Raises
        ------
        ValueError
            If the experiment's judge asks no model.
        """
        llm = self.experiment.judge.llm
        if llm is None:
            raise ValueError(f"{self.name}: the judge asks no model")
        key = judgements_key(self.key, asked(llm) | self._quiet)
        return self._artefact(store, "judgements", key)

    def profiles(self, store: Store) -> Artefact:
        """Statistics of the traces, made from the responses part by part."""
        return self._made(store, "profiles", profiles_key(self.key, self.profile_k))

    def _verdicts(self, store: Store, judge: Judge) -> Artefact:
        about = settings(judge) | self._quiet
        return self._made(store, "verdicts", verdicts_key(self.key, self.benchmark, about))

    @property
    def quiet(self) -> bool:
        """Whether no word of items and answers is stored: numbers only, or not to be shown.

        A response quotes its question, so that of a hidden item is dropped once it is judged.
        """
        return not (self.benchmark.show_items and self.experiment.store_text)

    @property
    def _quiet(self) -> dict[str, bool]:
        """Verdicts on items that must not be shown quote nothing; others may."""
        return {} if self.benchmark.show_items else {"show_items": False}

    def _made(self, store: Store, kind: str, key: str) -> Artefact:
        return replace(self._artefact(store, kind, key), source=self.responses(store))

    def _artefact(self, store: Store, kind: str, key: str) -> Artefact:
        return store.artefact(kind, self.model.name, self.benchmark.name, key)


def items_digest(items: pa.Table) -> str:
    """Digest of which items a job is asked for."""
    return digest(sorted(items["item_id"].to_pylist()))


def jobs_of(experiment: Experiment, model: Model) -> list[Job]:
    """The jobs of one model, in the order of the benchmarks."""
    return [Job(experiment, model, benchmark) for benchmark in experiment.benchmarks]
