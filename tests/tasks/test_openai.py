"""The endpoint engine against a real local server that misbehaves in every known way."""

import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from tasks.conf import Decoding, Endpoint, Model, Price
from tasks.engines.contract import Batch, Prompt
from tasks.engines.openai import OpenAIEngine
from tasks.engines.pool import EnginePool
from tasks.errors import EndpointError, SentinelError
from tests.chat_server import HALF, QUARTER, Server, answer, impatient

KEY = "sk-very-secret-0123456789"


@pytest.fixture
def server() -> Iterator[Server]:
    started = Server()
    yield started
    started.close()


@pytest.fixture
def engine(server: Server, monkeypatch) -> Iterator[Callable[..., OpenAIEngine]]:
    """An engine for the server; fields of the endpoint as keywords."""
    monkeypatch.setenv("TEST_KEY", KEY)
    made = []

    def make(price: Price | None = None, decoding: Decoding | None = None, **fields):
        fields = {"api_key_env": "TEST_KEY", "max_retries": 0, "timeout_s": 60} | fields
        model = Model(
            "m", "openai", "org/m", endpoint=Endpoint(**{"base_url": server.url} | fields),
            price=price,
        )  # fmt: skip
        made.append(OpenAIEngine(model, decoding or Decoding(top_k=2), keep_top=True))
        return made[-1]

    yield make
    for one in made:
        one.close()


def prompts(count: int) -> list[Prompt]:
    return [Prompt("b", f"i{n}", f"question {n}", "digest") for n in range(count)]


def problem(batch: Batch) -> str:
    assert isinstance(batch.problem, EndpointError)
    assert KEY not in str(batch.problem)
    return str(batch.problem)


def only(item: str, rule: Callable) -> Callable:
    """The rule for one item's requests; the others are answered."""

    def choose(number: int, body: dict) -> tuple:
        asked = body["messages"][0]["content"] == f"question {item}"
        return rule(number, body) if asked else (200, {}, answer())

    return choose


# Answers


def test_an_answer_becomes_a_response_and_its_trace(engine, server: Server) -> None:
    batch = engine(price=Price(input=2, output=10)).generate(prompts(1))
    (row,) = batch.table.to_pylist()
    assert batch.problem is None
    assert (row["benchmark"], row["item_id"], row["request_digest"]) == ("b", "i0", "digest")
    assert (row["text"], row["finish"], row["n_tokens"]) == ("4", "stop", 2)
    assert (row["tokens_in"], row["tokens_out"], row["top_k"]) == (10, 2, 2)
    assert row["cost"] == pytest.approx((2 * 10 + 10 * 2) / 1e6)
    np.testing.assert_allclose(row["entropy"], [np.log(2)] * 2, rtol=1e-6)
    np.testing.assert_allclose(row["chosen_logprob"], [HALF] * 2, rtol=1e-6)
    np.testing.assert_allclose(row["tail_mass"], [0.25] * 2, rtol=1e-5)
    np.testing.assert_allclose(row["top_logprobs"], [HALF, QUARTER] * 2, rtol=1e-6)


def test_the_conf_is_what_is_asked_for(engine, server: Server) -> None:
    decoding = Decoding(temperature=0.25, top_p=0.5, max_tokens=7, seed=3, top_k=2, stop=("END",))
    engine(decoding=decoding, extra_body={"return_tokens_as_token_ids": True}).generate(prompts(1))
    assert server.bodies[0] == {
        "model": "org/m", "messages": [{"role": "user", "content": "question 0"}],
        "temperature": 0.25, "top_p": 0.5, "max_tokens": 7, "seed": 3, "stop": ["END"],
        "logprobs": True, "top_logprobs": 2, "return_tokens_as_token_ids": True,
    }  # fmt: skip


def test_a_truncated_answer_says_so(engine, server: Server) -> None:
    server.rule = lambda *_: (200, {}, answer(finish="length"))
    assert engine().generate(prompts(1)).table["finish"].to_pylist() == ["length"]


def test_without_a_price_there_is_no_cost(engine) -> None:
    assert engine().generate(prompts(1)).table["cost"].to_pylist() == [None]


def test_an_answer_without_tokens_is_an_answer(engine, server: Server) -> None:
    server.rule = lambda *_: (200, {}, answer(text="", content=[]))
    (row,) = engine().generate(prompts(1)).table.to_pylist()
    assert (row["n_tokens"], row["entropy"], row["text"]) == (0, [], "")


# Refusals


def test_a_wrong_key_is_told_by_the_name_of_its_variable(engine, server: Server) -> None:
    server.rule = lambda *_: (401, {}, {"error": {"message": f"Incorrect API key {KEY}"}})
    message = problem(engine().generate(prompts(1)))
    assert f"{server.url} refused the key (HTTP 401)" in message
    assert "TEST_KEY" in message


