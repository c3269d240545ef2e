"""What a conf folder offers, and an experiment with some fields chosen anew for one run."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from tasks.conf.base import NAMES, is_name
from tasks.conf.benchmarks import Benchmark
from tasks.conf.experiments import Experiment
from tasks.conf.models import Model
from tasks.conf.read import load_experiment, load_judge, load_named, parse_section
from tasks.conf.sweeps import Sweep
from tasks.errors import SentinelError

N = TypeVar("N", Model, Benchmark)

#: Characters of a label and of a list in it: it is part of a folder's name, which may have 255 on
#: most file systems, and of a run's in MLflow, which may have 250.
_LONG = 150
_LONG_LIST = 50


@dataclass(frozen=True)
class Choices:
    """Files of a conf folder: experiments by path, the rest by name; each sorted.

    ``left_out`` has a line for each file that cannot be chosen, with its path, why, and the remedy.
    """

    experiments: tuple[str, ...]
    models: tuple[str, ...]
    benchmarks: tuple[str, ...]
    judges: tuple[str, ...]
    left_out: tuple[str, ...] = ()

    @classmethod
    def of(cls, folder: Path) -> Choices:
        """What ``folder`` offers; its experiments are not read.

        Raises
        ------
        SentinelError
            If it holds no experiment.
        """
        found = {
            kind: sorted((folder / kind).glob("*.yaml"))
            for kind in ("experiments", "models", "benchmarks", "judges")
        }
        if not found["experiments"]:
            raise SentinelError(
                f"{folder}/experiments holds no YAML file", "run it where the conf folder is"
            )
        paths = tuple(p.as_posix() for p in found.pop("experiments"))
        named = {kind: tuple(p.stem for p in fs if is_name(p.stem)) for kind, fs in found.items()}
        others = [p for files in found.values() for p in files if not is_name(p.stem)]
        return cls(paths, **named, left_out=tuple(f"{p}: {NAMES}; rename it" for p in others))

    def readable(self) -> Choices:
        """The same without the experiments that are not valid.

        Raises
        ------
        SentinelError
            If none is.
        """
        read, unread = read_each(self.experiments)
        if not read:
            raise next(iter(unread.values()))
        told = (f"{error.problem}; {error.remedy}" for error in unread.values())
        return replace(self, experiments=tuple(read), left_out=(*self.left_out, *told))


def read_each(
    paths: Iterable[str],
) -> tuple[dict[str, Experiment], dict[str, SentinelError]]:
    """Experiments by path, and what is wrong with those that cannot be read."""
    read, unread = {}, {}
    for path in paths:
        try:
            read[path] = load_experiment(path)
        except SentinelError as error:
            # The mistake may be in a file that the experiment names.
            told = error.problem if path in error.problem else f"{path}: {error.problem}"
            unread[path] = SentinelError(told, error.remedy)
    return read, unread


@dataclass(frozen=True)
class Changes:
    """Fields of an experiment given anew for one run; what is empty stays as the file has it."""

    models: tuple[str, ...] = ()
    benchmarks: tuple[str, ...] = ()
    limit: int | None = None
    judge: str | None = None
    estimators: tuple[str, ...] = ()
    sizes: tuple[int, ...] = ()

    @property
    def label(self) -> str:
        """The changes in words; :func:`request` makes it of those that differ from the file.

        Models are no part of it: a run of one model completes the same comparison.
        """
        named = {"estimators": self.estimators, "k =": self.sizes}
        parts = [f"{len(self.benchmarks)} benchmarks: {_words(self.benchmarks)}"] * bool(
            self.benchmarks
        )
        parts += [f"limit {self.limit}"] * (self.limit is not None)
        parts += [f"judge {self.judge}"] * (self.judge is not None)
        parts += [f"{name} {_words(values)}" for name, values in named.items() if values]
        return _cut("; ".join(parts), _LONG)


@dataclass(frozen=True)
class Request:
    """An experiment with its changes applied, and the models that this run is about.

    ``experiment.models`` are all that are compared: those of the file and those chosen beside them.
    ``label`` says what makes the results others than the file's, and is empty where nothing does.
    """

    experiment: Experiment
    chosen: tuple[Model, ...]
    label: str = ""

    @property
    def folder(self) -> str:
        """Folder of the results; a run with a label leaves the file's own results as they are."""
        words = re.sub(r"[^A-Za-z0-9._]+", "-", self.label).strip("-")
        return f"{self.experiment.name}/{words}" if words else self.experiment.name

    @property
    def title(self) -> str:
        """The experiment's name, with the label where there is one."""
        return f"{self.experiment.name} ({self.label})" if self.label else self.experiment.name


