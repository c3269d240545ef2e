"""Stored responses judged by a model, or by a chain: what is asked, stored, and asked again."""

import dataclasses
import json
import re
from collections.abc import Callable, Iterator

import pytest

from tasks.conf import Benchmark, ChainJudge, Endpoint, File, LlmJudge, RuleJudge
from tasks.errors import EndpointError, SentinelError
from tasks.generation.generate import generate
from tasks.jobs import Job
from tasks.judging.rules import JUDGE_VERSION
from tasks.storage.keys import verdicts_key
from tasks.verdicts.agreement import agreement_of
from tasks.verdicts.stored import judge_artefact
from tests.chat_server import Server, answer
from tests.tasks.doubles import ListedPool, items_of

ITEMS = items_of("alpha", 30)


def number_of(body: dict) -> int:
    return int(re.search(r"What is twice (\d+)\?", body["messages"][1]["content"])[1])


def says(verdict: str) -> tuple:
    content = {"extracted": "1", "reason": "nargles", "verdict": verdict}
    return 200, {}, answer(json.dumps(content))


@pytest.fixture
def server() -> Iterator[Server]:
    """A judge that finds every third response wrong, unlike the rules."""
    started = Server()
    started.rule = lambda _, body: says("incorrect" if number_of(body) % 3 == 0 else "correct")
    yield started
    started.close()


@pytest.fixture
def llm(server: Server) -> Callable[..., LlmJudge]:
    def make(endpoint: dict | None = None, **fields: object) -> LlmJudge:
        given = {"base_url": server.url, "api_key_env": None, "max_retries": 0} | (endpoint or {})
        return LlmJudge(kind="llm", model="grader", endpoint=Endpoint(**given), **fields)

    return make


@pytest.fixture
def answered(make_job, store) -> Callable[..., Job]:
    """A job whose responses are stored: all right, and read by the rules as a last number."""

    def make(judge, **fields) -> Job:
        job = make_job(judge=judge, **fields)
        generate(job, ITEMS, ListedPool(), store)
        return job

    return make


def by_item(job: Job, store) -> dict[int, str]:
    rows = job.verdicts(store).read().to_pylist()
    assert len({r["item_id"] for r in rows}) == len(rows)
    return {int(r["item_id"][1:]): r["status"] for r in rows}


MODELS = {n: "incorrect" if n % 3 == 0 else "correct" for n in range(30)}


def test_every_response_gets_exactly_one_verdict_of_the_model(answered, llm, store, server) -> None:
    job = answered(llm())
    did = judge_artefact(job, ITEMS, store)
    assert by_item(job, store) == MODELS
    assert (did.added, did.spending.asked) == (30, 30)
    assert str(did) == "30 responses judged; 30 asked of the model, 300 + 60 tokens"
    assert job.verdicts(store).digest() == job.responses(store).digest()
    assert judge_artefact(job, ITEMS, store).added == 0
    assert len(server.bodies) == 30


def test_a_failing_judge_costs_its_parts_alone_and_a_rerun_asks_for_the_rest(
    answered, llm, store, server
) -> None:
    whole = server.rule
    server.rule = lambda n, b: (500, {}, {}) if number_of(b) in (4, 5) else whole(n, b)
    job = answered(llm(endpoint={"concurrency": 2}))
    with pytest.raises(EndpointError, match="2 of 30 responses to be judged"):
        judge_artefact(job, ITEMS, store)
    assert by_item(job, store) == {n: s for n, s in MODELS.items() if n not in (3, 4, 5)}
    server.bodies.clear()
    server.rule = whole
    assert judge_artefact(job, ITEMS, store).added == 3
    assert sorted(map(number_of, server.bodies)) == [4, 5]
    assert by_item(job, store) == MODELS


