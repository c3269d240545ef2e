"""Reads ``conf/``: YAML into frozen, validated dataclasses. Nothing else parses YAML.

``conf/`` has one folder a kind (``models/``, ``benchmarks/``, ``experiments/``), one file a name. A
file is checked in full before anything runs: unknown fields, wrong types and unknown names are
errors that name the file, the field and the remedy. ``${NAME}`` in a value is replaced by the
environment variable of that name; secrets are never values, only names of variables
(``api_key_env``).
"""

from __future__ import annotations

import difflib
import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import pydantic
import yaml
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from estimators.config import parse
from tasks.errors import SentinelError
from tasks.records import AnswerType

_STRICT = ConfigDict(extra="forbid")

Positive = Annotated[int, Field(ge=1)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]


@dataclass(frozen=True, config=_STRICT)
class Resources:
    """What one engine holds. ``gpus`` and ``cpus`` are a replica's share and become Ray resources.

    ``tensor_parallel`` spreads one replica over that many GPUs, ``gpus`` being their number then.
    """

    gpus: Annotated[float, Field(ge=0)] = 0
    cpus: Annotated[float, Field(ge=0)] = 1
    replicas: Positive = 1
    tensor_parallel: Positive = 1


@dataclass(frozen=True, config=_STRICT)
class Price:
    """Money per million tokens, in any one currency."""

    input: Annotated[float, Field(ge=0)]
    output: Annotated[float, Field(ge=0)]
    currency: str = "USD"


@dataclass(frozen=True, config=_STRICT)
class Endpoint:
    """An OpenAI-compatible API.

    The key is read from the environment variable ``api_key_env``; ``null`` is for a server without
    keys. ``extra_body`` goes with every request, such as ``return_tokens_as_token_ids: true``.
    """

    base_url: Annotated[str, Field(pattern=r"^https?://[^@\s]+$")]
    api_key_env: Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]*$")] | None = "OPENAI_API_KEY"
    concurrency: Positive = 16
    requests_per_minute: Positive | None = None
    timeout_s: Annotated[float, Field(gt=0)] = 600
    max_retries: Annotated[int, Field(ge=0)] = 5
    extra_body: dict[str, Any] = Field(default_factory=dict)


@dataclass(frozen=True, config=_STRICT)
class Model:
    """A language model and how to reach it.

    ``model`` is a hub id, a local folder, or the name that the endpoint knows. ``options`` are
    passed to vLLM's engine as they are. ``chat_template`` arguments go to the tokenizer's template
    (for instance ``enable_thinking: false``).

    ``capture`` is how vLLM's entropies are obtained. ``device`` computes them beside its sampler,
    at nearly full speed and with the entropy over the whole vocabulary; ``logprobs`` asks for the
    top-k log-probabilities; ``auto`` is the first where it can be used, else the second. Both give
    the same numbers within rounding, so responses of one complete those of the other.
    """

    name: Name
    engine: Literal["vllm", "openai"]
    model: Annotated[str, Field(min_length=1)]
    revision: str | None = None
    options: dict[str, Any] = Field(default_factory=dict)
    chat_template: dict[str, Any] = Field(default_factory=dict)
    capture: Literal["auto", "device", "logprobs"] = "auto"
    resources: Resources = Resources()
    endpoint: Endpoint | None = None
    price: Price | None = None

    @pydantic.model_validator(mode="after")
    def _endpoint_belongs_to_openai(self) -> Model:
        if (self.endpoint is not None) != (self.engine == "openai"):
            raise ValueError("engine: openai needs an `endpoint`, and engine: vllm takes none")
        if self.engine == "openai" and self.capture == "device":
            raise ValueError("capture: device needs engine: vllm; an endpoint gives logprobs only")
        return self


@dataclass(frozen=True, config=_STRICT)
class Hub:
    """A dataset of the Hugging Face hub, pinned to a revision."""

    dataset: str
    split: str
    revision: str
    config: str | None = None


@dataclass(frozen=True, config=_STRICT)
class File:
    """A Parquet or JSONL file. ``where`` keeps the rows whose columns equal these values."""

    path: str
    where: dict[str, str] = Field(default_factory=dict)


