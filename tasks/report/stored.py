"""The inputs of an experiment's report, from what is stored; nothing is computed anew."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version

import pandas as pd
import pyarrow as pa

from tasks.answers.rows import Rows
from tasks.benchmarks.questions import Questions
from tasks.conf import Decoding, Experiment
from tasks.errors import SentinelError
from tasks.jobs import jobs_of
from tasks.report.inputs import Inputs, shown_estimator
from tasks.report.work import counts_of_job
from tasks.signals.features import Joined
from tasks.storage.keys import prompt_of, sweep_key
from tasks.storage.store import Store
from tasks.sweeps.compared import whole
from tasks.sweeps.sweep import missing_pieces, sweep
from tasks.sweeps.transfer import by_pair
from tasks.verdicts.agreement import agreement_of

_PACKAGES = ("entropy-sentinel", "numpy", "scikit-learn", "scipy")


def read(
    settings: Experiment, questions: Questions, store: Store, estimator: str | None = None
) -> Inputs:
    """Inputs of the models whose responses and sweep are stored; the others are named in notes.

    A model may lack benchmarks; notes say which.

    Raises
    ------
    SentinelError
        If no model has two whole benchmarks and their sweep, or ``estimator`` was not swept.
    """
    joined, splits, notes = {}, {}, {}
    for model in settings.models:
        found = whole(settings, model, questions, store)
        if found.left_out:
            notes[model.name] = (f"not in this report: {found.left_out}",)
            continue
        table, chosen = found.join(questions.items, store), found.sweep(settings.sweep)
        missing, pieces = missing_pieces(table, chosen, store)
        if missing:
            notes[model.name] = (
                f"{missing} of {pieces} pieces of its sweep are missing: not in this report",
            )
            continue
        joined[model.name] = table
        splits[model.name] = sweep(table, chosen, store)
    if not splits:
        why = "; ".join(f"{model}: {n}" for model, ns in notes.items() for n in ns)
        raise SentinelError(
            f"nothing complete is stored of experiment {settings.name!r} ({why})",
            "run it with `sentinel run`, or check SENTINEL_ROOT",
        )
    return gather(settings, questions.items, joined, splits, store, notes, estimator)


def gather(
    settings: Experiment,
    items: Mapping[str, pa.Table],
    joined: Mapping[str, Joined],
    splits: Mapping[str, pa.Table],
    store: Store,
    notes: Mapping[str, tuple[str, ...]] | None = None,
    estimator: str | None = None,
    folder: str | None = None,
) -> Inputs:
    """Inputs of models that are swept.

    Parameters
    ----------
    items : mapping of benchmark to items
        Those that were asked; they are counted and not shown.
    joined, splits : mappings of model name to feature table and to sweep rows
    notes : mapping of model to sentences
        On models that are not among them.
    estimator : str, optional
        The one the report is about; by default the first of the sweep's.
    folder : str, optional
        Of the results, for the transfer between models; by default the experiment's name.
    """
    first = settings.sweep.estimators[0]
    table = pa.concat_tables(splits.values(), promote_options="permissive")
    # Responses to a benchmark that is not whole are no part of the report.
    jobs = [
        job
        for model in settings.models
        if model.name in joined
        for job in jobs_of(settings, model)
        if job.benchmark.name in joined[model.name].table.benchmarks
    ]
    agreed = agreement_of(jobs, store)
    work, keys, responses = [], [], []
    for job in jobs:
        row, kept = counts_of_job(job, items[job.benchmark.name], store)
        work.append(row)
        responses.append(kept)
        keys.append(
            {
                "model": job.model.name,
                "benchmark": job.benchmark.name,
                "responses": job.key,
                "verdicts": _last(job.verdicts(store).address),
                "profiles": _last(job.profiles(store).address),
            }
        )
    facts = [
        *_decoded(settings),
        ("Engine", ", ".join(_pairs(responses, "engine", "engine_version"))),
        ("Log-probabilities", ", ".join(_pairs(responses, "logprobs_mode"))),
        ("Judge", settings.judge.kind),
        ("Sweep", f"path {settings.sweep.path}, seed {settings.sweep.seed}"),
        ("Sweep keys", ", ".join(_sweep_keys(settings, joined))),
        ("Versions", ", ".join(_versions())),
    ]
    return Inputs(
        name=settings.name,
        splits=table,
        estimator=shown_estimator(Rows.from_table(table), estimator or first, settings.name),
        tables={name: one.table for name, one in joined.items()},
        seed=settings.sweep.seed,
        facts=tuple((name, value) for name, value in facts if value),
        work=pd.DataFrame(work),
        keys=pd.DataFrame(keys),
        transfer=_transfer(store, folder or settings.name, list(splits)),
        agreement={} if agreed is None else {"Rules and model": agreed.table()},
        notes={**{name: one.notes for name, one in joined.items() if one.notes}, **(notes or {})},
        missing=tuple(notes or ()),
    )


def _transfer(store: Store, folder: str, models: list[str]) -> pd.DataFrame | None:
    """Transfer between these models, where the run wrote it beside its results."""
    path = f"results/{folder}/transfer.parquet"
    if not store.exists(path):
        return None
    rows = by_pair(store.read_parquet(path))
    return rows[rows["model_from"].isin(models) & rows["model_to"].isin(models)]


def _decoded(settings: Experiment) -> list[tuple[str, str]]:
    """Decoding, prompts and limits as conf has them."""
    decoding: Decoding = settings.decoding
    prompts = dict.fromkeys(prompt_of(settings, b) for b in settings.benchmarks)
    stop = f", stop at {', '.join(map(repr, decoding.stop))}" if decoding.stop else ""
    return [
        (
            "Decoding",
            f"temperature {decoding.temperature:g}, top p {decoding.top_p:g}, at most "
            f"{decoding.max_tokens} tokens, seed {decoding.seed}, {decoding.top_k} "
            f"log-probabilities a token{stop}",
        ),
        ("Prompt" if len(prompts) == 1 else "Prompts", " | ".join(map(str, prompts))),
        ("Items a benchmark", f"at most {settings.limit}" if settings.limit else "all"),
    ]


def _pairs(tables: Iterable[pa.Table], *columns: str) -> list[str]:
    """Distinct values of some columns, as words."""
    found = dict.fromkeys(
        values
        for table in tables
        if table.num_columns
        for values in zip(*(table[c].unique().to_pylist() for c in columns), strict=False)
    )
    return [" ".join(str(v) for v in values if v) for values in found]


def _sweep_keys(settings: Experiment, joined: Mapping[str, Joined]) -> list[str]:
    sweep = settings.sweep
    return [f"{m} {sweep_key(one.digest, sweep.path, sweep.seed)}" for m, one in joined.items()]


def _versions() -> list[str]:
    found = []
    for name in _PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:  # Run from a folder that was never installed.
            continue
    return found


def _last(address: str) -> str:
    return address.rsplit("/", 1)[-1]
