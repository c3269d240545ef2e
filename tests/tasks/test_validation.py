"""What ``sentinel validate`` finds out without network or GPU; figures worked out by hand."""

import dataclasses
from itertools import product
from pathlib import Path

import pytest

from tasks.conf import (
    Benchmark,
    ChainJudge,
    Decoding,
    Endpoint,
    File,
    Hub,
    LlmJudge,
    Model,
    Price,
    Procedural,
    Resources,
    load_experiment,
)
from tasks.conf.benchmarks import Hints
from tasks.conf.models import Size
from tasks.sweeps.sweep import estimator_configs, sweep_compositions
from tasks.validation import validate
from tasks.validation.memory import need

CONF = Path(__file__).parents[2] / "conf"
# 8 billion parameters: 16 GB. A token's cache: 2 x 10 layers x 5 heads x 100 x 2 bytes = 20 kB, so
# 0.02 GB for 1,000 tokens.
SIZE = Size(8.0, layers=10, kv_heads=5, head_dim=100)
GPU = Resources(gpus=1, gpu_memory_gb=40)


def model(**fields) -> Model:
    defaults = {"name": "m", "engine": "vllm", "model": "org/m", "size": SIZE, "resources": GPU,
                "options": {"max_model_len": 1000}}  # fmt: skip
    return Model(**(defaults | fields))


def remote(name: str = "r", **fields) -> Model:
    fields = {"endpoint": Endpoint("https://api.example.org/v1", "SOME_KEY")} | fields
    return Model(name, "openai", "org/r", **fields)


HINTS = Hints(items=100, question_tokens=50, response_tokens=200)


def hub(name: str, hints: Hints = HINTS, **fields) -> Benchmark:
    return Benchmark(name, 1, Hub("org/d", "test", "abc"), hints=hints, **fields)


@pytest.fixture
def check(make_experiment, monkeypatch):
    """The report on a model and two hub benchmarks, with the fields given instead of theirs."""
    monkeypatch.delenv("SOME_KEY", raising=False)
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)

    def report(gpu_memory_gb: float | None = None, **fields):
        defaults = {"models": (model(),), "benchmarks": (hub("a"), hub("b")),
                    "decoding": Decoding(max_tokens=500)}  # fmt: skip
        return validate(make_experiment(**(defaults | fields)), gpu_memory_gb)

    return report


# Counts


@pytest.mark.parametrize(
    ("name", "configurations", "estimators"),
    [("paper-v1", 41_580, 12), ("paper-v4", 166_320, 48)],
)
def test_the_study_is_counted_as_the_sweep_enumerates_it(name, configurations, estimators) -> None:
    experiment = load_experiment(CONF / "experiments" / f"{name}.yaml")
    counts = validate(experiment).counts
    benchmarks = [b.name for b in experiment.benchmarks]
    enumerated = list(
        product(
            [m.name for m in experiment.models],
            sweep_compositions(benchmarks, experiment.sweep.sizes),
            [c.name for c in estimator_configs(experiment.sweep.estimators)],
        )
    )
    assert len(set(enumerated)) == len(enumerated) == configurations
    assert counts.configurations == configurations
    assert (counts.models, counts.jobs, counts.estimators) == (9, 90, estimators)
    # 10 + 45 + 120 + 210 training groups of one to four of ten.
    assert counts.compositions == 385


def test_the_fourth_version_has_every_family_calibration_and_balancing_on_four_sets() -> None:
    experiment = load_experiment(CONF / "experiments" / "paper-v4.yaml")
    configs = estimator_configs(experiment.sweep.estimators)
    made = {(c.family, c.calibration, c.balanced, c.feature_set) for c in configs}
    assert made == set(
        product(
            ("logistic", "forest", "mlp"),
            ("isotonic", "none"),
            (True, False),
            ("17d", "10d", "3d", "1d"),
        )
    )
    assert {c.tuning for c in configs} == {"folds"}


