"""Verdicts on stored responses, part by part: a changed judge re-judges and never regenerates.

What a model judge says is stored apart from the verdicts (``Judgement``, with tokens and money), so
it is paid for once: by another link of a chain, a larger sample or more attempts it is found again.

Where no text is kept, verdicts travel in the file of the responses they are about, which is written
whole or not at all. So whatever becomes of a run, and however many run at once, a verdict never
meets another response than the one it was given on.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from tasks.errors import SentinelError
from tasks.jobs import Job
from tasks.judging.asking import NOTHING, Spending
from tasks.records import KEY, Verdict, from_table, to_table
from tasks.storage.store import Artefact, Store
from tasks.verdicts.judge import Judged, judge_by_model, judge_table

Progress = Callable[[int, int], None]

# Of a Parquet file of responses without text: the verdicts on what the texts were.
_VERDICTS = b"sentinel.verdicts"

#: In place of a server's words about a request it refused, which may quote the question.
NOT_KEPT = "the endpoint refused the request; its words are not kept"


@dataclass(frozen=True)
class Judging:
    """What judging a job did: verdicts added, and what was asked of a model for them."""

    added: int
    spending: Spending = NOTHING

    def __str__(self) -> str:
        """As in ``64 responses judged; 12 asked of the model, ...``."""
        asked = f"; {self.spending}" if self.spending.asked else ""
        return f"{self.added} responses judged{asked}"


def judge_artefact(
    job: Job, items: pa.Table, store: Store, progress: Progress | None = None
) -> Judging:
    """Judge the stored parts that hold any of ``items`` and have no verdicts yet.

    Parameters
    ----------
    progress : callable, optional
        Called with (done, total): parts for rules, responses put to the model otherwise.

    Raises
    ------
    EndpointError
        If a model judge could not be asked. What it said until then, and every part that is
        complete, is stored; a rerun asks only for the rest.
    SentinelError
        If the experiment keeps no text: its responses were judged when they were generated, and
        cannot be judged again by other settings.
    """
    judge, verdicts = job.experiment.judge, job.verdicts(store)
    if job.quiet:
        names = unjudged(job, items, store)
        added = sum(settle(job, store, name) for name in names)
        if obstacle := not_kept(job, store, names):
            raise obstacle
        return Judging(added)
    if judge.llm is None:
        return Judging(_judge_by_rules(job, items, store, progress))
    names = unjudged(job, items, store)
    if not names:
        return Judging(0)
    rules: list[Verdict] = []
    if judge.rules is not None:
        _judge_by_rules(job, items, store, None)
        for name in names:
            stored = store.read_parquet(f"{job.rule_verdicts(store).address}/{name}")
            rules += from_table(stored, Verdict)
    tables = [_texts(job, store, name) for name in names]
    judged = _judge_by_model(job, items, pa.concat_tables(tables), rules, store, progress)
    added = start = 0
    for name, table in zip(names, tables, strict=True):
        found = [v for v in judged.verdicts[start : start + len(table)] if v is not None]
        start += len(table)
        if len(found) == len(table):
            verdicts.follow(to_table(found, Verdict), name, table)
            added += len(found)
    if judged.problem is not None:
        raise judged.problem
    return Judging(added, judged.spending)


def without_text(job: Job, items: pa.Table, responses: pa.Table, store: Store) -> pa.Table:
    """Responses judged now, with no word of theirs left, to be stored with their verdicts inside.

    Raises
    ------
    EndpointError
        If a model judge could not be asked for all of them.
    """
    rows = judge_batch(job, items, responses, store).to_pylist()
    about = {"address": job.verdicts(store).address, "rows": rows}
    metadata = {**(responses.schema.metadata or {}), _VERDICTS: json.dumps(about).encode()}
    refused = pc.is_valid(responses["error"])
    kept = {
        "text": pa.nulls(len(responses), pa.string()),
        "error": pc.if_else(refused, NOT_KEPT, pa.scalar(None, pa.string())),
    }
    for name, column in kept.items():
        place = responses.column_names.index(name)
        responses = responses.set_column(place, responses.field(name), column)
    return responses.replace_schema_metadata(metadata)


def settle(job: Job, store: Store, name: str) -> int:
    """Add the verdicts that came with a stored part of responses; returns how many.

    None are added where another judge than the job's gave them, which another run has.
    """
    part = store.read_parquet(f"{job.responses(store).address}/{name}", [*KEY])
    given = _inside(job, store, part)
    if given:
        job.verdicts(store).follow(to_table(given, Verdict), name, part)
    return len(given)


def _inside(job: Job, store: Store, part: pa.Table) -> list[Verdict]:
    """Verdicts of the job's judge inside a part of responses; empty where another judge's are."""
    about = json.loads((part.schema.metadata or {}).get(_VERDICTS, b"{}"))
    if about.get("address") != job.verdicts(store).address:
        return []
    return [Verdict(**row) for row in about["rows"]]


def judge_batch(job: Job, items: pa.Table, responses: pa.Table, store: Store) -> pa.Table:
    """Verdicts on responses that are not stored, in their order; what a model says is stored.

    Raises
    ------
    EndpointError
        If a model judge could not be asked for all of them.
    """
    judge = job.experiment.judge
    by_rules = None if judge.rules is None else _rules(job, items, responses)
    if judge.llm is None and by_rules is not None:
        return by_rules
    rules = [] if by_rules is None else from_table(by_rules, Verdict)
    judged = _judge_by_model(job, items, responses, rules, store, None)
    if judged.problem is not None:
        raise judged.problem
    return to_table([v for v in judged.verdicts if v is not None], Verdict)


def unjudged(
    job: Job, items: pa.Table, store: Store, verdicts: Artefact | None = None
) -> list[str]:
    """Names of the parts of the responses that hold any of ``items`` and have no verdicts.

    ``verdicts`` are those of the experiment's judge unless others are given.
    """
    responses = job.responses(store)
    waiting = (verdicts or job.verdicts(store)).lacking(responses)
    asked = set(items["item_id"].to_pylist()) if waiting else set()
    return [name for name in waiting if asked & responses.ids(name)]


def not_kept(job: Job, store: Store, names: Sequence[str]) -> SentinelError | None:
    """Why parts of a job without texts cannot be judged: none of their verdicts came with them."""
    for name in names if job.quiet else ():
        address = job.responses(store).address
        if not _inside(job, store, store.read_parquet(f"{address}/{name}", [*KEY])):
            return SentinelError(
                f"{job.name}: the texts of {name} were not kept, so they cannot be judged anew",
                "put back the judge's settings, or delete "
                f"{address} to generate and judge them again",
            )
    return None


def _texts(job: Job, store: Store, name: str) -> pa.Table:
    address = job.responses(store).address
    return store.read_parquet(f"{address}/{name}", [*KEY, "text", "finish"])


def _judge_by_rules(job: Job, items: pa.Table, store: Store, progress: Progress | None) -> int:
    """Add the rules' verdicts that are missing; returns how many."""
    verdicts = job.rule_verdicts(store)
    names = unjudged(job, items, store, verdicts)
    added = 0
    for number, name in enumerate(names, start=1):
        table = _texts(job, store, name)
        verdicts.follow(_rules(job, items, table), name, table)
        added += len(table)
        if progress:
            progress(number, len(names))
    return added


def _rules(job: Job, items: pa.Table, responses: pa.Table) -> pa.Table:
    rules = job.experiment.judge.rules
    if rules is None:
        raise ValueError(f"{job.name}: the judge applies no rules")
    return judge_table(
        items,
        responses,
        tolerance=job.benchmark.tolerance,
        deadline_s=rules.deadline_s,
        quiet=job.quiet,
    )


def _judge_by_model(
    job: Job,
    items: pa.Table,
    responses: pa.Table,
    rules: Sequence[Verdict],
    store: Store,
    progress: Progress | None,
) -> Judged:
    return judge_by_model(
        job.experiment.judge,
        items,
        responses,
        job.judgements(store),
        rules=rules,
        quiet=job.quiet,
        progress=progress,
    )
