"""A model judge against a real server on loopback that misbehaves and keeps the truth."""

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tasks.conf import Endpoint, LlmJudge, Price
from tasks.errors import EndpointError
from tasks.judging.asking import PART_ROWS, ask, judgements_in
from tasks.judging.prompts import Case
from tasks.records import Item
from tasks.storage.store import Artefact, Store
from tests.chat_server import Server, answer, impatient
from tests.judging.grader import cases, item_of, said, statuses, truth, truthful, whole_truth

KEY = "sk-very-secret-0123456789"
PRICE = Price(input=2, output=10)


@pytest.fixture
def server() -> Iterator[Server]:
    started = Server()
    started.rule = truthful
    yield started
    started.close()


@pytest.fixture
def stored(tmp_path: Path) -> Artefact:
    return Store(str(tmp_path / "root")).artefact("judgements", "m", "b", "key")


@pytest.fixture
def judge(server: Server, monkeypatch) -> Callable[..., LlmJudge]:
    monkeypatch.setenv("TEST_KEY", KEY)
    monkeypatch.setattr("tasks.endpoint._LONGEST_BACKOFF_S", 0.01)

    def make(endpoint: dict | None = None, **fields: object) -> LlmJudge:
        defaults = {"base_url": server.url, "api_key_env": "TEST_KEY", "max_retries": 0,
                    "timeout_s": 60}  # fmt: skip
        given = {"kind": "llm", "model": "grader", "answers": "schema"} | fields
        return LlmJudge(endpoint=Endpoint(**(defaults | (endpoint or {}))), **given)

    return make


# What is asked, and what comes back


def test_verdicts_are_the_models_with_tokens_and_money(judge, server, stored) -> None:
    asked = ask(judge(price=PRICE), cases(20), stored)
    assert asked.problem is None
    assert statuses(asked) == whole_truth(20)
    for one in asked.judgements.values():
        assert (one.extracted, one.reason, one.judge) == ("1", "so", "llm-1 llm grader")
        assert (one.replies, one.tokens_in, one.tokens_out) == (1, 10, 2)
        assert one.cost == pytest.approx((2 * 10 + 10 * 2) / 1e6)
    spending = asked.spending
    assert (spending.asked, spending.tokens_in, spending.tokens_out) == (20, 200, 40)
    assert str(spending) == "20 asked of the model, 200 + 40 tokens, 0.0008 USD"


def test_the_conf_is_what_is_asked_for(judge, server, stored) -> None:
    fields = {"temperature": 0.0, "max_tokens": 99, "seed": 7, "max_chars": 50}
    ask(judge(endpoint={"extra_body": {"reasoning": "low"}}, **fields), cases(1), stored)
    (body,) = server.bodies
    assert (body["model"], body["temperature"], body["max_tokens"], body["seed"]) == (
        "grader", 0.0, 99, 7)  # fmt: skip
    assert body["reasoning"] == "low"
    assert body["response_format"]["json_schema"]["strict"] is True
    assert "logprobs" not in body


def test_what_the_conf_leaves_open_is_not_sent(judge, server, stored) -> None:
    server.rule = lambda *_: (200, {}, answer('{"success": True}'))
    ask(judge(answers="line"), cases(1), stored)
    assert server.bodies[0].keys() == {"model", "messages"}


def test_hidden_reasoning_that_is_billed_counts(judge, server, stored) -> None:
    usage = {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 212}
    server.rule = lambda *_: (200, {}, said("correct") | {"usage": usage})
    (one,) = ask(judge(price=PRICE), cases(1), stored).judgements.values()
    assert (one.tokens_out, one.cost) == (202, pytest.approx((20 + 2020) / 1e6))


# Replies that cannot be read

UNREADABLE = {
    "prose": (answer("The response is correct."), "not JSON"),
    "wrong schema": (answer('{"success": true}'), "JSON of another schema"),
    "another verdict": (said("right"), "another verdict"),
    "truncated": (answer('{"extracted": "1", "rea', finish="length"), "cut off"),
    "whole but cut": (said("correct") | {"choices": answer(
        json.dumps({"extracted": "1", "reason": "", "verdict": "correct"}),
        finish="length")["choices"]}, "cut off"),
    "empty": (answer(""), "empty"),
    "no content": (answer(None), "empty"),
    "filtered": (answer("correct", finish="content_filter"), "filter"),
}  # fmt: skip