def test_the_study_is_decoded_as_published() -> None:
    experiment = load_experiment(CONF / "experiments" / "paper-v1.yaml")
    assert experiment.decoding == Decoding(0.5, 1.0, 2048, 42, 20)
    assert experiment.prompt.startswith("Solve the following problem step by step")
    assert {m.options["dtype"] for m in experiment.models} == {"bfloat16"}
    assert {m.options["max_model_len"] for m in experiment.models} == {4096}
    assert experiment.judge.model == "grok-4-1-fast-reasoning"


def test_transfers_are_counted_by_ordered_pairs_of_models(check) -> None:
    models = tuple(model(name=n) for n in "xyz")
    sweep = {"sizes": (1,), "estimators": ("constant",), "transfer": ("ensemble", "atc-max")}
    assert check(models=models, sweep=sweep).counts.transfers == 3 * 2 * 2
    assert check(sweep=sweep).counts.transfers == 0


# Memory


@pytest.mark.parametrize(
    ("fields", "weights"),
    [
        ({}, 16.0),
        ({"options": {"dtype": "float32"}}, 32.0),
        ({"options": {"quantization": "fp8"}}, 8.0),
        ({"options": {"quantization": "awq_marlin"}}, 5.2),
        ({"size": Size(20.9, weights_gb=13.8)}, 13.8),
        ({"size": None}, None),
    ],
    ids=["bfloat16", "float32", "fp8", "awq", "as stored", "unknown"],
)
def test_weights_take_what_their_type_takes(fields: dict, weights: float | None) -> None:
    assert need(model(**fields)).weights == pytest.approx(weights)


def test_answers_of_full_length_fit_beside_the_weights() -> None:
    found = need(model())
    assert found.sequence == pytest.approx(0.02)
    assert found.there == pytest.approx(0.9 * 40)
    assert found.least == pytest.approx(16 + 0.02 + 2)
    # (36 - 16 - 2) GB of cache, 0.02 GB an answer.
    assert found.at_once == 900
    assert need(model(options={"max_model_len": 1000, "kv_cache_dtype": "fp8"})).at_once == 1800


def test_tensor_parallel_adds_the_memory_of_its_gpus() -> None:
    two = Resources(gpus=2, tensor_parallel=2, gpu_memory_gb=10)
    assert need(model(resources=two)).there == pytest.approx(18)


def test_a_model_without_a_gpu_of_ours_needs_none_of_its_memory() -> None:
    assert need(model(resources=Resources(gpus=0))) is None
    assert need(remote()) is None


def test_a_model_that_does_not_fit_is_a_problem(check) -> None:
    (problem,) = check(gpu_memory_gb=16).problems
    assert "model 'm' does not fit: it needs at least 18.0 GB a replica" in problem
    assert "weights 16.0, cache of one answer 0.02, overhead 2" in problem
    assert "vLLM may take 14.4 GB" in problem
    assert check(gpu_memory_gb=24).problems == ()


def test_unknown_memory_is_said(check) -> None:
    unknown = check(models=(model(resources=Resources(gpus=1)),))
    assert unknown.problems == ()
    assert "the GPU's memory is unknown" in unknown.warnings[0]
    (warning,) = check(models=(model(size=None),)).warnings
    assert "its memory is unknown; give `size`" in warning
    (warning,) = check(models=(model(options={}),)).warnings
    assert "attention cache is unknown; give options.max_model_len" in warning


def test_little_room_for_answers_is_said(check) -> None:
    """4 answers of 1,000,000 tokens, 20 GB each: (0.9 x 120 - 16 - 2) / 20 = 4.5."""
    (warning,) = check(120, models=(model(options={"max_model_len": 1_000_000}),)).warnings
    assert "full-length answers that fit at a time: 4," in warning


def test_a_shared_gpu_cannot_be_taken_whole(check) -> None:
    half = Resources(gpus=0.5, gpu_memory_gb=80)
    (warning,) = check(models=(model(resources=half),)).warnings
    assert "0.5 of a GPU, but vLLM takes 0.9 of its memory" in warning


def test_tensor_parallel_needs_its_gpus(check) -> None:
    two = Resources(gpus=1, tensor_parallel=2, gpu_memory_gb=80)
    (problem,) = check(models=(model(resources=two),)).problems
    assert "tensor_parallel is 2 on 1 GPUs; set resources.gpus to 2" in problem


# Keys, accounts, files, items that must not be shown


