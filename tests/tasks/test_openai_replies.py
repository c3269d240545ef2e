"""Replies that break the protocol cost their item at most, never the batch; the server is real."""

import io
from collections.abc import Iterator

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.conf import Decoding, Endpoint, Model, Price
from tasks.engines.contract import Batch, Prompt
from tasks.engines.openai import OpenAIEngine
from tasks.errors import EndpointError
from tasks.records import storable
from tests.chat_server import Server, answer
from tests.strange_replies import MALFORMED, MALFORMED_TOKENS, MANY, READABLE, by_question


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    started = Server()
    yield started
    started.close()


@pytest.fixture(scope="module")
def engine(server: Server) -> Iterator[OpenAIEngine]:
    endpoint = Endpoint(server.url, None, max_retries=0, timeout_s=60)
    model = Model("m", "openai", "org/m", endpoint=endpoint, price=Price(input=2, output=10))
    made = OpenAIEngine(model, Decoding(top_k=2), keep_top=True)
    yield made
    made.close()


def among_two(engine: OpenAIEngine, server: Server, *replies: object) -> Batch:
    """The replies to prompts between two with good ones. The table can be stored as it is."""
    server.rule = by_question(replies, lambda *_: (200, {}, answer()))
    count = len(replies) + 2
    batch = engine.generate([Prompt("b", f"i{n}", f"question {n}", "digest") for n in range(count)])
    pq.write_table(batch.table, io.BytesIO())
    batch.table.validate(full=True)
    return batch


@pytest.mark.parametrize("kind", MALFORMED | MALFORMED_TOKENS)
def test_a_malformed_reply_costs_its_item_and_no_others(engine, server, kind: str) -> None:
    reply, words = (MALFORMED | MALFORMED_TOKENS)[kind]
    batch = among_two(engine, server, reply)
    assert sorted(batch.table["item_id"].to_pylist()) == ["i0", "i2"]
    assert isinstance(batch.problem, EndpointError)
    assert "1 of 3 prompts got no answer" in str(batch.problem)
    assert words in str(batch.problem)


@pytest.mark.parametrize("kind", READABLE)
def test_what_an_answer_does_not_depend_on_does_not_cost_it(engine, server, kind: str) -> None:
    batch = among_two(engine, server, READABLE[kind])
    rows = {row["item_id"]: row for row in batch.table.to_pylist()}
    assert batch.problem is None
    assert rows["i1"]["text"] == ("4\N{REPLACEMENT CHARACTER}" if kind == "lone surrogate" else "4")
    tokens = (rows["i1"]["tokens_in"], rows["i1"]["tokens_out"], rows["i1"]["cost"])
    counted = (10, 2, pytest.approx(4e-5)) if "usage" not in kind else (0, 2, pytest.approx(2e-5))
    assert tokens == counted


def test_a_refusal_that_no_file_can_hold_is_kept_in_words(engine, server: Server) -> None:
    refusal = (400, {}, {"error": {"message": "bad \ud800"}})
    server.rule = lambda *_: refusal
    table = engine.generate([Prompt("b", "i0", "question 0", "digest")]).table
    assert "bad \N{REPLACEMENT CHARACTER}" in table["error"][0].as_py()


def test_a_reply_nested_too_deep_to_read_is_a_problem(engine, server: Server) -> None:
    server.rule = lambda *_: (200, {}, b"[" * 100_000)
    batch = engine.generate([Prompt("b", "i0", "question 0", "digest")])
    assert len(batch.table) == 0
    assert "no chat completion" in str(batch.problem)


@settings(
    max_examples=6,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(replies=MANY)
def test_no_reply_at_all_costs_another_items_answer(engine, server, replies) -> None:
    batch = among_two(engine, server, *replies)
    answered = set(batch.table["item_id"].to_pylist())
    assert {"i0", f"i{len(replies) + 1}"} <= answered
    assert (len(answered) == len(replies) + 2) == (batch.problem is None)


@given(st.text(st.characters() | st.characters(categories=["Cs"]), max_size=8))
def test_text_is_kept_but_for_lone_surrogates(text: str) -> None:
    kept = storable(text)
    assert kept.encode().decode() == kept
    if not any("\ud800" <= c <= "\udfff" for c in text):
        assert kept == text