def request(path: str | Path, changes: Changes = Changes()) -> Request:
    """Read an experiment and apply changes to it.

    Models and benchmarks are found by name in the conf folder, whether the file lists them or not.
    What is chosen as the file has it is no change; the order of benchmarks and sizes is none
    either, and of estimators only the first counts, whose scores stand for the sweep.

    Raises
    ------
    SentinelError
        As :func:`tasks.conf.load_experiment`, and for a change that gives no valid experiment.
    """
    settings = load_experiment(path)
    root = Path(path).resolve().parent.parent
    chosen = _members(root, "models", changes.models, settings.models, Model)
    listed = {m.name for m in settings.models}
    fields: dict[str, Any] = {
        "models": (*settings.models, *(m for m in chosen if m.name not in listed)),
        "benchmarks": _in_order(
            _members(root, "benchmarks", changes.benchmarks, settings.benchmarks, Benchmark),
            settings.benchmarks,
        ),
    }
    if changes.limit is not None:
        fields["limit"] = changes.limit
    if changes.judge is not None:
        fields["judge"] = load_judge(root, changes.judge, f"{path}, judge")
    fields["sweep"] = _swept(settings.sweep, changes, f"{path}, as changed: sweep")
    changed = parse_section(Experiment, _fields(settings) | fields, f"{path}, as changed")
    return Request(changed, chosen, _differing(changes, changed, settings).label)


def _differing(changes: Changes, changed: Experiment, listed: Experiment) -> Changes:
    """Of the changes, models aside, those that make ``changed`` another than ``listed``."""
    sweep, before = changed.sweep, listed.sweep
    names = tuple(b.name for b in changed.benchmarks)
    return Changes(
        benchmarks=() if changed.benchmarks == listed.benchmarks else names,
        limit=None if changed.limit == listed.limit else changes.limit,
        judge=None if changed.judge == listed.judge else changes.judge,
        estimators=() if sweep.estimators == before.estimators else changes.estimators,
        sizes=() if sweep.sizes == before.sizes else changes.sizes,
    )


def _swept(listed: Sweep, changes: Changes, source: str) -> Sweep:
    """The sweep with other estimators and sizes, if any; the file's own where they are its."""
    asked = {k: v for k in ("estimators", "sizes") if (v := getattr(changes, k))}
    sweep = parse_section(Sweep, _fields(listed) | asked, source)
    if set(sweep.sizes) == set(listed.sizes):
        sweep = replace(sweep, sizes=listed.sizes)
    if set(sweep.estimators) == set(listed.estimators) and (
        sweep.estimators[0] == listed.estimators[0]
    ):
        sweep = replace(sweep, estimators=listed.estimators)
    return sweep


def _fields(section: Experiment | Sweep) -> dict[str, Any]:
    return {f.name: getattr(section, f.name) for f in dataclasses.fields(section)}


def _in_order(
    chosen: tuple[Benchmark, ...], listed: tuple[Benchmark, ...]
) -> tuple[Benchmark, ...]:
    """Those that are listed in the order of the list, then the others by name."""
    others = [b for b in chosen if b not in listed]
    return (*(b for b in listed if b in chosen), *sorted(others, key=lambda b: b.name))


def _words(values: tuple[object, ...]) -> str:
    return _cut(", ".join(map(str, values)), _LONG_LIST)


def _cut(text: str, length: int) -> str:
    """The text; of a long one its beginning and a digest of all."""
    if len(text) <= length:
        return text
    first = text[:length].rpartition(", ")[0] or text[:length]
    return f"{first}, ... {hashlib.sha256(text.encode()).hexdigest()[:8]}"


def _members(
    root: Path, kind: str, names: Iterable[str], listed: tuple[N, ...], cls: type[N]
) -> tuple[N, ...]:
    """The members named, each once, or those listed where none is."""
    known = {m.name: m for m in listed}
    found = [known.get(name) or load_named(root, kind, name, cls) for name in dict.fromkeys(names)]
    return tuple(found) or listed
