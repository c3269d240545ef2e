"""What can be audited: verdicts beside the question, response and reference they are about."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tasks.benchmarks import load_items
from tasks.conf import hidden_benchmarks, load_experiment
from tasks.errors import SentinelError
from tasks.jobs import jobs_of
from tasks.records import SCORED, Item, Response, Status, Verdict, from_table
from tasks.storage.store import Store
from tasks.tables import read_records

Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Judged:
    """One scored response. ``hidden`` means that its benchmark's items must not be shown."""

    benchmark: str
    item_id: str
    question: str
    response: str
    gold: str
    status: str
    judge: str
    hidden: bool = False

    @property
    def key(self) -> Key:
        """Benchmark and item."""
        return self.benchmark, self.item_id


def from_files(responses: Path, items: Path, verdicts: Path) -> list[Judged]:
    """Scored responses of three files, as ``sentinel judge`` reads and writes them.

    A benchmark is hidden if a conf of that name in the working folder says ``show_items: false``.

    Raises
    ------
    SentinelError
        For files that cannot be read, or that have no scored response in common.
    """
    answered = {
        (r["benchmark"], r["item_id"]): r["text"]
        for r in read_records(responses, Response, needs=("text",)).to_pylist()
    }
    known = {
        (r["benchmark"], r["item_id"]): (r["question"], r["answer"])
        for r in read_records(items, Item, needs=("question", "answer")).to_pylist()
    }
    found = from_table(read_records(verdicts, Verdict), Verdict)
    judged = _joined(found, answered, known, hidden_benchmarks())
    if not judged:
        raise SentinelError(
            f"{verdicts} holds no scored verdict on a response of {responses} with its item in "
            f"{items}",
            "give the three files of one run",
        )
    return judged


def from_experiment(path: Path, store: Store) -> list[Judged]:
    """Scored responses of an experiment; with several models, item ids begin with the model's name.

    Raises
    ------
    SentinelError
        If nothing was judged yet, or the experiment keeps no text.
    """
    settings = load_experiment(path)
    if not settings.store_text:
        raise SentinelError(
            f"{path}: store_text is false, so no response can be read",
            "audit an experiment that keeps its texts",
        )
    judged: list[Judged] = []
    for benchmark in settings.benchmarks:
        items = load_items(benchmark, settings.limit).to_pylist()
        known = {(benchmark.name, r["item_id"]): (r["question"], r["answer"]) for r in items}
        hidden = set() if benchmark.show_items else {benchmark.name.casefold()}
        for model in settings.models:
            (job,) = (j for j in jobs_of(settings, model) if j.benchmark is benchmark)
            names = job.verdicts(store).names()
            verdicts = job.verdicts(store).read(names=names)
            responses = job.responses(store).read(["text"], names)
            if verdicts is None or responses is None or job.quiet:
                continue
            texts = {(r["benchmark"], r["item_id"]): r["text"] for r in responses.to_pylist()}
            prefix = f"{model.name}/" if len(settings.models) > 1 else ""
            judged += _joined(from_table(verdicts, Verdict), texts, known, hidden, prefix)
    if not judged:
        raise SentinelError(f"{path}: nothing was judged yet", f"sentinel run {path}")
    return judged


def _joined(
    verdicts: Iterable[Verdict],
    texts: Mapping[Key, str | None],
    items: Mapping[Key, tuple[str, str]],
    hidden: set[str],
    prefix: str = "",
) -> list[Judged]:
    """Scored verdicts whose response and item are there; unscored ones claim nothing."""
    judged = []
    for v in verdicts:
        key = (v.benchmark, v.item_id)
        text = texts.get(key)
        if Status(v.status) in SCORED and text is not None and key in items:
            question, gold = items[key]
            judged.append(
                Judged(v.benchmark, f"{prefix}{v.item_id}", question, text, gold, v.status, v.judge,
                       v.benchmark.casefold() in hidden)
            )  # fmt: skip
    return judged
