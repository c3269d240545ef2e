"""Judges against a real OpenAI-compatible server: vLLM with the embedded model.

So small a model judges badly; what is shown is that every response gets exactly one verdict, that a
schema is obeyed, and that nothing is asked or generated twice.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from tasks.benchmarks import load_items
from tasks.conf import Endpoint, LlmJudge, Price, load_experiment
from tasks.jobs import jobs_of
from tasks.judging.asking import ask
from tasks.judging.prompts import Case
from tasks.records import Item, Status
from tasks.storage.store import Store
from tasks.verdicts.stored import judge_artefact

KEY = "SENTINEL_TEST_KEY"
READ = {Status.CORRECT, Status.INCORRECT, Status.NO_ANSWER}


@pytest.fixture
def judge(vllm_server, monkeypatch) -> LlmJudge:
    monkeypatch.setenv(KEY, "a-test-key")
    return LlmJudge(
        kind="llm",
        model="small",
        endpoint=Endpoint(vllm_server, KEY, max_retries=2, timeout_s=120),
        price=Price(1, 2),
        temperature=0,
        max_tokens=160,
        seed=1,
        max_chars=60,
    )


CASES = [
    Case(
        Item("sum", f"i{n}", f"What is {n} plus {n}?", str(2 * n)),
        f"It is {2 * n + n % 2}.",
        "stop",
    )
    for n in range(24)
]  # fmt: skip


@pytest.mark.parametrize("answers", ["schema", "auto"])
def test_a_schema_is_obeyed_and_every_response_judged_once(judge, tmp_path, answers) -> None:
    stored = Store(str(tmp_path)).artefact("judgements", "a")
    judge = dataclasses.replace(judge, answers=answers)
    asked = ask(judge, CASES, stored)
    assert asked.problem is None
    found = list(asked.judgements.values())
    assert Counter(j.item_id for j in found) == Counter(c.item.item_id for c in CASES)
    assert {j.status for j in found} <= READ, Counter(j.reason for j in found)
    for one in found:
        assert one.tokens_in > 100
        assert one.tokens_out > 5
        assert one.cost == pytest.approx((one.tokens_in + 2 * one.tokens_out) / 1e6)
        assert len(one.extracted or "") <= 60
        assert len(one.reason) <= 60
    assert ask(judge, CASES, stored).spending.asked == 0


def test_words_alone_give_a_verdict_or_a_judge_error(judge, tmp_path) -> None:
    stored = Store(str(tmp_path)).artefact("judgements", "a")
    plain = dataclasses.replace(judge, answers="line", attempts=2, max_tokens=24)
    asked = ask(plain, CASES, stored)
    assert asked.problem is None
    statuses = Counter(j.status for j in asked.judgements.values())
    assert statuses.total() == len(CASES)
    assert set(statuses) <= {Status.CORRECT, Status.INCORRECT, Status.JUDGE_ERROR}
    for one in asked.judgements.values():
        assert 1 <= one.replies <= 2


def test_a_chain_judges_an_experiment_and_shows_its_agreement(lab, vllm_server) -> None:
    lab.environment = {KEY: "a-test-key"}
    lab.items = 10
    remote = {"base_url": vllm_server, "api_key_env": KEY}
    body = {"extra_body": {"return_tokens_as_token_ids": True}}
    model = {"engine": "openai", "model": "small", "options": {}, "endpoint": remote | body}
    llm = {"kind": "llm", "name": "grader", "model": "small", "endpoint": remote, "max_chars": 60,
           "temperature": 0, "max_tokens": 160, "price": {"input": 1, "output": 1}}  # fmt: skip
    judges = lab.folder / "conf" / "judges"
    judges.mkdir(parents=True)
    (judges / "grader.yaml").write_text(yaml.safe_dump(llm))
    chain = {"kind": "chain", "llm": "grader", "sample": 0.5}
    path = lab.write(models={"small": model}, judge=chain)
    output = lab.run("run", str(path))
    assert "asked of the model" in output
    verdicts = tables(lab.folder / "data" / "verdicts" / "small")
    judged = Counter(v["judge"].split()[0] for v in verdicts if v["judge"])
    assert judged["llm-1"] > 0
    assert {v["status"] for v in verdicts} <= set(Status)
    judgements = tables(lab.folder / "data" / "judgements" / "small")
    assert len({(j["benchmark"], j["item_id"]) for j in judgements}) == len(judgements)
    agreement = (lab.folder / "data" / "results" / "lab" / "agreement.md").read_text()
    assert "decided by rules" in agreement
    # The chain again, and either link alone: nothing is left to judge, to ask or to generate.
    settings = load_experiment(path)
    for judge in (settings.judge, settings.judge.rules):
        for job in jobs_of(dataclasses.replace(settings, judge=judge), settings.models[0]):
            items = load_items(job.benchmark, None)
            assert job.verdicts(lab.store).digest() == job.responses(lab.store).digest()
            assert judge_artefact(job, items, lab.store).added == 0
    for found in lab.folder.rglob("*"):
        if found.is_file():
            assert b"a-test-key" not in found.read_bytes(), found


def tables(folder: Path) -> list[dict]:
    return [row for p in folder.rglob("part-*.parquet") for row in pq.read_table(p).to_pylist()]
