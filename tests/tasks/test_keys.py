"""Addresses: they follow what determines the content, and nothing else."""

import dataclasses
import subprocess
import sys

import pytest

from tasks.conf import (
    Benchmark,
    Decoding,
    Endpoint,
    Fields,
    File,
    Model,
    Price,
    Resources,
    RuleJudge,
)
from tasks.conf.benchmarks import AnswerRule
from tasks.storage.keys import digest, request_digest, sweep_key

KIND = Fields(answer_type="kind")
REMOTE = Model("m", "openai", "org/m", endpoint=Endpoint("http://a/v1"))


def replaced(job, **changes):
    """The job with other fields in its ``model``, ``benchmark`` or ``experiment``."""
    parts = {
        part: dataclasses.replace(getattr(job, part), **fields) for part, fields in changes.items()
    }
    return dataclasses.replace(job, **parts)


@pytest.mark.parametrize(
    "changes",
    [
        {"model": {"model": "org/other"}},
        {"model": {"revision": "abc"}},
        {"model": {"options": {"dtype": "float32"}}},
        {"model": {"chat_template": {"enable_thinking": False}}},
        {"model": {"resources": Resources(gpus=2, tensor_parallel=2)}},
        {"model": {"engine": "openai", "endpoint": Endpoint("http://a/v1")}},
        *[
            {"experiment": {"decoding": dataclasses.replace(Decoding(top_k=2, max_tokens=8), **d)}}
            for d in (
                {"temperature": 1.0}, {"top_p": 0.9}, {"max_tokens": 9}, {"seed": 1}, {"top_k": 3},
                {"stop": ("x",)},
            )
        ],
        {"experiment": {"prompt": "Q: {question}"}},
        {"experiment": {"store_text": False}},
        {"benchmark": {"show_items": False}},
        {"experiment": {"keep_top_logprobs": True}},
        {"benchmark": {"name": "gamma"}},
        {"benchmark": {"version": 2}},
        {"benchmark": {"source": File("other.jsonl")}},
        {"benchmark": {"fields": Fields(question="q")}},
        {"benchmark": {"prompt": "Do: {question}"}},
    ],
    ids=str,
)  # fmt: skip
def test_what_changes_the_responses_changes_their_address(make_job, changes) -> None:
    job = make_job()
    other = replaced(job, **changes)
    assert other.key != job.key


@pytest.mark.parametrize(
    "changes",
    [
        {"experiment": {"name": "renamed"}},
        {"experiment": {"limit": 7}},
        {"experiment": {"batch_items": 1}},
        {"experiment": {"judge": RuleJudge(deadline_s=1.0)}},
        {
            "experiment": {
                "benchmarks": (Benchmark("a", 1, File("a")), Benchmark("b", 1, File("b")))
            }
        },
        {"model": {"resources": Resources(replicas=4, cpus=3, gpus=1)}},
        {"model": {"options": {"gpu_memory_utilization": 0.5, "max_num_seqs": 8}}},
        {"model": {"price": Price(1, 2)}},
        {"benchmark": {"tolerance": 0.05}},
        {"benchmark": {"answer_type": "latex"}},
    ],
    ids=str,
)
def test_what_only_changes_how_many_or_how_fast_does_not(make_job, changes) -> None:
    job = make_job()
    assert replaced(job, **changes).key == job.key


@pytest.mark.parametrize(
    ("endpoint", "same"),
    [
        (Endpoint("http://a/v1", concurrency=1, requests_per_minute=5, timeout_s=1), True),
        (Endpoint("http://a/v1", api_key_env="OTHER_KEY", max_retries=0), True),
        (Endpoint("http://b/v1"), False),
        (Endpoint("http://a/v1", extra_body={"reasoning": "none"}), False),
    ],
    ids=["speed", "key", "url", "body"],
)
def test_of_an_endpoint_only_what_is_asked_counts(endpoint: Endpoint, same: bool) -> None:
    other = dataclasses.replace(REMOTE, endpoint=endpoint)
    digests = [request_digest(m, Decoding(), "{question}") for m in (REMOTE, other)]
    assert (digests[0] == digests[1]) is same


@pytest.mark.parametrize(
    "changes",
    [
        {"benchmark": {"tolerance": 0.05}},
        {"benchmark": {"answer_type": "latex"}},
        {"benchmark": {"fields": KIND, "answer_types": {"float": AnswerRule("numeric", 0.04)}}},
        {"benchmark": {"fields": Fields(answer="reply")}},
        {"experiment": {"judge": RuleJudge(deadline_s=1.0)}},
    ],
    ids=str,
)
def test_a_judges_settings_move_the_verdicts_alone(make_job, store, changes) -> None:
    job = make_job()
    other = replaced(job, **changes)
    assert other.verdicts(store).address != job.verdicts(store).address
    assert other.profiles(store).address == job.profiles(store).address


def test_responses_move_everything_that_follows(make_job, store) -> None:
    job = make_job()
    other = replaced(job, benchmark={"version": 2})
    assert other.verdicts(store).address != job.verdicts(store).address
    assert other.profiles(store).address != job.profiles(store).address


def test_a_sweep_follows_its_table_path_and_seed() -> None:
    keys = {sweep_key(t, p, s) for t in "ab" for p in ("fast", "reference") for s in (1, 2)}
    assert len(keys) == 8


def test_a_digest_does_not_see_the_order_of_fields() -> None:
    assert digest({"a": 1, "b": [1, 2]}) == digest({"b": [1, 2], "a": 1})
    assert digest([1, 2]) != digest([2, 1])


def test_a_digest_is_the_same_in_another_process() -> None:
    record = "{'b': ['ü', None, 1.5], 'a': {'x': 1}}"
    code = f"from tasks.storage.keys import digest; print(digest({record}))"
    found = {
        subprocess.run([sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, check=True,
                       capture_output=True, text=True).stdout.strip()
        for seed in ("1", "2")
    }  # fmt: skip
    assert found == {digest({"a": {"x": 1}, "b": ["ü", None, 1.5]})}


def test_what_has_no_canonical_form_is_refused() -> None:
    with pytest.raises(TypeError, match="set has no canonical JSON"):
        digest({"a": {1, 2}})