@dataclass(frozen=True, config=_STRICT)
class Procedural:
    """At most ``size`` distinct questions of a reasoning-gym generator; fixed by the seed."""

    generator: str
    size: Positive
    seed: int = 7
    config: dict[str, Any] = Field(default_factory=dict)


@dataclass(frozen=True, config=_STRICT)
class Fields:
    """Which source column holds what. ``answer_after`` keeps the answer's text after a marker."""

    question: str = "question"
    answer: str = "answer"
    solution: str | None = None
    item_id: str | None = None
    answer_type: str | None = None
    tolerance: str | None = None
    unit: str | None = None
    answer_after: str | None = None


@dataclass(frozen=True, config=_STRICT)
class Benchmark:
    """Questions with reference answers. Raise ``version`` when the items change."""

    name: Name
    version: Positive
    source: Hub | File | Procedural
    fields: Fields = Fields()
    answer_type: AnswerType = AnswerType.NUMERIC
    tolerance: Annotated[float, Field(ge=0, lt=1)] | None = None
    prompt: str | None = None
    show_items: bool = True

    @pydantic.field_validator("prompt")
    @classmethod
    def _asks_the_question(cls, prompt: str | None) -> str | None:
        return _check_prompt(prompt)


@dataclass(frozen=True, config=_STRICT)
class Decoding:
    """How tokens are drawn. ``top_k`` is the number of log-probabilities kept a token."""

    temperature: Annotated[float, Field(ge=0, le=2)] = 0.5
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    max_tokens: Positive = 2048
    seed: int = 42
    top_k: Annotated[int, Field(ge=1, le=100)] = 20
    stop: tuple[str, ...] = ()


@dataclass(frozen=True, config=_STRICT)
class Judge:
    """How responses are scored. ``deadline_s`` bounds one symbolic comparison."""

    kind: Literal["rules"] = "rules"
    deadline_s: Annotated[float, Field(gt=0)] = 5.0


