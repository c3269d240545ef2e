"""The forms of the deployments: parameters with choices, defaults and help, as JSON schemas.

Prefect derives a schema from a flow's signature, which knows types but no choices: those are the
files of a conf folder at the time of ``sentinel deploy``. The server checks values against these
schemas before it starts a run; the flows check them again against their signatures and the conf.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from estimators.config import CONSTANT, DEFAULT, GROUPS, V1_GRID
from tasks.conf.choices import Choices

Schema = dict[str, Any]

#: Estimators offered in a form; an experiment's YAML takes any other by name.
ESTIMATORS: tuple[str, ...] = tuple(
    dict.fromkeys(
        [DEFAULT.name, CONSTANT.name, *(c.name for c in (*V1_GRID, *GROUPS["baselines"])), *GROUPS]
    )
)

_BESIDE = "Where it differs from the file, the results stand beside the experiment's own."

_ANY: Schema = {"type": "string", "default": ""}

#: Numbers of training benchmarks offered in a form.
SIZES: tuple[int, ...] = tuple(range(1, 10))


def forms(choices: Choices) -> dict[str, Schema]:
    """Parameter schema of each deployment, by its name."""
    path = _one("Experiment", "The file that says what to run.", choices.experiments)
    path["default"] = choices.experiments[0]
    models = _several(
        "Models", "Only these, from conf/models. Empty: those of the experiment.", choices.models
    )
    benchmarks = _several(
        "Benchmarks",
        "Only these, from conf/benchmarks, at least two. Empty: those of the experiment. "
        f"{_BESIDE}",
        choices.benchmarks,
    )
    limit: Schema = {
        "title": "Limit",
        "description": "Only the first items of each benchmark. Empty: as in the experiment. "
        f"{_BESIDE}",
        "type": "integer",
        "minimum": 1,
    }
    judge = _one(
        "Judge", f"From conf/judges. Empty: as in the experiment. {_BESIDE}", choices.judges
    )
    estimators = _several(
        "Estimators",
        f"Names or groups of names. Empty: those of the experiment. {_BESIDE}",
        ESTIMATORS,
    )
    sizes = _several(
        "Sizes",
        f"Numbers k of training benchmarks. Empty: those of the experiment. {_BESIDE}",
        SIZES,
    )
    swept = {"estimators": estimators, "sizes": sizes}
    return {
        "experiment": _form(
            path=path, models=models, benchmarks=benchmarks, limit=limit, **swept, judge=judge
        ),
        "rejudge": _form(path=path, judge=judge, models=models, benchmarks=benchmarks, limit=limit),
        "sweep": _form(path=path, **swept, benchmarks=benchmarks, limit=limit),
        "report": _form(
            path=path,
            estimator=_one(
                "Estimator", "Shown benchmark by benchmark. Empty: the first swept.", ESTIMATORS
            ),
        ),
        "added-model": _form(
            path={**_ANY, "title": "Experiment", "description": "As the event names it."},
            models={
                "title": "Models",
                "description": "As the event names them; at least one.",
                "type": "array",
                "items": _ANY,
                "minItems": 1,
            },
        ),
        "catch-up": _form(
            paths=_several(
                "Experiments", "Only these. Empty: all of the conf folder.", choices.experiments
            )
        ),
    }


def _form(**properties: Mapping[str, Any]) -> Schema:
    """A schema of these parameters in their order; others than those needed may stay empty."""
    return {
        "title": "Parameters",
        "type": "object",
        "properties": {n: {**p, "position": i} for i, (n, p) in enumerate(properties.items())},
        "required": [n for n, p in properties.items() if n == "path" or p.get("minItems")],
        # A mistyped name would else start a run that fails.
        "additionalProperties": False,
        "definitions": {},
    }


def _one(title: str, help_text: str, names: Sequence[str]) -> Schema:
    return {"title": title, "description": help_text, "type": "string", "enum": list(names)}


def _several(title: str, help_text: str, values: Sequence[str] | Sequence[int]) -> Schema:
    return {
        "title": title,
        "description": help_text,
        "type": "array",
        "items": {
            "type": "integer" if values and isinstance(values[0], int) else "string",
            "enum": list(values),
        },
        "uniqueItems": True,
        "default": [],
    }
