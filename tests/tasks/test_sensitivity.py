"""A sensitivity experiment on a small endpoint: conf, responses shared and not, and what moves."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from entropy.features import FEATURE_SETS
from entropy.profile import FEATURES
from estimators.table import FeatureTable
from tasks.benchmarks import load_items
from tasks.conf import BASE, Decoding, load_sensitivity
from tasks.engines.contract import Prompt, Recorder, TokenTrace, to_generation_table
from tasks.engines.pool import EnginePool
from tasks.errors import SentinelError
from tasks.generation.generate import generate, missing
from tasks.jobs import jobs_of
from tasks.records import Finish
from tasks.sensitivity import measure
from tasks.sensitivity.results import Found, found
from tasks.signals.features import join_jobs
from tasks.signals.profile import profile_artefact
from tasks.storage.store import Store
from tasks.verdicts.stored import judge_artefact
from tests.chat_server import Server
from tests.tasks.doubles import items_of
from tests.tasks.varied import BENCHMARKS, ITEMS, VARIANTS, conf, sensitivity_file


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory):
    server = Server()
    yield conf(tmp_path_factory.mktemp("lab"), server), server
    server.close()


# Conf


def test_a_variant_is_the_experiment_with_its_changes(lab) -> None:
    settings = load_sensitivity(sensitivity_file(lab[0]))
    assert list(settings.experiments) == [BASE, "hot", "cut", "top-2"]
    assert settings.variants["hot"].decoding.temperature == 1
    assert settings.variants["hot"].decoding.max_tokens == 8
    assert settings.variants["top-2"].profile_top_k == 2


def test_fewer_candidates_share_the_responses_of_the_base(lab) -> None:
    settings = load_sensitivity(sensitivity_file(lab[0]))
    keys = {
        name: [job.key for job in jobs_of(one, one.models[0])]
        for name, one in settings.experiments.items()
    }
    assert keys["top-2"] == keys[BASE]
    assert keys["hot"] != keys[BASE]
    jobs = {name: jobs_of(one, one.models[0])[0] for name, one in settings.experiments.items()}
    store = Store("nowhere")
    assert jobs["top-2"].profiles(store).address != jobs[BASE].profiles(store).address
    assert [list(group) for group in settings.by_engine()] == [[BASE, "top-2"], ["hot", "cut"]]


def test_without_such_variants_no_log_probabilities_are_kept(lab) -> None:
    settings = load_sensitivity(sensitivity_file(lab[0], variants={"hot": VARIANTS["hot"]}))
    assert not settings.base.keep_top_logprobs
    assert len(settings.by_engine()) == 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"experiment": "smal"}, "smal.yaml does not exist"),
        ({"experiment": None}, "`experiment` is missing"),
        ({"variants": {}}, "variants"),
        ({"variants": ["hot"]}, "`variants` is no mapping"),
        ({"variants": {"base": {}}}, "'base' is the name of the unchanged experiment"),
        ({"variants": {"a b": {}}}, "variants.a b"),
        ({"variants": {"few": {"limit": 3}}}, "few: `limit` is the same in all variants"),
        ({"variants": {"cold": {"decoding": {"temprature": 1}}}}, "cold: decoding.temprature"),
        ({"variants": {"top-9": {"profile_top_k": 9}}}, "9 is more than decoding.top_k records"),
        ({"variants": {"t": {"profile_top_k": 2, "keep_top_logprobs": False}}},
         "need keep_top_logprobs: true"),
        ({"vocabulary": 0}, "vocabulary"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)  # fmt: skip
def test_a_mistake_in_the_file_is_named(lab, changes: dict, words: str) -> None:
    with pytest.raises(SentinelError) as caught:
        load_sensitivity(sensitivity_file(lab[0], **changes))
    assert words in str(caught.value)


def test_the_files_of_the_project_are_valid(monkeypatch) -> None:
    folder = Path(__file__).parents[2] / "conf" / "sensitivity"
    names = {load_sensitivity(path).name for path in folder.glob("*.yaml")}
    assert {"sensitivity-stem", "sensitivity-demo"} <= names


# Numbers


@pytest.fixture(scope="module")
def measured(lab, tmp_path_factory: pytest.TempPathFactory) -> tuple[Found, Store, int]:
    folder, server = lab
    settings = load_sensitivity(sensitivity_file(folder))
    store = Store(str(tmp_path_factory.mktemp("root")))
    items = {b.name: load_items(b, settings.base.limit) for b in settings.base.benchmarks}
    joined = {}
    for group in settings.by_engine():
        first = next(iter(group.values()))
        with EnginePool(first.models[0], first) as pool:
            for name, experiment in group.items():
                jobs = jobs_of(experiment, experiment.models[0])
                for job in jobs:
                    generate(job, items[job.benchmark.name], pool, store)
                    assert not missing(job, items[job.benchmark.name], store)
                    judge_artefact(job, items[job.benchmark.name], store)
                    profile_artefact(job, store)
                joined[name] = join_jobs(jobs, items, store)
    return found(settings, joined, items, store), store, len(server.bodies)


def row(measured, variant: str) -> pd.Series:
    return measured[0].overview.set_index("variant").loc[variant]


def test_each_question_is_asked_once_a_way_of_asking(measured) -> None:
    assert (
        measured[2] == 3 * len(BENCHMARKS) * ITEMS
    )  # Base, hot and cut; fewer candidates ask nothing.


def test_answers_that_are_cut_off_are_counted_and_wrong(measured) -> None:
    assert row(measured, "cut")["truncated"] == 1
    assert row(measured, "cut")["accuracy"] == 0
    assert row(measured, BASE)["truncated"] == 0
    assert 0.4 < row(measured, BASE)["accuracy"] < 0.65


def test_statistics_follow_the_variant(measured) -> None:
    means = measured[0].statistics.set_index(["variant", "statistic"])["mean"]
    assert means["hot", "mean"] > 1.1 * means[BASE, "mean"]
    assert means["cut", "sum"] < 0.6 * means[BASE, "sum"]
    assert means["top-2", "mean"] < 0.8 * means[BASE, "mean"]
    assert means["top-2", "nll_sum"] == means[BASE, "nll_sum"]  # The choices are the same.
    present = set(measured[0].statistics["statistic"])
    assert set(FEATURE_SETS["17d"]) | {"n_tokens"} <= present


def test_a_base_that_is_trained_on_itself_is_its_own(measured) -> None:
    assert row(measured, BASE)["AEE own"] == row(measured, BASE)[f"AEE {BASE}"]


def test_a_shift_of_the_statistics_shows_in_the_error_of_the_bases_estimator(measured) -> None:
    """Entropies over two candidates are lower: who fitted on four expects too much."""
    fewer = row(measured, "top-2")
    assert fewer[f"bias {BASE}"] > fewer["bias own"] + 0.05


def test_results_are_written_as_tables_and_a_picture(measured) -> None:
    results, store, _ = measured
    folder = Path(results.write(store))
    assert {p.name for p in folder.iterdir()} == {
        "sensitivity.md", "overview.csv", "statistics.csv", "estimates.csv", "full.csv",
        "sensitivity.png",
    }  # fmt: skip
    assert (folder / "sensitivity.png").read_bytes().startswith(b"\x89PNG")
    text = (folder / "sensitivity.md").read_text()
    assert all(f"| {name} |" in text for name in (BASE, *VARIANTS))


# Measures by hand


def table(y: list, group: list, values: list) -> FeatureTable:
    names = ("a", "b")[: max(group) + 1]
    return FeatureTable("m", names, ("max",), np.array(values, float)[:, None], y, group)


def test_auroc_within_leaves_out_pairs_of_two_benchmarks() -> None:
    """Within a: 1 of 1 pairs in order; within b: 1 of 2. Across, most would be out of order."""
    it = table([1, 0, 1, 1, 0], [0, 0, 1, 1, 1], [5, 6, 0, 2, 1])
    score = -it.X[:, 0]
    assert measure.within(it, score) == pytest.approx(2 / 3)
    assert math.isnan(measure.within(table([1, 1], [0, 0], [1, 2]), np.zeros(2)))


def test_accuracy_weighs_benchmarks_alike() -> None:
    assert measure.accuracy(table([1, 0, 0, 0, 1], [0, 0, 0, 0, 1], [0] * 5)) == 0.625


# The whole vocabulary


def whole_softmax(rng: np.random.Generator, tokens: int, sure: float) -> np.ndarray:
    """Log-probabilities of a vocabulary of 50, each row from high to low."""
    logits = np.sort(rng.normal(0, sure, (tokens, 50)))[:, ::-1]
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


@pytest.fixture
def stored(make_experiment, store):
    """A job per benchmark with responses that carry the entropy over all 50 tokens."""
    experiment = make_experiment(decoding=Decoding(top_k=5))
    jobs, rng = jobs_of(experiment, experiment.models[0]), np.random.default_rng(3)
    recorder = Recorder("listed", "1", "raw_logprobs", experiment.decoding, None)
    wholes, items = [], {}
    for job in jobs:
        name = job.benchmark.name
        items[name] = items_of(name, 12)
        responses, traces = [], []
        for number, item in enumerate(items[name]["item_id"].to_pylist()):
            whole = whole_softmax(rng, 4, 1.0 + number % 2)
            wholes.append(-(np.exp(whole) * whole).sum(axis=1))
            top = TokenTrace.from_logprobs(whole[:, :5].astype(np.float32), whole[:, 0], False)
            traces.append(dataclasses.replace(top, full_entropy=np.float32(wholes[-1])))
            responses.append(
                recorder.response(
                    Prompt(name, item, "?"), text=str(number), finish=Finish.STOP, n_tokens=4,
                    seconds=0, tokens_in=1, tokens_out=4,
                )
            )  # fmt: skip
        job.responses(store).append(to_generation_table(responses, traces))
    rows = [(n, i) for n, t in items.items() for i in t["item_id"].to_pylist()]
    labels = pa.table(
        {"benchmark": [r[0] for r in rows], "item_id": [r[1] for r in rows],
         "label": [float(n % 2) for n in range(len(rows))]}
    )  # fmt: skip
    return jobs, items, labels, np.concatenate(wholes)


def test_measured_entropies_lie_within_the_bounds_of_the_tail(stored, store) -> None:
    jobs, items, labels, whole = stored
    found = measure.full_vocabulary(jobs, items, store, 50, labels)
    assert found["tokens"] == len(whole) == 2 * 12 * 4
    assert found["full"] == pytest.approx(whole.mean(), rel=1e-5)
    assert found["top_k"] < found["full"]
    assert found["within"] == 1
    assert found["width"] > 0
    assert found["largest"] < np.log(50)
    # A vocabulary thought smaller gives bounds that some token breaks.
    assert measure.full_vocabulary(jobs, items, store, 6, labels)["within"] < 1


def test_auroc_of_both_entropies_is_compared_within_benchmarks(stored, store) -> None:
    """Wrong answers (even) are flat: most of their mass lies outside the top 5.

    So their entropy over the top 5 is the *lower* one, and ranks the answers the wrong way round.
    """
    found = measure.full_vocabulary(*stored[:2], store, 50, stored[2])
    assert found["auroc_mean"] > 0.9
    assert {f"auroc_{f}" for f in FEATURES} <= set(found)


def test_responses_without_a_label_or_without_the_measurement_do_not_count(stored, store) -> None:
    jobs, items, labels, _ = stored
    some = labels.slice(0, 10)
    assert measure.full_vocabulary(jobs, items, store, 50, some)["tokens"] == 10 * 4
    assert measure.full_vocabulary(jobs, items, store, 50, labels.slice(0, 0)) is None
