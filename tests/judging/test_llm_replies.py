"""A model judge whose server breaks the protocol: that case has no judgement, all others have."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from tasks.conf import Endpoint, LlmJudge
from tasks.endpoint import Chat
from tasks.errors import EndpointError, SentinelError
from tasks.judging.asking import ask
from tasks.judging.llm import ModelJudge
from tasks.judging.replies import Unreadable, read
from tasks.storage.store import Store
from tests.chat_server import Server, answer
from tests.judging.grader import cases, said, statuses, truthful, whole_truth
from tests.strange_replies import MALFORMED, MANY, READABLE, by_question


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    started = Server()
    yield started
    started.close()


@pytest.fixture(scope="module")
def judge(server: Server) -> LlmJudge:
    endpoint = Endpoint(server.url, None, max_retries=0, timeout_s=60)
    return LlmJudge(kind="llm", model="grader", answers="schema", attempts=1, endpoint=endpoint)


@pytest.mark.parametrize("kind", MALFORMED)
def test_a_malformed_reply_costs_its_case_and_no_others(judge, server, tmp_path, kind) -> None:
    reply, words = MALFORMED[kind]
    server.rule = by_question([reply], truthful)
    stored = Store(str(tmp_path)).artefact("judgements", "m", "b", "key")
    asked = ask(judge, cases(3), stored)
    assert statuses(asked) == {n: v for n, v in whole_truth(3).items() if n != 1}
    assert isinstance(asked.problem, EndpointError)
    assert words in str(asked.problem)


@pytest.mark.parametrize("kind", [kind for kind in READABLE if "usage" in kind])
def test_a_verdict_counts_without_usage(judge, server, tmp_path: Path, kind: str) -> None:
    reply = said("correct") | {"usage": READABLE[kind]["usage"]}
    server.rule = lambda *_: (200, {}, reply)
    asked = ask(judge, cases(1), Store(str(tmp_path)).artefact("judgements", "m", "b", "key"))
    (one,) = asked.judgements.values()
    assert (one.status, one.tokens_in, one.tokens_out) == ("correct", 0, 0)


def test_a_verdict_in_words_that_no_file_can_hold_is_kept(judge, server, tmp_path: Path) -> None:
    server.rule = lambda *_: (200, {}, said("correct", reason="so \ud800"))
    asked = ask(judge, cases(1), Store(str(tmp_path)).artefact("judgements", "m", "b", "key"))
    (one,) = asked.judgements.values()
    assert (one.status, one.reason) == ("correct", "so \N{REPLACEMENT CHARACTER}")


@settings(
    max_examples=4,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(replies=MANY)
def test_no_reply_at_all_costs_another_cases_verdict(judge, server, replies) -> None:
    server.rule = by_question(replies, truthful)
    count = len(replies) + 2
    chat = Chat("judge 'grader'", judge.model, judge.endpoint)
    outcomes = list(ModelJudge(judge, chat).each(cases(count)))
    chat.close()
    found = {o.item_id: o.status for o in outcomes if not isinstance(o, SentinelError)}
    assert len(outcomes) == count
    true = whole_truth(count)
    last = count - 1
    assert (found.pop("i0"), found.pop(f"i{last}")) == (true[0], true[last])
    assert set(found.values()) <= {"judge_error"}


@pytest.mark.parametrize("form", ["schema", "line", "published"])
@pytest.mark.parametrize("content", [[{"type": "text", "text": "{}"}], {"a": 1}, 5, True])
def test_content_that_is_no_text_is_unreadable(form, content) -> None:
    with pytest.raises(Unreadable, match="no text"):
        read(form, content, "stop")
    assert read("published", json.dumps(answer("true")), "stop").status == "correct"
