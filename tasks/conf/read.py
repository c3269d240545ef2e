"""YAML into validated sections. Nothing else parses YAML."""

from __future__ import annotations

import difflib
import os
import re
from pathlib import Path
from typing import Any, TypeVar

import pydantic
import yaml

from tasks.conf.base import NAMES, is_name
from tasks.conf.benchmarks import SOURCE_TAGS, Benchmark
from tasks.conf.experiments import Experiment
from tasks.conf.judges import Judge, LlmJudge, RuleJudge
from tasks.conf.models import Model
from tasks.conf.prompts import Prompt
from tasks.conf.sensitivity import BASE, FIXED, Sensitivity, varied
from tasks.errors import SentinelError

T = TypeVar("T", Model, Benchmark, LlmJudge, Prompt)
S = TypeVar("S")


# Names of variables that hold what must not be shown: OPENAI_API_KEY, HF_TOKEN, PGPASSWORD.
_SECRET = re.compile(
    r"(^|_)(API_?KEY|KEY|TOKEN|SECRET|CREDENTIALS?|AUTH_STRING)($|_)|PASSWORD|PASSWD"
)


def load_experiment(path: str | Path) -> Experiment:
    """Read an experiment and every model and benchmark it names.

    Names are files beside the experiment's folder: ``conf/experiments/demo.yaml`` finds
    ``conf/models/NAME.yaml`` and ``conf/benchmarks/NAME.yaml``. In ``conf/experiments`` an
    experiment is named as its file: two of one name would share results. A file elsewhere may have
    any name.

    Raises
    ------
    SentinelError
        For a missing file, YAML that does not parse, an unknown field or name, or a bad value.
    """
    path = Path(path)
    found = _experiment(path, _read(path))
    if path.resolve().parts[-3:-1] != ("conf", "experiments"):
        return found
    if not is_name(path.stem):
        raise SentinelError(f"{path}: {NAMES}", "rename the file, and `name` in it")
    return _named_as_its_file(found, path.stem, path)


def load_sensitivity(path: str | Path) -> Sensitivity:
    """Read a sensitivity file: the name of an experiment, changes to it, and its variants.

    ``conf/sensitivity/NAME.yaml`` finds ``conf/experiments/EXPERIMENT.yaml``. The base keeps the
    top log-probabilities if some variant reads fewer of them (``profile_top_k``), so that these
    variants share its responses.

    Raises
    ------
    SentinelError
        As :func:`load_experiment`; the message names the variant.
    """
    path = Path(path)
    document = _read(path)
    experiments = path.resolve().parent.parent / "experiments"
    base = document.pop("experiment", None)
    if not isinstance(base, str):
        raise SentinelError(
            f"{path}: `experiment` is missing", "name the file in conf/experiments that is varied"
        )
    file = experiments / f"{base}.yaml"
    variants = document.get("variants") or {}
    if not isinstance(variants, dict) or not all(isinstance(v, dict) for v in variants.values()):
        raise SentinelError(f"{path}: `variants` is no mapping", "write `NAME: {field: value}`")
    kept = {"keep_top_logprobs": True}
    fewer = any("profile_top_k" in changes for changes in variants.values())

    for name, changes in variants.items():
        if fixed := [field for field in FIXED if field in changes]:
            raise SentinelError(
                f"{path}, {name}: `{fixed[0]}` is the same in all variants",
                "put it under `changes`, or change other fields",
            )

    def experiment(name: str, *changes: dict[str, Any]) -> Experiment:
        fields = _read(file)
        for change in changes:
            fields = varied(fields, change)
        return _experiment(file, fields, f"{path}, {name}")

    common = document.pop("changes", {})
    document["base"] = experiment(BASE, common, kept if fewer else {})
    document["variants"] = {
        name: experiment(name, common, kept if "profile_top_k" in changes else {}, changes)
        for name, changes in variants.items()
    }
    return _validate(path, document, Sensitivity)


def _experiment(path: Path, document: dict[str, Any], source: str | None = None) -> Experiment:
    """An experiment of a file's fields; ``source`` is named in errors instead of the file."""
    root = path.resolve().parent.parent
    for kind in ("models", "benchmarks"):
        names = document.setdefault(kind, [])
        if not isinstance(names, list) or not all(isinstance(n, str) for n in names):
            raise SentinelError(f"{path}: `{kind}` is not a list of names", f"list {kind} by name")
    document["models"] = [load_named(root, "models", n, Model, path) for n in document["models"]]
    document["benchmarks"] = [
        load_named(root, "benchmarks", n, Benchmark, path) for n in document["benchmarks"]
    ]
    if "judge" in document:
        document["judge"] = load_judge(root, document["judge"], f"{path}, judge")
    return _validate(source or path, _with_prompt(root, document), Experiment)