def test_after_a_wrong_key_nothing_more_is_sent(engine, server: Server) -> None:
    server.rule = lambda *_: (401, {}, {"error": {"message": "no"}})
    one = engine(concurrency=1)
    assert "20 of 20 prompts" in problem(one.generate(prompts(20)))
    assert "1 of 1 prompts" in problem(one.generate(prompts(1)))
    assert len(server.bodies) == 1


def test_a_key_that_is_not_set_is_told_before_anything_is_sent(engine, server, monkeypatch) -> None:
    monkeypatch.delenv("TEST_KEY")
    with pytest.raises(EndpointError, match=r"TEST_KEY is not set(?s:.*)api_key_env: null"):
        engine()
    assert server.bodies == []


def test_a_model_that_is_not_served_is_named(engine, server: Server) -> None:
    server.rule = lambda *_: (404, {}, {"error": {"message": "no such model"}})
    assert f"{server.url} does not serve 'org/m'" in problem(engine().generate(prompts(1)))


@pytest.mark.parametrize("status", [400, 422])
def test_a_request_the_server_calls_bad_is_an_answer_of_its_own(engine, server, status) -> None:
    server.rule = only("1", lambda *_: (status, {}, {"error": {"message": f"too long {KEY}"}}))
    batch = engine().generate(prompts(3))
    assert batch.problem is None
    rows = {r["item_id"]: r for r in batch.table.to_pylist()}
    assert [rows[f"i{n}"]["finish"] for n in range(3)] == ["stop", "error", "stop"]
    assert "too long" in rows["i1"]["error"]
    assert KEY not in rows["i1"]["error"]
    assert (rows["i1"]["text"], rows["i1"]["n_tokens"], rows["i1"]["entropy"]) == (None, 0, [])


def test_a_busy_server_is_asked_again_after_the_time_it_names(engine, server: Server) -> None:
    server.rule = lambda number, _: (
        (429, {"Retry-After": "0.7"}, {"error": {"message": "slow down"}})
        if number == 0
        else (200, {}, answer())
    )
    batch = engine(max_retries=2).generate(prompts(1))
    assert batch.problem is None
    assert server.times[1] - server.times[0] >= 0.65


def test_a_wait_longer_than_the_client_knows_is_waited_for(engine, server, monkeypatch) -> None:
    monkeypatch.setattr("tasks.endpoint._SHORT_WAIT_S", 0)
    server.rule = lambda number, _: (
        (429, {"Retry-After": "0.7"}, {"error": {"message": "slow down"}})
        if number < 2
        else (200, {}, answer())
    )
    assert engine(max_retries=0).generate(prompts(1)).problem is None
    assert server.times[2] - server.times[0] >= 1.3


def test_a_wait_beyond_all_patience_is_a_problem(engine, server: Server) -> None:
    server.rule = lambda *_: (429, {"Retry-After": "7200"}, {"error": {"message": "tomorrow"}})
    assert "tomorrow" in problem(engine(max_retries=0).generate(prompts(1)))
    assert len(server.bodies) == 1


def test_a_server_that_keeps_failing_costs_its_items_and_no_others(engine, server: Server) -> None:
    broken = (500, {"Retry-After": "0.01"}, {"error": {"message": f"oops {KEY}"}})
    server.rule = only("1", lambda *_: broken)
    batch = engine(max_retries=2).generate(prompts(3))
    assert sorted(batch.table["item_id"].to_pylist()) == ["i0", "i2"]
    message = problem(batch)
    assert "1 of 3 prompts got no answer" in message
    assert "oops ***" in message
    assert len(server.bodies) == 2 + 3


def no_logprobs(*_) -> tuple:
    document = answer()
    document["choices"][0]["logprobs"] = None
    return 200, {}, document


def one_token(**changes) -> list[dict]:
    pair = [{"token": "a", "logprob": HALF}, {"token": "b", "logprob": QUARTER}]
    return [{"token": "a", "logprob": HALF, "top_logprobs": pair} | changes]


