"""The OpenAI engine against a real vLLM server, and real questions end to end."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest

from tasks.conf import Decoding, Endpoint, Model
from tasks.engines.contract import Prompt
from tasks.engines.openai import OpenAIEngine

KEY = "SENTINEL_TEST_KEY"


def remote(url: str, **changes: object) -> Model:
    endpoint = Endpoint(
        base_url=url,
        api_key_env=KEY,
        max_retries=0,
        extra_body={"return_tokens_as_token_ids": True},
    )
    return Model(
        **{"name": "remote", "engine": "openai", "model": "small", "endpoint": endpoint} | changes
    )


@pytest.fixture
def key(monkeypatch):
    monkeypatch.setenv(KEY, "a-test-key")


PROMPTS = [Prompt("b", str(i), f"What is {i} plus {i}? Answer briefly.") for i in range(12)]


def test_responses_carry_text_tokens_and_entropies(vllm_server, key):
    engine = OpenAIEngine(remote(vllm_server), Decoding(temperature=0, max_tokens=24), True)
    batch = engine.generate(PROMPTS)
    assert batch.problem is None
    assert sorted(batch.table["item_id"].to_pylist()) == sorted(p.item_id for p in PROMPTS)
    for row in batch.table.to_pylist():
        n = row["n_tokens"]
        assert row["tokens_out"] == n > 0
        assert row["text"]
        assert row["tokens_in"] > 0
        for t in range(n):
            top = row["top_logprobs"][20 * t : 20 * t + 20]
            by_hand = -sum(math.exp(x) * x for x in top)
            assert row["entropy"][t] == pytest.approx(by_hand, abs=1e-4)
            assert row["tail_mass"][t] == pytest.approx(1 - sum(map(math.exp, top)), abs=1e-4)


def test_a_prompt_too_long_is_an_answer_of_its_own(vllm_server, key):
    engine = OpenAIEngine(remote(vllm_server), Decoding(temperature=0, max_tokens=8), False)
    batch = engine.generate([PROMPTS[0], Prompt("b", "long", "word " * 3000)])
    assert batch.problem is None
    rows = {r["item_id"]: r for r in batch.table.to_pylist()}
    assert rows["0"]["finish"] in ("stop", "length")
    assert rows["long"]["finish"] == "error"
    assert "context" in rows["long"]["error"] or "token" in rows["long"]["error"]


def test_a_wrong_key_is_named_and_never_shown(vllm_server, monkeypatch):
    monkeypatch.setenv(KEY, "a-wrong-secret")
    batch = OpenAIEngine(remote(vllm_server), Decoding(max_tokens=8), False).generate(PROMPTS[:2])
    assert len(batch.table) == 0
    assert KEY in str(batch.problem)
    assert "a-wrong-secret" not in str(batch.problem)


def test_an_unknown_model_is_named(vllm_server, key):
    engine = OpenAIEngine(remote(vllm_server, model="absent"), Decoding(max_tokens=8), False)
    assert "'absent'" in str(engine.generate(PROMPTS[:1]).problem)


def test_an_experiment_on_an_endpoint(lab, vllm_server):
    lab.environment = {KEY: "a-test-key"}
    lab.items = 12
    endpoint = {
        "base_url": vllm_server,
        "api_key_env": KEY,
        "extra_body": {"return_tokens_as_token_ids": True},
    }
    model = {"engine": "openai", "model": "small", "options": {}, "endpoint": endpoint}
    lab.run("run", str(lab.write(models={"small": model})))
    assert len(lab.responses()) == 36
    for path in lab.folder.rglob("*"):
        if path.is_file():
            assert b"a-test-key" not in path.read_bytes(), path


def test_an_unreachable_endpoint_ends_with_its_own_status(lab):
    lab.environment = {KEY: "a-test-key"}
    endpoint = {"base_url": "http://127.0.0.1:9/v1", "api_key_env": KEY, "max_retries": 0}
    model = {"engine": "openai", "model": "small", "options": {}, "endpoint": endpoint}
    process = lab.start("run", str(lab.write(models={"small": model})))
    assert process.wait(timeout=300) == 3
    assert "cannot be reached" in lab.output


def test_real_questions_end_to_end(lab):
    shared = Path(os.environ.get("SENTINEL_SHARED", Path(__file__).parents[3] / "shared"))
    folder = shared / "data" / "benchmarks"
    if not folder.exists():
        pytest.skip(f"real benchmarks are not there: {folder}")
    fields = {"question": "question", "answer": "answer", "item_id": "item_id"}
    benchmarks = {
        name.lower(): {"source": {"path": str(folder / f"{name}.parquet")}, "fields": fields}
        for name in ("GSM8K", "SVAMP")
    }
    lab.run(
        "run",
        str(
            lab.write(
                benchmarks=benchmarks,
                limit=20,
                prompt="Solve the problem step by step, then give the final answer.\n\n{question}",
                decoding={"temperature": 0, "max_tokens": 256},
            )
        ),
    )
    assert len(lab.responses()) == 40
    verdicts = list((lab.folder / "data" / "verdicts").rglob("part-*.parquet"))
    assert verdicts
    assert (lab.folder / "data" / "results" / "lab" / "accuracy.png").exists()