def test_a_changed_judge_rejudges_and_generates_nothing(answered, llm, store, server) -> None:
    job = answered(llm())
    judge_artefact(job, ITEMS, store)
    parts = job.responses(store).parts()
    server.rule = lambda *_: says("no_answer")
    for changed in (llm(system="Be strict."), llm(answers="schema"), llm(seed=1)):
        other = dataclasses.replace(
            job, experiment=dataclasses.replace(job.experiment, judge=changed)
        )
        assert judge_artefact(other, ITEMS, store).added == 30
        assert set(by_item(other, store).values()) == {"no_answer"}
        assert other.responses(store).parts() == parts
    assert by_item(job, store) == MODELS


SAME = [{"endpoint": {"concurrency": 1, "timeout_s": 9.0, "requests_per_minute": 9}},
        {"name": "other"}, {"price": {"input": 1, "output": 1}}]  # fmt: skip


@pytest.mark.parametrize("changes", SAME, ids=str)
def test_speed_name_and_price_are_no_part_of_the_address(make_job, llm, store, changes) -> None:
    one, other = (make_job(judge=judge) for judge in (llm(), llm(**changes)))
    assert one.verdicts(store).address == other.verdicts(store).address
    assert one.judgements(store).address == other.judgements(store).address


def test_attempts_move_the_verdicts_and_keep_what_was_said(make_job, llm, store) -> None:
    one, other = (make_job(judge=judge) for judge in (llm(), llm(attempts=9)))
    assert one.verdicts(store).address != other.verdicts(store).address
    assert one.judgements(store).address == other.judgements(store).address


def test_the_address_of_the_rules_verdicts_is_what_it_was(make_job, store) -> None:
    """Verdicts stored before there were other judges would stay valid but for the rules' own."""
    job = make_job()
    before = {"kind": "rules", "deadline_s": 5.0, "version": JUDGE_VERSION}
    assert job.verdicts(store).address.endswith(verdicts_key(job.key, job.benchmark, before))


def chain(llm: LlmJudge, **fields: object) -> ChainJudge:
    return ChainJudge(kind="chain", llm=llm, **fields)


class Marked(ListedPool):
    """Boxes the answers to even numbers, every fourth of them wrongly; the others trail off."""

    def _answers(self, prompts):
        table = super()._answers(prompts)
        texts = []
        for item in table["item_id"].to_pylist():
            n = int(item[1:])
            texts.append(f"\\boxed{{{2 * n + (n % 4 == 0)}}}" if n % 2 == 0 else f"It is {2 * n}")
        column = table.schema.get_field_index("text")
        return table.set_column(column, table.field("text"), [texts])


def test_a_chain_asks_for_what_the_rules_leave_open(make_job, llm, store, server) -> None:
    job = make_job(judge=chain(llm(), sample=0))
    generate(job, ITEMS, Marked(), store)
    did = judge_artefact(job, ITEMS, store)
    assert sorted(map(number_of, server.bodies)) == list(range(1, 30, 2))
    assert did.spending.asked == 15
    rules = {n: "incorrect" if n % 4 == 0 else "correct" for n in range(0, 30, 2)}
    assert by_item(job, store) == {n: MODELS[n] for n in range(1, 30, 2)} | rules
    judges = {r["judge"].split()[0] for r in job.verdicts(store).read().to_pylist()}
    assert judges == {JUDGE_VERSION, "llm-1"}
    assert agreement_of([job], store) is None


def test_a_chain_shares_its_links_with_judges_of_their_own(make_job, llm, store, server) -> None:
    """Rules judged before, and a model asked before, are neither run nor paid for again."""
    job = make_job(judge=chain(llm(), sample=1))
    generate(job, ITEMS, Marked(), store)
    judge_artefact(job, ITEMS, store)
    asked = len(server.bodies)
    assert asked == 30
    for judge in (RuleJudge(), llm(), chain(llm(), sample=0.5)):
        other = dataclasses.replace(
            job, experiment=dataclasses.replace(job.experiment, judge=judge)
        )
        judge_artefact(other, ITEMS, store)
        assert len(by_item(other, store)) == 30
    assert len(server.bodies) == asked