USELESS = {
    "no logprobs": (no_logprobs, "returns no logprobs"),
    "no candidates": (
        lambda *_: (200, {}, answer(content=one_token(top_logprobs=[]))), "no top_logprobs"),
    "fewer candidates": (
        lambda *_: (200, {}, answer(content=one_token(top_logprobs=[{"token": "a",
                                                                     "logprob": HALF}]))),
        "item b/i1, token 0: at most 1 log-probabilities a token, 2 were asked for"),
    "positive logprob": (
        lambda *_: (200, {}, answer(content=one_token(logprob=0.5))),
        "item b/i1, token 0: log-probability 0.5 is positive"),
    "NaN logprob": (
        lambda *_: (200, {}, answer(content=one_token(logprob=float("nan")))),
        "item b/i1, token 0: log-probability is NaN"),
    "more than certain": (
        lambda *_: (200, {}, answer(content=one_token(
            top_logprobs=[{"token": t, "logprob": -0.1} for t in "ab"]))),
        "item b/i1: token 0: the probabilities add up to"),
    "no choices": (lambda *_: (200, {}, answer(choices=[])), "no chat completion: no choices"),
    "malformed JSON": (lambda *_: (200, {}, b'{"choices": [{"mess'), "no chat completion"),
    "a web page": (
        lambda *_: (200, {"Content-Type": "text/html"}, b"<html>log in</html>"),
        "no chat completion"),
    "cut short": (
        lambda *_: (200, {"Content-Length": "100000"}, answer()), "http://127.0.0.1"),
}  # fmt: skip


@pytest.mark.parametrize("kind", USELESS)
def test_a_useless_answer_costs_its_item_and_no_others(engine, server: Server, kind: str) -> None:
    rule, words = USELESS[kind]
    server.rule = only("1", rule)
    batch = engine().generate(prompts(3))
    assert sorted(batch.table["item_id"].to_pylist()) == ["i0", "i2"]
    assert words in problem(batch)


def test_a_server_that_is_not_there_is_named_with_a_remedy(engine) -> None:
    message = problem(engine(base_url="http://127.0.0.1:9/v1").generate(prompts(1)))
    assert "http://127.0.0.1:9/v1 cannot be reached" in message
    assert "start the server or check base_url" in message


def test_a_server_that_does_not_answer_in_time_is_named_with_the_time(
    engine, server, monkeypatch
) -> None:
    server.rule = only("1", server.never)
    waits = impatient(monkeypatch, lambda body: body["messages"][0]["content"] == "question 1")
    batch = engine(timeout_s=29.5).generate(prompts(2))
    assert batch.table["item_id"].to_pylist() == ["i0"]
    assert "did not answer within 29.5 s" in problem(batch)
    assert waits == [29.5]


# Pace


def slowly(*_) -> tuple:
    time.sleep(0.05)
    return 200, {}, answer()


@pytest.mark.parametrize("calls", [1, 3])
def test_concurrency_bounds_the_model_however_many_calls_there_are(engine, server, calls) -> None:
    server.rule = slowly
    one = engine(concurrency=2)
    threads = [threading.Thread(target=one.generate, args=(prompts(6),)) for _ in range(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(server.bodies) == 6 * calls
    assert server.most_at_once == 2


@pytest.mark.parametrize("calls", [1, 2])
def test_requests_a_minute_pace_the_model_however_many_calls_there_are(engine, server, calls):
    one = engine(requests_per_minute=600)  # one each 0.1 s
    threads = [threading.Thread(target=one.generate, args=(prompts(4),)) for _ in range(calls)]
    start = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(server.times) == 4 * calls
    assert max(server.times) - start >= 0.1 * (4 * calls - 1)


def test_calls_side_by_side_get_their_own_answers(engine, server: Server) -> None:
    server.rule = lambda _, body: (200, {}, answer(text=body["messages"][0]["content"]))
    one, found = engine(), {}

    def ask(n: int) -> None:
        found[n] = one.generate([Prompt("b", f"{n}", f"question {n}")]).table["text"].to_pylist()

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {n: [f"question {n}"] for n in range(8)}


def test_a_pool_makes_its_engine_at_the_first_prompt_and_ends_its_thread(
    server: Server, make_experiment
) -> None:
    model = Model("m", "openai", "org/m", endpoint=Endpoint(server.url, None))
    with EnginePool(model, make_experiment(models=(model,))) as pool:
        assert not pool.started
        assert len(pool.generate(prompts(3)).table) == 3
        assert pool.started
        (thread,) = (t for t in threading.enumerate() if t.name == "model 'm'")
    thread.join(timeout=60)
    assert not thread.is_alive()


def test_a_pool_that_is_closed_lets_go_of_its_questions(server: Server, make_experiment) -> None:
    asked, let_go = threading.Event(), threading.Event()

    def late(*_: object) -> tuple:
        asked.set()
        let_go.wait(60)
        return 200, {}, answer()

    server.rule = late
    model = Model("m", "openai", "org/m", endpoint=Endpoint(server.url, None))
    ended: list[str] = []

    def ask() -> None:
        with pytest.raises(SentinelError) as told:
            pool.generate(prompts(3))
        ended.append(told.value.problem)

    thread = threading.Thread(target=ask)
    with EnginePool(model, make_experiment(models=(model,))) as pool:
        thread.start()
        assert asked.wait(60)
    thread.join(timeout=60)
    let_go.set()
    assert ended == ["model 'm': the run was stopped"]
    with pytest.raises(SentinelError, match="stopped"):
        pool.generate(prompts(1))
