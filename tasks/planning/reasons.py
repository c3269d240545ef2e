"""Why a step of a run is missing, told from what the store holds beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from typing import Literal

from tasks.errors import SentinelError
from tasks.jobs import Job
from tasks.storage.store import Artefact, Store


def why_unanswered(job: Job, store: Store, *, some: bool) -> str:
    """Why a job lacks responses: what differs from those stored under other settings, if any are.

    ``some`` says that other items of the job are answered.
    """
    responses = job.responses(store)
    others = list(_others(responses))
    if some:
        return "items added or lost, or interrupted"
    if not others:
        return "no responses yet"
    if any(other.address in set(_kept_otherwise(job, store)) for other in others):
        return "what is kept of responses changed (store_text, keep_top_logprobs)"
    if any(_asked_alike(other, job.request_digest) for other in others):
        return "the benchmark's version or source changed, or this step's version"
    return "the model's settings, the decoding or the prompt changed"


def why_behind(
    kind: Literal["judge", "profile"], waiting: Sequence[str], artefact: Artefact
) -> str:
    """Why verdicts or profiles lack the ``waiting`` parts of stored responses."""
    if artefact.outdated(waiting):
        return "responses were answered anew"
    settled = any(set(waiting) & set(other.names()) for other in _others(artefact))
    if artefact.parts() or not settled:
        return "interrupted before this step"
    return {"judge": "the judge changed", "profile": "the profile's version changed"}[kind]


def _others(artefact: Artefact) -> Iterator[Artefact]:
    """Artefacts of the same kind, model and benchmark under other settings, with any parts."""
    folder = artefact.address.rsplit("/", 1)[0]
    for path in artefact.store.list(folder):
        other = Artefact(artefact.store, path)
        if other.address != artefact.address and other.parts():
            yield other


def _kept_otherwise(job: Job, store: Store) -> Iterator[str]:
    """Addresses of the same responses with text or top log-probabilities kept or not."""
    for text, top in product((True, False), repeat=2):
        # Fewer candidates than recorded need all of them kept, which does not matter here.
        kept = replace(job.experiment, store_text=text, keep_top_logprobs=top, profile_top_k=None)
        yield replace(job, experiment=kept).responses(store).address


def _asked_alike(other: Artefact, request_digest: str) -> bool:
    """Whether stored responses came from the same request but for the question."""
    try:
        part = other.store.read_parquet(other.parts()[0], ["request_digest"])
    except SentinelError:  # Damaged, and of other settings: it says nothing about this job.
        return False
    return bool(part["request_digest"][0].as_py() == request_digest)
