"""A chain's two links held against each other on the sample that is put to both."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pandas as pd
import pyarrow as pa

from tasks.conf import ChainJudge
from tasks.jobs import Job
from tasks.judging.agreement import agreement_table, labels
from tasks.judging.asking import judgements_in
from tasks.judging.chain import decided, sampled
from tasks.records import Judgement, Verdict, from_table
from tasks.storage.store import Store

_COLUMNS = ["model", "benchmark", "item_id", "decided", "first", "second", "first_answer",
            "second_answer", "first_reason", "second_reason"]  # fmt: skip


@dataclass(frozen=True)
class Agreement:
    """Rules (``first``) and model (``second``) on a random sample of responses.

    ``pairs`` has a row a response of the sample with both statuses, extracted answers and reasons,
    and whether the rules alone would have decided. Nothing of it quotes a benchmark whose items
    must not be shown: neither judge keeps its words there.
    """

    pairs: pd.DataFrame

    def table(self) -> pd.DataFrame:
        """Agreement by benchmark: over all of the sample, and where the rules decide."""
        whole = agreement_table(self.pairs).assign(of="sample")
        certain = agreement_table(self.pairs[self.pairs["decided"]]).assign(of="decided by rules")
        joined = pd.concat([whole, certain], ignore_index=True)
        return joined[["of", *(c for c in joined.columns if c != "of")]]

    def disagreements(self) -> pd.DataFrame:
        """Pairs that both judges scored, and scored differently."""
        first, second = labels(self.pairs["first"]), labels(self.pairs["second"])
        differ = first.notna() & second.notna() & (first != second)
        return self.pairs[differ].reset_index(drop=True)

    def text(self) -> str:
        """The table as Markdown, with the number of disagreements."""
        table, differ = self.table(), len(self.disagreements())
        shown = table.round(3).to_dict("split")
        head = f"| {' | '.join(map(str, shown['columns']))} |"
        lines = [f"| {' | '.join(_cell(c) for c in row)} |" for row in shown["data"]]
        rule = "|" + "---|" * len(shown["columns"])
        note = f"`first` are the rules, `second` is the model; they differ on {differ} responses."
        return "\n".join(["Agreement of rules and model", "", head, rule, *lines, "", note])

    def write(self, store: Store, folder: str) -> None:
        """Write ``agreement.md``, and the table and all pairs as Parquet, below the root."""
        store.write_bytes(f"{folder}/agreement.md", self.text().encode())
        for name, frame in (("agreement", self.table()), ("agreement-pairs", self.pairs)):
            store.write_table(
                f"{folder}/{name}.parquet", pa.Table.from_pandas(frame, preserve_index=False)
            )


def agreement_of(jobs: Sequence[Job], store: Store) -> Agreement | None:
    """Agreement over jobs judged by a chain; ``None`` if none of their responses was sampled."""
    rows: list[dict[str, object]] = []
    for job in jobs:
        judge = job.experiment.judge
        if isinstance(judge, ChainJudge) and (rules := job.rule_verdicts(store).read()) is not None:
            verdicts = from_table(rules, Verdict)
            said = judgements_in(job.judgements(store)).values()
            rows += paired(judge, verdicts, said, job.model.name)
    return Agreement(pd.DataFrame(rows, columns=_COLUMNS)) if rows else None


def agreement_on(
    judge: ChainJudge, rules: Sequence[Verdict], said: Iterable[Judgement], model: str
) -> Agreement | None:
    """Agreement over responses that stand in files; see :func:`agreement_of`."""
    rows = paired(judge, rules, said, model)
    return Agreement(pd.DataFrame(rows, columns=_COLUMNS)) if rows else None


def paired(
    judge: ChainJudge, rules: Sequence[Verdict], said: Iterable[Judgement], model: str
) -> list[dict[str, object]]:
    """Rows of :attr:`Agreement.pairs`: the sample's verdicts of the rules with its judgements.

    An item that was answered twice, as where responses were lost, has judgements on both answers.
    Which one the rules' verdict is about is not known without the texts, so it is left out.
    """
    by_key: dict[tuple[str, str], dict[str, Judgement]] = {}
    for judgement in said:
        key = judgement.benchmark, judgement.item_id
        by_key.setdefault(key, {})[judgement.digest] = judgement
    rows = []
    for verdict in rules:
        on_it = by_key.get((verdict.benchmark, verdict.item_id), {})
        if len(on_it) == 1 and sampled(verdict, judge.sample, judge.seed):
            rows += [_pair(model, verdict, judgement) for judgement in on_it.values()]
    return rows


def _pair(model: str, rule: Verdict, judgement: Judgement) -> dict[str, object]:
    values = [model, rule.benchmark, rule.item_id, decided(rule), rule.status, judgement.status,
              rule.extracted, judgement.extracted, rule.reason, judgement.reason]  # fmt: skip
    return dict(zip(_COLUMNS, values, strict=True))


def _cell(value: object) -> str:
    return "-" if value != value else str(value)
