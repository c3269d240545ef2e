"""Judging by itself: files in and files out, by whichever judge."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from tasks.conf import ChainJudge, load_judge_file
from tasks.errors import SentinelError
from tasks.host.workspace import Workspace
from tasks.judging.asking import NOTHING, Spending
from tasks.judging.settings import asked
from tasks.records import Item, Response, Verdict, from_table, to_table
from tasks.storage.keys import digest
from tasks.tables import read_records, write_table
from tasks.verdicts.agreement import Agreement, agreement_on
from tasks.verdicts.judge import judge_by_model, judge_table


@dataclass(frozen=True)
class JudgedFile:
    """What ``sentinel judge`` did."""

    rows: int
    spending: Spending = NOTHING
    agreement: Agreement | None = None


def judge_file(
    responses: Path,
    items: Path,
    out: Path,
    judge: str,
    tolerance: float | None,
    deadline: float | None,
    progress: Callable[[int, int], None] | None = None,
) -> JudgedFile:
    """Verdicts on a file of responses against a file of items.

    What a model judge says is stored under the root as it comes, by what it was shown: the same
    command again, or one on a longer file, asks only for what is new. ``progress`` is called with
    (judged, total) of what is put to the model.

    Raises
    ------
    SentinelError
        For files or a judge that cannot be read.
    EndpointError
        If the judge's endpoint failed for some response. Nothing is written to ``out`` then; the
        judgements that came are stored.
    """
    chosen = load_judge_file(judge)
    if deadline is not None and chosen.rules is not None:
        chosen = replace(chosen, deadline_s=deadline)
    answered = read_records(responses, Response, needs=("text", "finish"))
    known = read_records(items, Item, needs=("question", "answer", "answer_type"))
    if answered["text"].null_count == len(answered):
        raise SentinelError(
            f"{responses}: every `text` is empty, so there is nothing to judge",
            "generate with store_text: true, or bring your own labels",
        )
    rules: list[Verdict] = []
    if chosen.rules is not None:
        deadline_s = chosen.rules.deadline_s
        table = judge_table(known, answered, tolerance=tolerance, deadline_s=deadline_s)
        rules = from_table(table, Verdict)
    if chosen.llm is None:
        write_table(out, to_table(rules, Verdict))
        return JudgedFile(len(rules))
    store = Workspace.from_environment().store
    stored = store.artefact("judgements", "files", digest(asked(chosen.llm)))
    judged = judge_by_model(chosen, known, answered, stored, rules=rules, progress=progress)
    if judged.problem is not None:
        raise judged.problem
    write_table(out, to_table([v for v in judged.verdicts if v is not None], Verdict))
    agreement = None
    if isinstance(chosen, ChainJudge):
        said = [j for j in judged.judgements if j is not None]
        agreement = agreement_on(chosen, rules, said, "file")
    return JudgedFile(len(judged.verdicts), judged.spending, agreement)
