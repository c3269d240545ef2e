"""The forms of the deployments offer what the flows take, and reject what they would not."""

import inspect
from pathlib import Path

import jsonschema
import pytest

from estimators.config import expand
from flows.again import rejudge, report, sweep
from flows.catch_up import catch_up
from flows.deploy import description
from flows.experiment import experiment
from flows.forms import ESTIMATORS, forms
from tasks.conf.choices import Choices
from tasks.errors import SentinelError

CHOICES = Choices(
    ("conf/experiments/a.yaml", "conf/experiments/b.yaml"), ("m", "n"), ("x", "y"), ("rules",)
)
FLOWS = {f.name: f for f in (experiment, rejudge, sweep, report, catch_up)}
FLOWS |= {"added-model": experiment}

#: Forms that people fill; the other is filled by the automation.
FILLED = [name for name in FLOWS if name != "added-model"]


def test_there_is_a_form_a_flow() -> None:
    assert set(forms(CHOICES)) == set(FLOWS)


@pytest.mark.parametrize("name", FLOWS)
def test_a_form_has_the_parameters_of_its_flow(name: str) -> None:
    schema = forms(CHOICES)[name]
    jsonschema.Draft202012Validator.check_schema(schema)
    taken = inspect.signature(FLOWS[name].fn).parameters
    assert set(schema["properties"]) <= set(taken)
    needed = {n for n, p in taken.items() if p.default is inspect.Parameter.empty}
    assert needed <= set(schema["required"])
    for field in schema["properties"].values():
        assert field["title"]
        assert field["description"].endswith(".")
    # What the form offers by default is valid and is what the flow would do by itself.
    given = {n: p["default"] for n, p in schema["properties"].items() if "default" in p}
    jsonschema.validate({n: WHOLE[n] for n in schema["required"]} | given, schema)


@pytest.mark.parametrize("name", FILLED)
def test_a_deployment_is_described_for_people(name: str) -> None:
    told = description(FLOWS[name])
    assert len(told) > 40
    assert told.endswith(".")
    for word in ("Parameters", "Returns", "Raises", "---", " : ", ":class:", ":mod:", "``"):
        assert word not in told


@pytest.mark.parametrize("name", FILLED)
def test_no_form_has_a_place_for_a_secret(name: str) -> None:
    fields = forms(CHOICES)[name]["properties"]
    free = [n for n, f in fields.items() if f["type"] == "string" and "enum" not in f]
    assert free == []


WHOLE = {
    "path": "conf/experiments/b.yaml", "models": ["n"], "benchmarks": ["x", "y"], "limit": 5,
    "estimators": ["ensemble", "v1-grid"], "sizes": [1, 2], "judge": "rules",
    "estimator": "ensemble", "paths": ["conf/experiments/a.yaml"],
}  # fmt: skip

BAD = {
    "path": ("conf/experiments/c.yaml", "", None, 3),
    "paths": (["conf/experiments/c.yaml"], "conf/experiments/a.yaml"),
    "models": (["o"], ["m", "m"], "m", [3]),
    "benchmarks": (["z"], ["x", "x"], "x"),
    "limit": (0, -1, 1.5, "all"),
    "judge": ("nobody", ["rules"]),
    "estimators": (["forrest"], ["ensemble", "ensemble"], "ensemble"),
    "estimator": ("forrest", ["ensemble"]),
    "sizes": ([0], [10], [1, 1], ["1"], 1),
}


def whole(name: str) -> tuple[dict, dict]:
    """The schema of a form and values for all its fields."""
    schema = forms(CHOICES)[name]
    return schema, {field: WHOLE[field] for field in schema["properties"]}


@pytest.mark.parametrize("name", FLOWS)
def test_a_whole_form_is_taken(name: str) -> None:
    schema, values = whole(name)
    jsonschema.validate(values, schema)
    # What the server takes, the flow takes as well.
    taken = FLOWS[name].validate_parameters(values)
    if "sizes" in values:
        assert taken["sizes"] == (1, 2)
    assert taken.keys() >= values.keys()