@pytest.mark.parametrize("kind", UNREADABLE)
def test_what_cannot_be_read_is_asked_again_with_another_seed(judge, server, stored, kind) -> None:
    reply, _ = UNREADABLE[kind]
    server.rule = lambda n, body: (200, {}, reply) if n < 2 else truthful(n, body)
    asked = ask(judge(seed=5, temperature=0), cases(1), stored)
    assert statuses(asked) == whole_truth(1)
    assert [b["seed"] for b in server.bodies] == [5, 6, 7]
    assert [b["temperature"] for b in server.bodies] == [0, 0.7, 0.7]
    (one,) = asked.judgements.values()
    assert (one.replies, one.tokens_in, one.tokens_out) == (3, 30, 6)


@pytest.mark.parametrize("kind", UNREADABLE)
def test_what_can_never_be_read_is_a_judge_error_and_never_a_guess(
    judge, server, stored, kind
) -> None:
    reply, fault = UNREADABLE[kind]
    server.rule = lambda *_: (200, {}, reply)
    asked = ask(judge(attempts=3), cases(2), stored)
    assert asked.problem is None
    for one in asked.judgements.values():
        assert (one.status, one.extracted, one.replies) == ("judge_error", None, 3)
        assert fault in one.reason
    assert len(server.bodies) == 6


def test_more_attempts_take_up_only_what_could_not_be_read(judge, server, stored) -> None:
    server.rule = lambda n, b: (200, {}, answer("?")) if item_of(b) == 1 else truthful(n, b)
    ask(judge(attempts=2, price=PRICE), cases(3), stored)
    server.bodies.clear()
    assert ask(judge(attempts=2), cases(3), stored).spending.asked == 0
    server.rule = truthful
    again = ask(judge(attempts=3, price=PRICE), cases(3), stored)
    assert [item_of(b) for b in server.bodies] == [1]
    assert statuses(again) == whole_truth(3)
    # Both replies of before are counted in the judgement, and not in what was spent now.
    assert {j.replies for j in again.judgements.values() if j.item_id == "i1"} == {3}
    assert again.spending.tokens_in == 10
    assert judgements_in(stored) == again.judgements


# Formats


def test_a_server_without_schemas_is_asked_for_the_line(judge, server, stored) -> None:
    def rule(number: int, body: dict) -> tuple:
        if "response_format" in body:
            return 400, {}, {"error": {"message": "response_format is not supported"}}
        return 200, {}, answer(f'{{"success": {truth(item_of(body)) == "correct"}}}')

    server.rule = rule
    asked = ask(judge(answers="auto", endpoint={"concurrency": 1}), cases(9), stored)
    found = {n: s == "correct" for n, s in statuses(asked).items()}
    assert found == {n: truth(n) == "correct" for n in range(9)}
    assert len(server.bodies) == 10  # The first tells; the others do not try again.


def test_without_auto_a_refused_schema_is_not_given_up(judge, server, stored) -> None:
    server.rule = lambda *_: (400, {}, {"error": {"message": "no schemas"}})
    (one,) = ask(judge(), cases(1), stored).judgements.values()
    assert (one.status, one.replies) == ("judge_error", 0)
    assert one.reason.startswith("the judge's server refused the request: ")


@pytest.mark.parametrize("answers", ["auto", "schema", "line"])
def test_a_case_the_server_refuses_is_its_own_fault(judge, server, stored, answers: str) -> None:
    def rule(number: int, body: dict) -> tuple:
        if item_of(body) == 1:
            return 400, {}, {"error": {"message": f"prompt too long {KEY}"}}
        if "response_format" in body:
            return truthful(number, body)
        return 200, {}, answer('{"success": True}')

    server.rule = rule
    asked = ask(judge(answers=answers), cases(4), stored)
    assert asked.problem is None
    assert statuses(asked)[1] == "judge_error"
    assert "judge_error" not in {s for n, s in statuses(asked).items() if n != 1}
    (refused,) = (j for j in asked.judgements.values() if j.item_id == "i1")
    assert KEY not in refused.reason
    server.bodies.clear()
    assert ask(judge(answers=answers), cases(4), stored).spending.asked == 0
    assert server.bodies == []


# Where there is nothing to ask

NOTHING = {
    "failed generation": (Case(Item("b", "i", "?", "1"), None, "error"), "judge_error"),
    "text not stored": (Case(Item("b", "i", "?", "1"), None, "stop"), "judge_error"),
    "empty response": (Case(Item("b", "i", "?", "1"), " \n", "stop"), "no_answer"),
    "empty reference": (Case(Item("b", "i", "?", " "), "4", "stop"), "gold_unparsable"),
}


