"""Configuration: every mistake is an error that names the file, the field and the remedy."""

import dataclasses
from pathlib import Path

import pytest
import yaml

from tasks.conf import Endpoint, Experiment, Hub, Procedural, load_experiment, load_named
from tasks.conf.prompts import Prompt
from tasks.errors import SentinelError
from tasks.jobs import jobs_of

REPOSITORY = Path(__file__).parents[2]
MODEL = {"name": "m", "engine": "vllm", "model": "org/m"}
REMOTE = {"name": "m", "engine": "openai", "model": "org/m",
          "endpoint": {"base_url": "http://127.0.0.1:1/v1"}}  # fmt: skip
SOURCE = {"generator": "chain_sum", "size": 5}
EXPERIMENT = {
    "name": "demo",
    "models": ["m"],
    "benchmarks": ["easy", "hard"],
    "sweep": {"sizes": [1]},
}


class Conf:
    """A conf folder to write into."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.path = root / "experiments" / "demo.yaml"
        self.model(MODEL)
        for name in ("easy", "hard"):
            self.benchmark({"name": name, "version": 1, "source": SOURCE})
        self.experiment(EXPERIMENT)

    def write(self, kind: str, name: str, text: str) -> None:
        path = self.root / kind / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def model(self, document: dict, name: str = "m") -> None:
        self.write("models", name, yaml.safe_dump(document))

    def benchmark(self, document: dict) -> None:
        self.write("benchmarks", document["name"], yaml.safe_dump(document))

    def experiment(self, document: dict) -> None:
        self.write("experiments", "demo", yaml.safe_dump(document))

    def error(self) -> str:
        with pytest.raises(SentinelError) as caught:
            load_experiment(self.path)
        return str(caught.value)


@pytest.fixture
def conf(tmp_path: Path) -> Conf:
    return Conf(tmp_path / "conf")


def test_names_become_the_members_they_name(conf: Conf) -> None:
    loaded = load_experiment(conf.path)
    assert [m.model for m in loaded.models] == ["org/m"]
    assert [b.source for b in loaded.benchmarks] == [Procedural("chain_sum", 5)] * 2
    assert loaded.sweep.sizes == (1,)


@pytest.mark.parametrize(
    "path", sorted((REPOSITORY / "conf" / "experiments").glob("*.yaml")), ids=lambda p: p.stem
)
def test_the_experiments_of_this_repository_are_valid(path: Path) -> None:
    assert isinstance(load_experiment(path), Experiment)


@pytest.mark.parametrize("kind", ["models", "benchmarks"])
def test_everything_in_this_repositorys_conf_is_valid(kind: str) -> None:
    from tasks.conf import Benchmark, Model

    folder = REPOSITORY / "conf"
    names = sorted(path.stem for path in (folder / kind).glob("*.yaml"))
    cls = Model if kind == "models" else Benchmark
    assert names
    assert [load_named(folder, kind, name, cls).name for name in names] == names


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"modles": ["m"]}, ["demo.yaml: modles:", "unknown field"]),
        ({"limit": "ten"}, ["demo.yaml: limit:", "valid integer"]),
        ({"limit": 0}, ["limit:", "greater than or equal to 1"]),
        ({"store_text": "perhaps"}, ["store_text:", "valid boolean"]),
        ({"decoding": {"temprature": 1}}, ["decoding.temprature:", "unknown field"]),
        ({"decoding": {"temperature": -1}}, ["decoding.temperature:", "greater than or equal"]),
        ({"decoding": {"top_k": 101}}, ["decoding.top_k:", "less than or equal to 100"]),
        ({"prompt": "Solve it."}, ["prompt:", "must contain {question}"]),
        ({"models": []}, ["models: at least 1 is needed, not 0"]),
        ({"models": "m"}, ["`models` is not a list of names"]),
        ({"models": [{"name": "m"}]}, ["`models` is not a list of names"]),
        ({"models": ["m", "m"]}, ["model 'm' is listed twice"]),
        ({"benchmarks": ["easy"]}, ["benchmarks: at least two are needed, to train on some"]),
        ({"benchmarks": ["easy", "easy"]}, ["benchmark 'easy' is listed twice"]),
        ({"models": ["n"]}, ["model 'n' is unknown", "models/n.yaml does not exist"]),
        ({"benchmarks": ["esay", "hard"]}, ["'esay' is unknown", "did you mean easy?"]),
        ({"sweep": {"sizes": [1, 2]}}, ["k = 2 leaves no unseen benchmark among 2", "at most 1"]),
        ({"sweep": {"sizes": [0]}}, ["sweep.sizes.0:", "greater than or equal to 1"]),
        ({"sweep": {"sizes": []}}, ["sweep.sizes: at least 1 is needed, not 0"]),
        ({"sweep": {"sizes": [1], "seed": -1}}, ["sweep.seed:", "greater than or equal to 0"]),
        ({"sweep": {"estimators": ["atc-maks"]}}, ["'atc-maks'", "did you mean atc-max"]),
        ({"sweep": {"estimators": ["constant"] * 2}}, ["'constant' is listed twice"]),
    ],
    ids=lambda v: "-".join(v) if isinstance(v, dict) else "",
)
def test_a_mistake_in_an_experiment_is_named(conf: Conf, change: dict, words: list[str]) -> None:
    conf.experiment(EXPERIMENT | change)
    message = conf.error()
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (MODEL | {"engine": "llama.cpp"}, ["engine:", "'vllm' or 'openai'"]),
        (MODEL | {"model": ""}, ["model:", "at least 1 character"]),
        (MODEL | {"name": "a/b"}, ["name:", "match pattern"]),
        (MODEL | {"name": "other"}, ["the name is 'other'", "make it 'm', as the file"]),
        (MODEL | {"resources": {"gpu": 1}}, ["resources.gpu:", "unknown field"]),
        (MODEL | {"resources": {"replicas": 0}}, ["resources.replicas:", "greater than"]),
        (MODEL | {"endpoint": REMOTE["endpoint"]}, ["engine: vllm takes none"]),
        (MODEL | {"engine": "openai"}, ["engine: openai needs an `endpoint`"]),
        (REMOTE | {"endpoint": {"base_url": "ftp://x"}}, ["endpoint.base_url:", "pattern"]),
        (REMOTE | {"endpoint": {"base_url": "http://x", "concurrency": 0}}, ["concurrency:"]),
        (REMOTE | {"price": {"input": 1}}, ["price.output:", "Field required"]),
    ],
    ids=lambda v: v[0].rstrip(":") if isinstance(v, list) else "",
)
def test_a_mistake_in_a_model_is_named(conf: Conf, model: dict, words: list[str]) -> None:
    conf.model(model)
    message = conf.error()
    assert "models/m.yaml" in message
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"version": 0}, ["version:", "greater than or equal to 1"]),
        ({"source": {"path": "x", "split": "test"}}, ["source.split: unknown field"]),
        ({"tolerance": 1.5}, ["tolerance:", "less than 1"]),
        ({"answer_type": "number"}, ["answer_type:", "'numeric'"]),
        ({"prompt": "Answer:"}, ["prompt:", "must contain {question}"]),
        ({"fields": {"reply": "x"}}, ["fields.reply:", "unknown field"]),
        ({"fields": {"absolute_error": "e", "tolerance": "t"}}, ["exclude each other"]),
        ({"fields": {"scaled_by_unit": True}}, ["`scaled_by_unit` needs `unit`"]),
        ({"answer_types": {"int": {"type": "numeric"}}}, ["`fields.answer_type`; name it"]),
        (
            {"fields": {"answer_type": "kind"}, "answer_types": {"int": {"type": "number"}}},
            ["answer_types.int.type:", "'numeric'"],
        ),
        ({"hints": {"items": 0}}, ["hints.items:", "greater than or equal to 1"]),
    ],
    ids=lambda v: "-".join(v) if isinstance(v, dict) else "",
)
def test_a_mistake_in_a_benchmark_is_named(conf: Conf, change: dict, words: list[str]) -> None:
    conf.benchmark({"name": "easy", "version": 1, "source": SOURCE} | change)
    message = conf.error()
    assert "benchmarks/easy.yaml" in message
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    ("source", "told"),
    [
        (
            {"generator": "chain_sum", "size": 0},
            "source.size: Input should be greater than or equal",
        ),
        ({"generator": "chain_sum"}, "source.size: Field required"),
        ({"path": "x", "wher": {}}, "source.wher: unknown field"),
        ({"dataset": "a/b", "split": "test", "revision": 3}, "source.revision: Input should be a"),
        ({"size": 3}, "source: needs `dataset` (of the hub), `path` (a file) or `generator`"),
        ("x.jsonl", "source: needs `dataset` (of the hub), `path` (a file) or `generator`"),
    ],
    ids=str,
)
def test_a_mistake_in_a_source_is_told_alone(conf: Conf, source: object, told: str) -> None:
    """Not what the other kinds of source would lack."""
    conf.benchmark({"name": "easy", "version": 1, "source": source})
    problem = conf.error().splitlines()[0]
    assert f"easy.yaml: {told}" in problem
    assert ";" not in problem


def test_a_secret_in_a_url_is_refused_and_not_repeated(conf: Conf) -> None:
    conf.model(REMOTE | {"endpoint": {"base_url": "https://user:sk-abcdef@host/v1"}})
    message = conf.error()
    assert "endpoint.base_url:" in message
    assert "sk-abcdef" not in message


def test_a_key_in_place_of_the_name_of_its_variable_is_refused_and_not_repeated(conf) -> None:
    endpoint = {"base_url": "https://host/v1", "api_key_env": "sk-abcdef"}
    conf.model(REMOTE | {"endpoint": endpoint})
    message = conf.error()
    assert "endpoint.api_key_env:" in message
    assert "sk-abcdef" not in message


def test_an_endpoint_without_keys_is_written_as_null(conf: Conf) -> None:
    conf.model(REMOTE | {"endpoint": {"base_url": "http://host/v1", "api_key_env": None}})
    assert load_experiment(conf.path).models[0].endpoint == Endpoint("http://host/v1", None)


def test_variables_are_filled_in_at_any_depth(conf: Conf, monkeypatch) -> None:
    monkeypatch.setenv("WHERE", "/models")
    monkeypatch.delenv("PART", raising=False)
    conf.model(MODEL | {"model": "${WHERE}/${PART:-small}", "options": {"a": ["${WHERE}"]}})
    model = load_experiment(conf.path).models[0]
    assert model.model == "/models/small"
    assert model.options == {"a": ["/models"]}


def test_a_missing_variable_is_named_with_its_file(conf: Conf, monkeypatch) -> None:
    monkeypatch.delenv("NOWHERE", raising=False)
    conf.model(MODEL | {"model": "${NOWHERE}/x"})
    message = conf.error()
    assert "models/m.yaml: the environment variable NOWHERE is not set" in message
    assert "export NOWHERE=" in message


def test_yaml_that_does_not_parse_is_named_with_its_line(conf: Conf) -> None:
    conf.write("experiments", "demo", "name: demo\nmodels: [m\n")
    message = conf.error()
    assert "demo.yaml, line 3: not valid YAML: expected ',' or ']'" in message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name: demo\nmodels: [m]\nmodels: [n]\n", "line 3: `models` was given in line 2"),
        ("name: demo\nsweep: {seed: 1, seed: 2}\n", "line 2: `seed` was given in line 2"),
        ("name: demo\nlist:\n- {a: 1}\n- a: 1\n  a: 3\n", "line 5: `a` was given in line 4"),
        ("name: demo\n\tlimit: 3\n", "line 2: not valid YAML"),
        ("limit: !!python/object/apply:os.getcwd []\n", "line 1: not valid YAML"),
        ("limit: *nothing\n", "line 1: not valid YAML: found undefined alias"),
        ("a: &a [*a]\n", "not valid YAML"),
        ("name: 2026-02-30\n", "not valid YAML"),
        ("name: \x00\n", "not valid YAML"),
    ],
    ids=["twice", "twice in a line", "twice in a list", "tab", "code", "alias", "itself", "date",
         "character"],
)  # fmt: skip
def test_what_yaml_forbids_is_told_with_its_line(conf: Conf, text: str, words: str) -> None:
    conf.write("experiments", "demo", text)
    assert f"demo.yaml{'' if words.startswith('not') else ', '}" in conf.error()
    assert words in conf.error()


def test_a_key_may_stand_again_elsewhere(conf: Conf) -> None:
    conf.experiment(EXPERIMENT | {"decoding": {"seed": 3}, "sweep": {"sizes": [1], "seed": 4}})
    assert load_experiment(conf.path).decoding.seed == 3
    assert load_experiment(conf.path).sweep.seed == 4


def test_text_in_another_encoding_is_told(conf: Conf) -> None:
    conf.path.write_bytes(b"\xff\xfen\x00")
    assert "demo.yaml is no text" in conf.error()


def test_an_unknown_name_is_told_with_the_file_that_names_it(conf: Conf) -> None:
    conf.experiment(EXPERIMENT | {"models": ["n"]})
    assert "demo.yaml: model 'n' is unknown" in conf.error()


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "just words\n"])
def test_a_file_without_fields_is_refused(conf: Conf, text: str) -> None:
    conf.write("experiments", "demo", text)
    assert "demo.yaml holds no fields" in conf.error()


def test_an_experiment_of_the_conf_folder_is_named_as_its_file(conf: Conf, tmp_path: Path) -> None:
    """Two of one name would share results, the MLflow experiment and the champion."""
    conf.write("experiments", "copy", yaml.safe_dump(EXPERIMENT))
    with pytest.raises(SentinelError) as told:
        load_experiment(conf.root / "experiments" / "copy.yaml")
    assert "experiments/copy.yaml: the name is 'demo'" in str(told.value)
    assert "make it 'copy', as the file" in str(told.value)
    conf.root.rename(elsewhere := tmp_path / "mine")
    assert load_experiment(elsewhere / "experiments" / "copy.yaml").name == "demo"


@pytest.mark.parametrize("name", ["two words", "ü", ".hidden", "a+b"])
def test_a_file_whose_name_is_none_is_to_be_renamed(conf: Conf, name: str) -> None:
    conf.model(MODEL, name)
    conf.experiment(EXPERIMENT | {"models": [name]})
    message = conf.error()
    assert f"model {name!r} is unknown: a name is made of letters, digits" in message
    assert f"rename {conf.root}/models/{name}.yaml" in message
    # It is not offered to others either.
    conf.experiment(EXPERIMENT | {"models": [f"{name}s"]})
    assert "did you mean m?" in conf.error()
    conf.write("experiments", name, yaml.safe_dump(EXPERIMENT))
    with pytest.raises(SentinelError, match=r"a name is made of letters(?s:.*)rename the file"):
        load_experiment(conf.root / "experiments" / f"{name}.yaml")


def test_a_missing_file_and_a_folder_are_refused(conf: Conf) -> None:
    with pytest.raises(SentinelError, match=r"none\.yaml does not exist"):
        load_experiment(conf.root / "experiments" / "none.yaml")
    with pytest.raises(SentinelError, match="experiments cannot be read: Is a directory"):
        load_experiment(conf.root / "experiments")


def test_sections_cannot_be_changed_after_they_were_checked(conf: Conf) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        load_experiment(conf.path).decoding.top_k = 5


# Prompts


def test_a_prompt_may_be_named(conf: Conf) -> None:
    conf.write("prompts", "short", yaml.safe_dump({"name": "short", "text": "Q: {question}"}))
    conf.experiment(EXPERIMENT | {"prompt": "short"})
    conf.benchmark({"name": "easy", "version": 1, "source": SOURCE, "prompt": "short"})
    loaded = load_experiment(conf.path)
    assert loaded.prompt == "Q: {question}"
    assert [b.prompt for b in loaded.benchmarks] == ["Q: {question}", None]


def test_a_name_and_its_text_ask_the_same(conf: Conf) -> None:
    conf.write("prompts", "short", yaml.safe_dump({"name": "short", "text": "Q: {question}"}))
    keys = set()
    for prompt in ("short", "Q: {question}"):
        conf.experiment(EXPERIMENT | {"prompt": prompt})
        keys.add(jobs_of(loaded := load_experiment(conf.path), loaded.models[0])[0].key)
    assert len(keys) == 1


def test_an_unknown_prompt_is_named_with_near_ones(conf: Conf) -> None:
    conf.write("prompts", "paper", yaml.safe_dump({"name": "paper", "text": "{question}"}))
    conf.experiment(EXPERIMENT | {"prompt": "papper"})
    message = conf.error()
    assert "prompt 'papper' is unknown" in message
    assert "did you mean paper?" in message


def test_a_named_prompt_must_ask_the_question(conf: Conf) -> None:
    conf.write("prompts", "empty", yaml.safe_dump({"name": "empty", "text": "Solve it."}))
    conf.experiment(EXPERIMENT | {"prompt": "empty"})
    message = conf.error()
    assert "prompts/empty.yaml" in message
    assert "must contain {question}" in message


def test_the_prompts_of_the_study_are_named() -> None:
    texts = {n: load_named(REPOSITORY / "conf", "prompts", n, Prompt).text
             for n in ("paper", "raw")}  # fmt: skip
    assert texts == {
        "paper": "Solve the following problem step by step, then provide the final numerical "
        "answer.\n\nQuestion: {question}\n\nSolution:",
        "raw": "{question}",
    }


def test_configs_of_a_dataset_are_one_or_several(conf: Conf) -> None:
    hub = {"dataset": "org/d", "split": "test", "revision": "abc"}
    found = []
    for config in (None, "one", ["one", "two"]):
        conf.benchmark({"name": "easy", "version": 1, "source": hub | {"config": config}})
        found.append(load_experiment(conf.path).benchmarks[0].source.configs)
    assert found == [(None,), ("one",), ("one", "two")]


def test_a_source_is_told_by_its_fields(conf: Conf) -> None:
    hub = {"dataset": "org/d", "split": "test", "revision": "abc"}
    conf.benchmark({"name": "easy", "version": 1, "source": hub})
    assert load_experiment(conf.path).benchmarks[0].source == Hub("org/d", "test", "abc")