@pytest.mark.parametrize("name", FILLED)
def test_a_bad_value_is_rejected_in_every_field_of_every_form(name: str) -> None:
    schema, values = whole(name)
    for field in values:
        for bad in BAD[field]:
            with pytest.raises(jsonschema.ValidationError):
                jsonschema.validate(values | {field: bad}, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(values | {"colour": "red"}, schema)


@pytest.mark.parametrize("name", FILLED)
def test_a_field_left_empty_is_refused_where_it_is_needed_only(name: str) -> None:
    schema, values = whole(name)
    for field in values:
        rest = {k: v for k, v in values.items() if k != field}
        if field in schema["required"]:
            with pytest.raises(jsonschema.ValidationError):
                jsonschema.validate(rest, schema)
        else:
            jsonschema.validate(rest, schema)
            FLOWS[name].validate_parameters(rest)


def test_what_an_event_says_is_judged_by_the_run_and_not_by_the_form() -> None:
    """A refused event would be seen by nobody; a run that fails says why."""
    schema = forms(CHOICES)["added-model"]
    for values in ({"path": "", "models": [""]}, {"path": "gone.yaml", "models": ["unknown"]}):
        assert jsonschema.Draft202012Validator(schema).is_valid(values)


def test_the_form_of_an_event_does_not_run_the_whole_experiment() -> None:
    schema = forms(CHOICES)["added-model"]
    for values in ({"path": "e.yaml"}, {"path": "e.yaml", "models": []}):
        with pytest.raises(jsonschema.ValidationError, match=r"models|non-empty"):
            jsonschema.validate(values, schema)


def test_every_estimator_offered_exists() -> None:
    assert len(expand(ESTIMATORS)) >= len(ESTIMATORS) - 10


def test_the_choices_are_the_files_of_the_conf_folder(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("experiments/b", "experiments/a", "models/m", "judges/rules"):
        path = Path("conf") / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    found = Choices.of(Path("conf"))
    assert found.experiments == ("conf/experiments/a.yaml", "conf/experiments/b.yaml")
    assert (found.models, found.benchmarks, found.judges) == (("m",), (), ("rules",))


def conf_of(folder: Path, **experiments: str) -> Path:
    """A conf folder with a model, two benchmarks and these texts of experiments."""
    files = {f"experiments/{name}": text for name, text in experiments.items()}
    files["models/m"] = "{name: m, engine: vllm, model: org/m}"
    for name in ("x", "y"):
        files[f"benchmarks/{name}"] = f"{{name: {name}, version: 1, source: {{path: {name}.csv}}}}"
    for name, text in files.items():
        path = folder / "conf" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder / "conf"


VALID = "{name: %s, models: [m], benchmarks: [x, y], sweep: {sizes: [1]}}"


def test_an_experiment_that_is_not_valid_is_not_offered(tmp_path: Path) -> None:
    """Least of all as the default, which the first one is."""
    texts = {"a": "models: [", "b": VALID % "b", "c": VALID % "b", "d": VALID % "d"}
    found = Choices.of(conf_of(tmp_path, **texts)).readable()
    assert [Path(path).stem for path in found.experiments] == ["b", "d"]
    assert forms(found)["experiment"]["properties"]["path"]["default"] == found.experiments[0]
    broken, copied = found.left_out
    assert "experiments/a.yaml, line 1: not valid YAML" in broken
    assert "experiments/c.yaml: the name is 'b'; make it 'c'" in copied


def test_a_mistake_in_a_model_is_told_with_the_experiments_that_it_keeps_out(
    tmp_path: Path,
) -> None:
    conf = conf_of(tmp_path, e=VALID % "e")
    (conf / "models" / "m.yaml").write_text("{name: m, engine: vllm}")
    with pytest.raises(SentinelError, match=r"e\.yaml: .*m\.yaml: model: "):
        Choices.of(conf).readable()


def test_a_file_whose_name_is_none_is_not_offered(tmp_path: Path) -> None:
    conf = conf_of(tmp_path, e=VALID % "e")
    (conf / "models" / "m.yaml").rename(conf / "models" / "two words.yaml")
    found = Choices.of(conf)
    assert found.models == ()
    (told,) = found.left_out
    assert told.endswith("a letter or digit; rename it")
    assert "two words.yaml: a name is made of letters" in told


def test_a_folder_without_experiments_is_told(tmp_path: Path) -> None:
    with pytest.raises(SentinelError, match="holds no YAML file"):
        Choices.of(tmp_path)