def judge(**fields) -> LlmJudge:
    fields = {"endpoint": Endpoint("https://judge.example.org/v1", "SOME_KEY"),
              "price": Price(1, 2), "system": "s" * 400, "user": "{question}{response}{answer}"
              } | fields  # fmt: skip
    return LlmJudge("llm", "org/j", **fields)


def test_keys_that_are_not_set_are_named(check, monkeypatch) -> None:
    asked = {"models": (model(), remote(price=Price(1, 1))), "judge": judge()}
    found = check(**asked).warnings
    assert [w for w in found if "SOME_KEY is not set" in w] == [
        "model 'r' asks https://api.example.org/v1: SOME_KEY is not set; export SOME_KEY=...",
        "judge 'llm' asks https://judge.example.org/v1: SOME_KEY is not set; export SOME_KEY=...",
    ]
    monkeypatch.setenv("SOME_KEY", "k")
    assert check(**asked).warnings == ()


def test_a_chain_asks_with_its_models_key(check) -> None:
    found = check(judge=ChainJudge("chain", judge())).warnings
    assert any("judge 'chain' asks" in w and "SOME_KEY" in w for w in found)


def test_a_server_without_keys_needs_none(check) -> None:
    local = Endpoint("http://127.0.0.1:8000/v1", None)
    assert check(judge=judge(endpoint=local)).warnings == ()


def test_what_is_gated_needs_a_token(check, monkeypatch) -> None:
    gated = {"models": (model(gated=True),), "benchmarks": (hub("a", gated=True), hub("b"))}
    (warning,) = check(**gated).warnings
    assert "no Hugging Face token for what is gated (model org/m, dataset org/d)" in warning
    assert "HF_TOKEN" in warning
    monkeypatch.setattr("huggingface_hub.get_token", lambda: "hf_x")
    assert check(**gated).warnings == ()


def test_a_file_that_is_not_there_is_a_problem_and_a_model_folder_a_warning(check) -> None:
    missing = Benchmark("a", 1, File("nowhere.parquet"))
    found = check(models=(model(model="./none"),), benchmarks=(missing, hub("b")))
    assert found.problems == (
        "benchmark 'a': nowhere.parquet does not exist; check the path",
    )  # fmt: skip
    assert "the folder ./none does not exist" in found.warnings[0]


def test_items_that_must_not_be_shown_and_go_outside_are_said(check, monkeypatch) -> None:
    monkeypatch.setenv("SOME_KEY", "k")
    hidden = (hub("secret", show_items=False), hub("b"))
    (warning,) = check(benchmarks=hidden, judge=judge()).warnings
    assert "'secret': its items must not be shown, and go to judge 'llm'" in warning
    local = judge(endpoint=Endpoint("http://127.0.0.1:8000/v1", None))
    assert check(benchmarks=hidden, judge=local).warnings == ()


def test_gpqa_shown_is_said(check) -> None:
    shown = Benchmark("q", 1, Hub("Idavidrein/gpqa", "train", "abc"), hints=Hints(448))
    (warning,) = check(benchmarks=(shown, hub("b"))).warnings
    assert "GPQA's authors ask that items never be shown" in warning


def test_no_room_for_the_prompt_is_said(check) -> None:
    (warning,) = check(decoding=Decoding(max_tokens=1000)).warnings
    assert "max_tokens 1000 leaves no room for the prompt in max_model_len 1000" in warning


# Tokens, hours, money


def test_tokens_follow_items_hints_and_the_limit(check) -> None:
    """Two benchmarks of 100 items: 50 + 20 tokens in, 200 out, 500 at most."""
    (load,) = check().estimate.models
    assert (load.responses, load.tokens_in, load.tokens_out, load.at_most) == (
        200, 200 * 70, 200 * 200, 200 * 500
    )  # fmt: skip
    (half,) = check(limit=50).estimate.models
    assert (half.responses, half.at_most) == (100, 100 * 500)
    (short,) = check(decoding=Decoding(max_tokens=30)).estimate.models
    assert short.tokens_out == short.at_most == 200 * 30
    # The prompt's own 40 characters are ten tokens more a question.
    (longer,) = check(prompt="x" * 40 + "{question}").estimate.models
    assert longer.tokens_in == 200 * 80