@pytest.mark.parametrize("kind", NOTHING)
def test_where_there_is_nothing_to_judge_nobody_is_asked(judge, server, stored, kind) -> None:
    case, status = NOTHING[kind]
    (one,) = ask(judge(), [case], stored).judgements.values()
    assert (one.status, one.replies, one.tokens_in) == (status, 0, 0)
    assert server.bodies == []


# Servers that fail


def test_a_wrong_key_is_one_problem_and_no_verdict(judge, server, stored) -> None:
    server.rule = lambda *_: (401, {}, {"error": {"message": f"bad key {KEY}"}})
    asked = ask(judge(endpoint={"concurrency": 1}), cases(1000), stored)
    assert isinstance(asked.problem, EndpointError)
    assert "1000 of 1000" in str(asked.problem)
    assert "refused the key (HTTP 401)" in str(asked.problem)
    assert "TEST_KEY" in str(asked.problem)
    assert KEY not in str(asked.problem)
    assert (asked.judgements, stored.parts()) == ({}, [])
    assert len(server.bodies) == 1
    server.rule = truthful  # A mended key is noticed without a new process.
    assert statuses(ask(judge(endpoint={"concurrency": 1}), cases(3), stored)) == whole_truth(3)


def test_a_key_that_is_not_set_matters_only_if_somebody_is_to_be_asked(
    judge, server, stored, monkeypatch
) -> None:
    ask(judge(), cases(3), stored)
    monkeypatch.delenv("TEST_KEY")
    assert statuses(ask(judge(), cases(3), stored)) == whole_truth(3)
    with pytest.raises(EndpointError, match="TEST_KEY is not set"):
        ask(judge(), cases(4), stored)


def misbehaviour(kind: str, server: Server) -> tuple:
    if kind == "late":
        return server.never()
    broken = {"error": {"message": f"oops {KEY}"}}
    return {
        "429": (429, {"Retry-After": "0.05"}, broken),
        "500": (500, {"Retry-After": "0.01"}, broken),
        "503": (503, {"Retry-After": "0.01"}, broken),
        "hang up": (200, {}, None),
        "cut short": (200, {"Content-Length": "100000"}, said("correct")),
        "malformed": (200, {}, b'{"choices": [{"mess'),
    }.get(kind) or (200, {}, UNREADABLE[kind][0])  # fmt: skip


FAILURES = ["429", "500", "503", "late", "hang up", "cut short", "malformed"]


@pytest.mark.parametrize("seed", [1, 2])
def test_no_verdict_is_lost_and_none_invented_whatever_the_server_does(
    judge, server, stored, seed: int
) -> None:
    """Each item meets up to two faults, then the truth; the tries allowed are enough for them."""
    draw = random.Random(seed)
    kinds = [*FAILURES, *UNREADABLE]
    faults = {n: draw.choices(kinds, k=draw.randrange(3)) for n in range(90)}
    told, lock = Counter(), threading.Lock()

    def rule(number: int, body: dict) -> tuple:
        item = item_of(body)
        with lock:
            fault = faults[item].pop(0) if faults[item] else None
            told[item] += fault is None
        return truthful(number, body) if fault is None else misbehaviour(fault, server)

    server.rule = rule
    patient = {"max_retries": 8, "timeout_s": 1.0, "concurrency": 12}
    asked = ask(judge(endpoint=patient), cases(90), stored)
    assert asked.problem is None, asked.problem
    assert statuses(asked) == whole_truth(90)
    assert set(told) == set(range(90))
    assert judgements_in(stored) == asked.judgements


@pytest.mark.parametrize("kind", FAILURES)
def test_what_the_server_fails_to_judge_is_missing_until_a_rerun(
    judge, server, stored, monkeypatch, kind: str
) -> None:
    server.rule = lambda n, b: (
        misbehaviour(kind, server) if item_of(b) in (3, 7) else truthful(n, b)
    )
    late = {3, 7} if kind == "late" else set()
    impatient(monkeypatch, lambda body: item_of(body) in late)
    one = judge(endpoint={"timeout_s": 30, "concurrency": 2})
    asked = ask(one, cases(20), stored)
    assert "2 of 20 responses to be judged got no answer" in str(asked.problem)
    assert KEY not in str(asked.problem)
    assert statuses(asked) == {n: s for n, s in whole_truth(20).items() if n not in (3, 7)}
    late.clear()
    server.bodies.clear()
    server.rule = truthful
    again = ask(one, cases(20), stored)
    assert sorted(item_of(b) for b in server.bodies) == [3, 7]
    assert (again.problem, statuses(again)) == (None, whole_truth(20))


