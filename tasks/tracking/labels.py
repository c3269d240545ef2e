"""What runs are called and searched by: the tags and metric names of sweeps and estimators."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import pandas as pd

from estimators.config import parse
from tasks.conf import Experiment
from tasks.conf.choices import Request
from tasks.signals.features import Joined
from tasks.storage.keys import digest
from tasks.storage.versions import code_version
from tasks.sweeps.summary import SCOPES, SCORES
from tasks.sweeps.sweep import estimator_configs

#: Tags that tell one sweep from another; they are its parameters too.
IDENTIFYING = ("label", "k", "estimators", "path", "seed")


def short_number(sweep: str) -> str:
    """What stands in the names of a sweep's runs for the tag ``sentinel.sweep``: how it begins.

    Two sweeps may differ in nothing else that a name has room for, such as sizes or seed.
    """
    return sweep[:4]


def sweep_name(asked: Request, number: str) -> str:
    """Name of a parent run, such as ``demo sweep d361: ensemble + 5 (limit 12)``.

    After the sweep's number stand the estimator whose scores it carries, how many others there are,
    and the label: a chart cuts the ends of names.
    """
    first, *others = (c.name for c in estimator_configs(asked.experiment.sweep.estimators))
    more = f" + {len(others)}" if others else ""
    label = f" ({asked.label})" if asked.label else ""
    return f"{asked.experiment.name} sweep {number}: {first}{more}{label}"


def sweep_tags(asked: Request, joined: Mapping[str, Joined]) -> dict[str, str]:
    """Tags of a sweep; those on data and benchmarks are about the models in ``joined``.

    ``data`` is a digest of the feature tables, so equal tags mean equal rows.
    """
    settings = asked.experiment.sweep
    configs = estimator_configs(settings.estimators)
    return {
        "experiment": asked.experiment.name,
        **({"label": asked.label} if asked.label else {}),
        "k": ", ".join(map(str, settings.sizes)),
        "estimators": ", ".join(c.name for c in configs),
        "features": ", ".join(sorted({c.feature_set for c in configs if c.feature_set})),
        "path": settings.path,
        "seed": str(settings.seed),
        "judge": asked.experiment.judge.name,
        "benchmarks": _versions(asked.experiment, _of(joined)),
        "data": digest(sorted(j.digest for j in joined.values())),
        "code": code_version(),
    }


def compared_tags(
    asked: Request, joined: Mapping[str, Joined], shared: tuple[str, ...] | None
) -> dict[str, str]:
    """Tags where models lack benchmarks: ``missing`` says which, ``shared`` what all have.

    Empty where every model has all benchmarks of the experiment.
    """
    listed = [b.name for b in asked.experiment.benchmarks]
    gaps = {
        model: [name for name in listed if name not in one.table.benchmarks]
        for model, one in joined.items()
    }
    lacking = [f"{model}: {', '.join(names)}" for model, names in gaps.items() if names]
    tags = {"missing": "; ".join(lacking)} if lacking else {}
    return tags | ({} if shared is None else {"shared": ", ".join(shared) or "none"})


def estimator_tags(model: str, estimator: str) -> dict[str, str]:
    """Tags and parameters of one model x estimator."""
    config = parse(estimator)
    return {
        "model": model,
        "estimator": estimator,
        "family": config.family,
        "calibration": config.calibration,
        "balanced": str(config.balanced).lower(),
        "features": config.feature_set,
    }


def trained_on(experiment: Experiment, benchmarks: Sequence[str]) -> dict[str, str]:
    """Facts about a registered estimator's training rows, which are of these benchmarks."""
    decoding = experiment.decoding
    return {
        "experiment": experiment.name,
        "benchmarks": _versions(experiment, benchmarks),
        "judge": experiment.judge.name,
        "decoding": f"temperature {decoding.temperature:g}, at most {decoding.max_tokens} tokens",
        "top_k": str(experiment.profile_top_k or decoding.top_k),
        "code": code_version(),
    }


def metrics_of(table: pd.DataFrame) -> list[tuple[str, float, int]]:
    """(name, value, k) of an estimator's medians and ranges; what is undefined is left out.

    Names are ``aee``, ``rho``, ``auroc`` over unseen benchmarks, with ``.all`` over all of them,
    and ``_iqr`` for the distance between the quartiles.
    """
    rows: list[tuple[str, float, int]] = []
    for row in table.to_dict("records"):
        for scope in SCOPES:
            suffix = "" if scope == SCOPES[0] else f".{scope}"
            for score in SCORES:
                column = f"{score}_{scope}"
                iqr = row[f"{column}_q75"] - row[f"{column}_q25"]
                for name, value in ((score, row[column]), (f"{score}_iqr", iqr)):
                    if value == value:
                        rows.append((f"{name}{suffix}", float(value), int(row["k"])))
    return rows


def shared_metrics_of(table: pd.DataFrame) -> list[tuple[str, float, int]]:
    """:func:`metrics_of` over the shared benchmarks, unseen ones only, named ``aee.shared``."""
    own = metrics_of(table)
    return [(f"{name}.shared", value, k) for name, value, k in own if not name.endswith(".all")]


def _of(joined: Mapping[str, Joined]) -> set[str]:
    return {name for one in joined.values() for name in one.table.benchmarks}


def _versions(experiment: Experiment, names: Collection[str]) -> str:
    """These benchmarks of the experiment with their versions, in its order."""
    return ", ".join(f"{b.name} v{b.version}" for b in experiment.benchmarks if b.name in names)