def test_agreement_is_over_the_sample_and_lists_where_they_differ(
    make_job, llm, store, server
) -> None:
    job = make_job(judge=chain(llm(), sample=1))
    generate(job, ITEMS, Marked(), store)
    judge_artefact(job, ITEMS, store)
    found = agreement_of([job], store)
    rules = {n: n % 4 != 0 for n in range(30)}
    model = {n: n % 3 != 0 for n in range(30)}
    same = sum(rules[n] == model[n] for n in range(30))
    whole, certain = found.table().to_dict("records")
    assert (whole["of"], whole["responses"], whole["same"]) == ("sample", 30, same)
    assert (certain["of"], certain["responses"]) == ("decided by rules", 15)
    assert certain["same"] == sum(rules[n] == model[n] for n in range(0, 30, 2))
    differ = {int(i[1:]) for i in found.disagreements()["item_id"]}
    assert differ == {n for n in range(30) if rules[n] != model[n]}
    found.write(store, "results/x")
    assert f"they differ on {30 - same} responses" in store.read_bytes(
        "results/x/agreement.md").decode()  # fmt: skip
    assert len(store.read_parquet("results/x/agreement-pairs.parquet")) == 30


def test_agreement_holds_no_verdict_against_a_judgement_on_another_answer(
    make_job, llm, store
) -> None:
    """Three items are answered anew, otherwise: the model's judgements on both answers stay."""
    job = make_job(judge=chain(llm(), sample=1))
    generate(job, ITEMS, ListedPool(), store)
    judge_artefact(job, ITEMS, store)
    lost = job.responses(store).names()[0]
    anew = job.responses(store).ids(lost)
    store.delete(f"{job.responses(store).address}/{lost}")
    generate(job, ITEMS, Marked(), store)
    judge_artefact(job, ITEMS, store)
    assert len(job.judgements(store).done()) == 30
    pairs = agreement_of([job], store).pairs
    assert set(pairs["item_id"]) == set(ITEMS["item_id"].to_pylist()) - anew


@pytest.mark.parametrize("kind", ["llm", "chain"])
def test_texts_that_are_not_kept_are_judged_by_the_model_at_once(
    make_job, llm, store, kind: str
) -> None:
    judge = llm() if kind == "llm" else chain(llm(), sample=0)
    job = make_job(judge=judge, store_text=False)
    generate(job, ITEMS, ListedPool(), store)
    assert by_item(job, store) == MODELS
    assert job.responses(store).read(["text"])["text"].null_count == 30
    for artefact in (job.verdicts(store), job.judgements(store)):
        assert artefact.read()["extracted"].null_count == 30
        assert "nargles" not in str(artefact.read()["reason"].to_pylist())
    assert judge_artefact(job, ITEMS, store).added == 0
    changed = make_job(judge=llm(system="Another."), store_text=False)
    with pytest.raises(SentinelError, match="were not kept"):
        judge_artefact(changed, ITEMS, store)


def test_hidden_items_leave_no_word_in_what_is_stored(make_job, llm, store, server, tmp_path):
    benchmarks = (Benchmark("alpha", 1, File("a"), show_items=False), Benchmark("b", 1, File("b")))
    echo = {"extracted": "What is twice", "reason": "What is twice", "verdict": "correct"}
    server.rule = lambda *_: (200, {}, answer(json.dumps(echo)))
    job = make_job(judge=chain(llm(), sample=1), benchmarks=benchmarks)
    generate(job, ITEMS, Marked(), store)
    judge_artefact(job, ITEMS, store)
    assert set(job.verdicts(store).read()["extracted"].to_pylist()) == {None}
    for kind in ("responses", "verdicts", "judgements"):
        for path in (tmp_path / "root" / kind).rglob("*.*"):
            assert b"What is twice" not in path.read_bytes(), path