def _with_prompt(root: Path, document: dict[str, Any]) -> dict[str, Any]:
    """The fields with a prompt's text in place of its name; a literal prompt stays as it is."""
    prompt = document.get("prompt")
    if not isinstance(prompt, str) or not is_name(prompt):
        return document
    return document | {"prompt": load_named(root, "prompts", prompt, Prompt).text}


def load_judge(root: Path, judge: Any, source: str) -> Any:
    """A judge by name or by its fields; the ``llm`` of a chain may be a name as well.

    Names are files ``ROOT/judges/NAME.yaml``. ``source`` is named in errors.
    """
    if isinstance(judge, str):
        path = _find(root, "judges", judge, source)
        found = load_judge(root, _read(path), str(path))
        return _named_as_its_file(found, judge, path)
    if not isinstance(judge, dict):
        raise SentinelError(f"{source}: neither a name nor fields", "see docs/judging.md")
    if isinstance(judge.get("llm"), str):
        judge = judge | {"llm": load_named(root, "judges", judge["llm"], LlmJudge, source)}
    anything: Any = Judge  # A union is no class, which is what the signature below says.
    return _validate(source, judge, anything)


def load_judge_file(name: str) -> Any:
    """A judge by a YAML file's path, or by its name below ``conf/judges`` in the working folder.

    ``rules`` needs no file.
    """
    if name.endswith((".yaml", ".yml")):
        path = Path(name)
        return load_judge(path.resolve().parent.parent, _read(path), name)
    root = Path("conf")
    if name == "rules" and not (root / "judges" / "rules.yaml").exists():
        return RuleJudge()
    return load_judge(root, name, "--judge")


def hidden_benchmarks() -> set[str]:
    """Case-folded names of the benchmarks below ``conf`` whose items must not be shown."""
    documents = {path: _read(path) for path in Path("conf/benchmarks").glob("*.yaml")}
    hidden = (path.stem for path, d in documents.items() if d.get("show_items") is False)
    return {name.casefold() for name in hidden}


def load_named(
    root: Path, kind: str, name: str, cls: type[T], source: str | Path | None = None
) -> T:
    """Read ``ROOT/KIND/NAME.yaml``; an unknown name is an error that offers the nearest ones.

    ``source`` is the file that names it, for that error.
    """
    path = _find(root, kind, name, source)
    document = _read(path)
    if cls is not Prompt:
        document = _with_prompt(root, document)
    return _named_as_its_file(_validate(path, document, cls), name, path)


def _find(root: Path, kind: str, name: str, source: str | Path | None = None) -> Path:
    path = root / kind / f"{name}.yaml"
    # A name with slashes or dots in front would lead out of the folder.
    if is_name(name) and path.exists():
        return path
    files = sorted(p.stem for p in (root / kind).glob("*.yaml"))
    known = [stem for stem in files if is_name(stem)]
    near = difflib.get_close_matches(name, known, n=3) or known
    named_in = f"{source}: " if source else ""
    raise SentinelError(
        f"{named_in}{kind[:-1]} {name!r} is unknown: "
        f"{f'{path} does not exist' if is_name(name) else NAMES}",
        f"rename {path}, and `name` in it"
        if name in files
        else f"did you mean {', '.join(near) or 'to create it'}?",
    )


def _named_as_its_file(item: S, name: str, path: Path) -> S:
    own = getattr(item, "name", None)
    if own != name:
        raise SentinelError(f"{path}: the name is {own!r}", f"make it {name!r}, as the file")
    return item


def parse_section(cls: type[S], document: dict[str, Any], source: str) -> S:
    """Validate one section's values, such as the options of a command; ``source`` names them."""
    return _validate(source, document, cls)