def test_hours_follow_the_speed_of_all_replicas(check) -> None:
    fast = dataclasses.replace(model(), tokens_per_s=10, resources=Resources(2, replicas=2))
    (load,) = check(models=(fast,)).estimate.models
    assert load.hours == pytest.approx(40_000 / 20 / 3600)
    assert load.hours_at_most == pytest.approx(100_000 / 20 / 3600)


def test_a_gpu_models_speed_follows_from_its_size(check) -> None:
    """30,600 tokens/s at 0.49 billion parameters are 1,874.25 at 8 billion."""
    (load,) = check().estimate.models
    assert load.hours == pytest.approx(40_000 / 1874.25 / 3600)
    unknown = check(models=(model(resources=Resources(gpus=0)),)).estimate
    assert unknown.models[0].hours is None
    assert unknown.hours is None


def test_a_smaller_model_than_the_measured_one_is_taken_to_be_as_fast(check) -> None:
    (load,) = check(models=(model(size=Size(0.1)),)).estimate.models
    assert load.hours == pytest.approx(40_000 / 30_600 / 3600)


def test_a_limit_of_requests_a_minute_bounds_the_hours(check) -> None:
    limited = remote(endpoint=Endpoint("https://a.org/v1", None, requests_per_minute=10))
    (load,) = check(models=(limited,)).estimate.models
    assert load.hours == load.hours_at_most == pytest.approx(20 / 60)
    slow = dataclasses.replace(limited, tokens_per_s=10)
    assert check(models=(slow,)).estimate.hours == pytest.approx(40_000 / 10 / 3600)


def test_only_assumptions_that_were_made_are_stated(check) -> None:
    assert not any("judge" in a for a in check().estimate.assumptions)
    told = check(models=(dataclasses.replace(model(), tokens_per_s=5),),
                 judge=ChainJudge("chain", judge())).estimate.assumptions  # fmt: skip
    assert not any("tokens_per_s" in a for a in told)
    assert any("a chain asks it about 50% of the responses" in a for a in told)


def test_money_is_that_of_the_price_table(check) -> None:
    """14,000 tokens in at 1 and 40,000 out at 2 a million."""
    (load,) = check(models=(remote(price=Price(1, 2, "EUR")),)).estimate.models
    assert load.cost == pytest.approx(0.014 + 0.08)
    assert load.cost_at_most == pytest.approx(0.014 + 0.2)
    assert load.currency == "EUR"


def test_a_model_judge_reads_every_response_and_a_chain_half_of_them(check) -> None:
    """(400 + 28) characters around are 107 tokens; with 50 of question and 200 of answer 357."""
    slow = judge(endpoint=Endpoint("https://j.org/v1", "K", concurrency=1))
    asking = check(judge=slow).estimate.judge
    assert (asking.requests, asking.tokens_in, asking.tokens_out) == (200, 200 * 357, 200 * 300)
    assert asking.hours == pytest.approx(200 * 3 / 3600)
    assert asking.cost == pytest.approx((71_400 * 1 + 60_000 * 2) / 1e6)
    limited = judge(endpoint=Endpoint("https://j.org/v1", "K", requests_per_minute=10))
    assert check(judge=limited).estimate.judge.hours == pytest.approx(20 / 60)
    assert check(judge=ChainJudge("chain", slow)).estimate.judge.requests == 100
    assert check(judge=slow).estimate.money == {"USD": pytest.approx(0.1914)}


def test_the_number_of_items_is_known_from_files_and_generators(check, tmp_path) -> None:
    path = tmp_path / "items.jsonl"
    path.write_text("\n".join(f'{{"question": "{i}?", "answer": "{i}"}}' for i in range(7)))
    sources = (Benchmark("f", 1, File(str(path))), Benchmark("g", 1, Procedural("gcd", 9)),
               hub("h", Hints()))  # fmt: skip
    found = check(benchmarks=sources)
    assert found.items == {"f": 7, "g": 9}
    assert found.estimate.unknown == ("h",)
    assert any("'h': its number of items is unknown" in w for w in found.warnings)