# Resuming, pace, secrecy


def test_judgements_are_stored_in_small_parts_as_they_come(judge, server, stored) -> None:
    """An interrupt after 40 judgements: those that came are there, and nothing is asked twice."""

    def interrupt(done: int, total: int) -> None:
        if done == 40:
            raise KeyboardInterrupt

    def rule(number: int, body: dict) -> tuple:
        """Answer nothing that is asked while the interrupt is on its way."""
        if number >= 40 + 4 and not again.is_set():
            again.wait(60)
            return 200, {}, None
        return truthful(number, body)

    server.rule, again = rule, threading.Event()
    with pytest.raises(KeyboardInterrupt):
        ask(judge(endpoint={"concurrency": 4}), cases(200), stored, progress=interrupt)
    kept = judgements_in(stored)
    assert len(kept) == 40
    assert len(stored.parts()) == 40 // PART_ROWS + 1
    again.set()
    asked = ask(judge(endpoint={"concurrency": 4}), cases(200), stored)
    assert statuses(asked) == whole_truth(200)
    assert asked.spending.asked == 160
    twice = [n for n, c in Counter(item_of(b) for b in server.bodies).items() if c > 1]
    assert len(twice) <= 4 + 4  # Only what was in flight.


def test_progress_counts_what_is_stored_already(judge, server, stored) -> None:
    ask(judge(), cases(5), stored)
    calls: list[tuple[int, int]] = []
    ask(judge(), cases(8), stored, progress=lambda *c: calls.append(c))
    assert calls == [(6, 8), (7, 8), (8, 8)]


@pytest.mark.parametrize("jobs", [1, 3])
def test_concurrency_bounds_the_judge_however_many_jobs_there_are(
    judge, server, tmp_path, jobs: int
) -> None:
    def slowly(number: int, body: dict) -> tuple:
        time.sleep(0.05)
        return truthful(number, body)

    server.rule = slowly
    store = Store(str(tmp_path / "root"))
    threads = [
        threading.Thread(target=ask, args=(
            judge(endpoint={"concurrency": 2}), cases(6), store.artefact(f"j{n}")))
        for n in range(jobs)
    ]  # fmt: skip
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(server.bodies) == 6 * jobs
    assert server.most_at_once == 2


def test_requests_a_minute_pace_retries_too(judge, server, stored) -> None:
    server.rule = lambda n, b: (200, {}, answer("?")) if n % 2 else truthful(n, b)
    start = time.monotonic()
    ask(judge(endpoint={"requests_per_minute": 1200}), cases(6), stored)  # One each 0.05 s.
    assert len(server.times) > 6
    assert max(server.times) - start >= 0.05 * (len(server.times) - 1)


SECRET = "A very particular quantum of Nargles"


def hidden(count: int) -> list[Case]:
    return [Case(Item("gpqa", f"i{n}", f"{SECRET} Question {n}?", SECRET), SECRET, "stop")
            for n in range(count)]  # fmt: skip


def test_a_quiet_judge_keeps_no_word_of_the_items(judge, server, stored, caplog) -> None:
    replies = [
        said("correct", extracted=SECRET, reason=SECRET), said("incorrect", extracted="C"),
        answer(SECRET), *[answer(SECRET)] * 3,
    ]  # fmt: skip
    server.rule = lambda n, b: (200, {}, replies[min(n, len(replies) - 1)])
    asked = ask(judge(endpoint={"concurrency": 1}), hidden(3), stored, quiet=True)
    found = [(j.status, j.extracted) for j in asked.judgements.values()]
    assert found == [("correct", None), ("incorrect", "C"), ("judge_error", None)]
    assert SECRET not in str(asked.judgements)
    assert SECRET in server.bodies[0]["messages"][1]["content"]  # The judge has to see it.
    assert SECRET not in caplog.text
    for part in stored.parts():
        assert SECRET.encode() not in stored.store.read_bytes(part)


@pytest.mark.parametrize("status", [400, 500])
def test_a_quiet_judge_does_not_repeat_a_servers_message(judge, server, stored, status) -> None:
    server.rule = lambda *_: (status, {}, {"error": {"message": f"cannot do {SECRET}"}})
    asked = ask(judge(), hidden(1), stored, quiet=True)
    assert SECRET not in str(asked.judgements)
    assert SECRET not in str(asked.problem)
    loud = ask(judge(attempts=2), hidden(2)[1:], stored)
    assert SECRET in str(loud.judgements) + str(loud.problem)
