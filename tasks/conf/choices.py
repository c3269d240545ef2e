"""What a conf folder offers, and an experiment with some fields chosen anew for one run."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from tasks.conf.benchmarks import Benchmark
from tasks.conf.experiments import Experiment
from tasks.conf.models import Model
from tasks.conf.read import load_experiment, load_judge, load_named, parse_section
from tasks.errors import SentinelError

N = TypeVar("N", Model, Benchmark)


@dataclass(frozen=True)
class Choices:
    """Files of a conf folder: experiments by path, the rest by name; each sorted."""

    experiments: tuple[str, ...]
    models: tuple[str, ...]
    benchmarks: tuple[str, ...]
    judges: tuple[str, ...]

    @classmethod
    def of(cls, folder: Path) -> Choices:
        """What ``folder`` offers.

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
        return cls(paths, **{kind: tuple(p.stem for p in files) for kind, files in found.items()})


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
        """What makes the results others than the file's; empty where they are comparable with it.

        Models are no part of it: a run of one model completes the same comparison.
        """
        parts = [f"{len(self.benchmarks)} benchmarks: {', '.join(self.benchmarks)}"] * bool(
            self.benchmarks
        )
        parts += [f"limit {self.limit}"] * (self.limit is not None)
        parts += [f"judge {self.judge}"] * (self.judge is not None)
        return "; ".join(parts)


@dataclass(frozen=True)
class Request:
    """An experiment with its changes applied, and the models that this run is about.

    ``experiment.models`` are all that are compared: those of the file and those chosen beside them.
    """

    experiment: Experiment
    chosen: tuple[Model, ...]
    label: str = ""

    @property
    def folder(self) -> str:
        """Folder of the results; a run with a label leaves the file's own results as they are."""
        words = re.sub(r"[^A-Za-z0-9._]+", "-", self.label).strip("-")
        return f"{self.experiment.name}/{words}" if words else self.experiment.name


def request(path: str | Path, changes: Changes = Changes()) -> Request:
    """Read an experiment and apply changes to it.

    Models and benchmarks are found by name in the conf folder, whether the file lists them or not.

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
        "benchmarks": _members(
            root, "benchmarks", changes.benchmarks, settings.benchmarks, Benchmark
        ),
    }
    if changes.limit is not None:
        fields["limit"] = changes.limit
    if changes.judge is not None:
        fields["judge"] = load_judge(root, changes.judge, f"{path}, judge")
    swept = {k: v for k in ("estimators", "sizes") if (v := getattr(changes, k))}
    fields["sweep"] = dataclasses.replace(settings.sweep, **swept)
    whole = {f.name: getattr(settings, f.name) for f in dataclasses.fields(settings)}
    changed = parse_section(Experiment, whole | fields, f"{path}, as changed")
    return Request(changed, chosen, changes.label)


def _members(
    root: Path, kind: str, names: Iterable[str], listed: tuple[N, ...], cls: type[N]
) -> tuple[N, ...]:
    """The members named, each once, or those listed where none is."""
    known = {m.name: m for m in listed}
    found = [known.get(name) or load_named(root, kind, name, cls) for name in dict.fromkeys(names)]
    return tuple(found) or listed
