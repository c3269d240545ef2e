"""A grader that knows the truth: cases, its replies, and what a judge should make of them."""

import json
import re

from tasks.judging.asking import Asked
from tasks.judging.prompts import Case
from tasks.records import Item
from tasks.storage.keys import digest
from tests.chat_server import answer


def truth(number: int) -> str:
    """What the judge is to find, in no pattern that another bug could hit."""
    return ["correct", "incorrect", "no_answer"][int(digest(number), 16) % 3]


def cases(count: int) -> list[Case]:
    return [Case(Item("b", f"i{n}", f"Question {n}?", "1"), f"response {n}", "stop")
            for n in range(count)]  # fmt: skip


def item_of(body: dict) -> int:
    return int(re.search(r"Question (\d+)\?", body["messages"][1]["content"])[1])


def said(verdict: str, **more: object) -> dict:
    """A reply in the schema."""
    return answer(json.dumps({"extracted": "1", "reason": "so", "verdict": verdict} | more))


def truthful(_: int, body: dict) -> tuple:
    return 200, {}, said(truth(item_of(body)))


def statuses(asked: Asked) -> dict[int, str]:
    found = [(int(j.item_id[1:]), j.status) for j in asked.judgements.values()]
    assert len(dict(found)) == len(found)
    return dict(found)


def whole_truth(count: int) -> dict[int, str]:
    return {n: truth(n) for n in range(count)}