@dataclass(frozen=True, config=_STRICT)
class Sweep:
    """Which compositions are trained with which estimators. ``path`` picks the implementation."""

    sizes: Annotated[tuple[Positive, ...], Field(min_length=1)] = (1, 2, 3, 4)
    estimators: Annotated[tuple[str, ...], Field(min_length=1)] = (
        "ensemble",
        "forest-isotonic",
        "logistic-isotonic",
        "mlp-isotonic",
        "atc-max",
        "constant",
    )
    path: Literal["fast", "exact", "reference"] = "fast"
    seed: Annotated[int, Field(ge=0)] = 42

    @pydantic.field_validator("estimators")
    @classmethod
    def _estimators_exist(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            parse(name)
            if names.count(name) > 1:
                raise ValueError(f"estimator {name!r} is listed twice")
        return names


@dataclass(frozen=True, config=_STRICT)
class Experiment:
    """Models x benchmarks, decoded, judged, profiled and swept. ``limit`` takes the first items."""

    name: Name
    models: Annotated[tuple[Model, ...], Field(min_length=1)]
    benchmarks: Annotated[tuple[Benchmark, ...], Field(min_length=2)]
    prompt: str = "{question}"
    decoding: Decoding = Decoding()
    judge: Judge = Judge()
    sweep: Sweep = Sweep()
    limit: Positive | None = None
    batch_items: Positive = 64
    store_text: bool = True
    keep_top_logprobs: bool = False

    @pydantic.field_validator("prompt")
    @classmethod
    def _asks_the_question(cls, prompt: str) -> str:
        return _check_prompt(prompt) or prompt

    @pydantic.model_validator(mode="after")
    def _names_are_distinct(self) -> Experiment:
        for kind, members in (("model", self.models), ("benchmark", self.benchmarks)):
            names = [m.name for m in members]
            twice = {n for n in names if names.count(n) > 1}
            if twice:
                raise ValueError(f"{kind} {sorted(twice)[0]!r} is listed twice")
        too_large = [k for k in self.sweep.sizes if k >= len(self.benchmarks)]
        if too_large:
            raise ValueError(
                f"sweep.sizes: k = {too_large[0]} leaves no unseen benchmark among "
                f"{len(self.benchmarks)}; use at most {len(self.benchmarks) - 1}"
            )
        return self


def _check_prompt(prompt: str | None) -> str | None:
    if prompt is not None and "{question}" not in prompt:
        raise ValueError("a prompt must contain {question}, the place of the item's question")
    return prompt


T = TypeVar("T", Model, Benchmark)
S = TypeVar("S")


def load_experiment(path: str | Path) -> Experiment:
    """Read an experiment and every model and benchmark it names.

    Names are files beside the experiment's folder: ``conf/experiments/demo.yaml`` finds
    ``conf/models/NAME.yaml`` and ``conf/benchmarks/NAME.yaml``.

    Raises
    ------
    SentinelError
        For a missing file, YAML that does not parse, an unknown field or name, or a bad value.
    """
    path = Path(path)
    document = _read(path)
    root = path.resolve().parent.parent
    for kind in ("models", "benchmarks"):
        names = document.setdefault(kind, [])
        if not isinstance(names, list) or not all(isinstance(n, str) for n in names):
            raise SentinelError(f"{path}: `{kind}` is not a list of names", f"list {kind} by name")
    document["models"] = [load_named(root, "models", n, Model) for n in document["models"]]
    document["benchmarks"] = [
        load_named(root, "benchmarks", n, Benchmark) for n in document["benchmarks"]
    ]
    return _validate(path, document, Experiment)


def load_named(root: Path, kind: str, name: str, cls: type[T]) -> T:
    """Read ``ROOT/KIND/NAME.yaml``; an unknown name is an error that offers the nearest ones."""
    path = root / kind / f"{name}.yaml"
    if not path.exists():
        known = sorted(p.stem for p in (root / kind).glob("*.yaml"))
        near = difflib.get_close_matches(name, known, n=3) or known
        raise SentinelError(
            f"{kind[:-1]} {name!r} is unknown: {path} does not exist",
            f"did you mean {', '.join(near) or 'to create it'}?",
        )
    item = _validate(path, _read(path), cls)
    if item.name != name:
        raise SentinelError(f"{path}: the name is {item.name!r}", f"make it {name!r}, as the file")
    return item


def parse_section(cls: type[S], document: dict[str, Any], source: str) -> S:
    """Validate one section's values, such as the options of a command; ``source`` names them."""
    return _validate(source, document, cls)


def _read(path: Path) -> dict[str, Any]:
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SentinelError(f"{path} does not exist", "check the path") from None
    except OSError as error:
        raise SentinelError(
            f"{path} cannot be read: {error.strerror}", "give a YAML file that you may read"
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SentinelError(f"{path} is not valid YAML: {error}", "mend the line named") from None
    if not isinstance(document, dict):
        raise SentinelError(f"{path} holds no fields", "write `field: value` lines")
    return {key: _expand(path, value) for key, value in document.items()}


def _expand(path: Path, value: Any) -> Any:
    """Replace ``${NAME}`` and ``${NAME:-default}`` in strings, at any depth."""
    if isinstance(value, dict):
        return {key: _expand(path, v) for key, v in value.items()}
    if isinstance(value, list):
        return [_expand(path, v) for v in value]
    if not isinstance(value, str):
        return value

    def lookup(match: re.Match[str]) -> str:
        found = os.environ.get(match["name"], match["default"])
        if found is None:
            raise SentinelError(
                f"{path}: the environment variable {match['name']} is not set",
                f"export {match['name']}=...",
            )
        return found

    return re.sub(r"\$\{(?P<name>[A-Z][A-Z0-9_]*)(?::-(?P<default>[^}]*))?\}", lookup, value)


def _validate(source: str | Path, document: dict[str, Any], cls: type[S]) -> S:
    try:
        return pydantic.TypeAdapter(cls).validate_python(document)
    except pydantic.ValidationError as error:
        problems = []
        for e in error.errors():
            where = ".".join(str(p) for p in e["loc"])
            problems.append(f"{where or cls.__name__.lower()}: {e['msg']}")
        raise SentinelError(
            f"{source}: " + "; ".join(problems), "mend these fields; docs/conf.md lists them all"
        ) from None