def _read(path: Path) -> dict[str, Any]:
    try:
        document = _parse(path, path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SentinelError(f"{path} does not exist", "check the path") from None
    except OSError as error:
        raise SentinelError(
            f"{path} cannot be read: {error.strerror}", "give a YAML file that you may read"
        ) from None
    except UnicodeDecodeError as error:
        raise SentinelError(f"{path} is no text: {error}", "give a YAML file in UTF-8") from None
    if not isinstance(document, dict):
        raise SentinelError(f"{path} holds no fields", "write `field: value` lines")
    return {key: _expand(path, value) for key, value in document.items()}


def _parse(path: Path, text: str) -> Any:
    """Plain values of a YAML text, in which no mapping may name a key twice.

    YAML forbids that, but its parser would take the last value in silence.
    """
    try:
        loader = yaml.SafeLoader(text)
        try:
            node = loader.get_single_node()
            _refuse_repeats(path, node)
            return loader.construct_document(node) if node is not None else None
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}" if mark else ""
        raise SentinelError(
            f"{path}{line}: not valid YAML: {error.problem or error.context}", "mend that line"
        ) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        # A character, a date that is none, an alias inside of what it stands for.
        raise SentinelError(f"{path}: not valid YAML: {error}", "mend that text") from None


def _refuse_repeats(path: Path, node: yaml.Node | None) -> None:
    if isinstance(node, yaml.SequenceNode):
        for member in node.value:
            _refuse_repeats(path, member)
    if not isinstance(node, yaml.MappingNode):
        return
    lines: dict[str, int] = {}
    for key, value in node.value:
        line = key.start_mark.line + 1
        if isinstance(key, yaml.ScalarNode):
            if key.value in lines:
                raise SentinelError(
                    f"{path}, line {line}: `{key.value}` was given in line {lines[key.value]}",
                    "keep one of the two",
                )
            lines[key.value] = line
        _refuse_repeats(path, value)


def _expand(path: Path, value: Any) -> Any:
    """Replace ``${NAME}`` and ``${NAME:-default}`` in strings, at any depth."""
    if isinstance(value, dict):
        return {key: _expand(path, v) for key, v in value.items()}
    if isinstance(value, list):
        return [_expand(path, v) for v in value]
    if not isinstance(value, str):
        return value

    def lookup(match: re.Match[str]) -> str:
        if _SECRET.search(match["name"]):
            raise SentinelError(
                f"{path}: ${{{match['name']}}} would put a secret into the conf, which is logged "
                "and stored",
                "name the variable in `api_key_env`, or rename it if it is no secret",
            )
        found = os.environ.get(match["name"], match["default"])
        if found is None:
            raise SentinelError(
                f"{path}: the environment variable {match['name']} is not set",
                f"export {match['name']}=...",
            )
        return found

    return re.sub(r"\$\{(?P<name>[A-Z][A-Z0-9_]*)(?::-(?P<default>[^}]*))?\}", lookup, value)


def with_name(path: Path, section: str, name: str) -> str:
    """Text of a YAML file with ``name`` added to the list ``section``; all else stays as written.

    Raises
    ------
    SentinelError
        If the file has no such list.
    """
    _read(path)  # What is no YAML is told here.
    text = path.read_text(encoding="utf-8")
    document = yaml.compose(text)
    for key, names in document.value if isinstance(document, yaml.MappingNode) else ():
        if key.value != section or not isinstance(names, yaml.SequenceNode) or not names.value:
            continue
        if name in [n.value for n in names.value]:
            return text
        last = names.value[-1]
        at = last.end_mark.index
        added = f", {name}" if names.flow_style else f"\n{' ' * names.start_mark.column}- {name}"
        return text[:at] + added + text[at:]
    raise SentinelError(f"{path}: `{section}` is no list with names", f"list {section} by name")


def _validate(source: str | Path, document: dict[str, Any], cls: type[S]) -> S:
    try:
        return pydantic.TypeAdapter(cls).validate_python(document)
    except pydantic.ValidationError as error:
        problems = []
        for e in error.errors():
            where = ".".join(str(p) for p in e["loc"] if p not in SOURCE_TAGS)
            told = e["msg"].removeprefix("Value error, ")
            if e["type"] == "unexpected_keyword_argument":
                told = "unknown field"
            elif e["type"] == "too_short":
                told = (
                    f"at least {e['ctx']['min_length']} is needed, not {e['ctx']['actual_length']}"
                )
            problems.append(f"{where}: {told}" if where else told)
        raise SentinelError(
            f"{source}: " + "; ".join(problems), "mend these fields; docs/conf.md lists them all"
        ) from None
