"""What a model judge is shown, and the format it is asked to answer in."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

from tasks.conf import LlmJudge
from tasks.records import Finish, Item, Judgement
from tasks.storage.keys import digest

Form = Literal["schema", "line", "published"]

_LINE = 'Answer ONLY with the exact format: {"success": True} or {"success": False}'
_SCHEMA = (
    'Answer with one JSON object of three fields. "extracted": the final answer of the response as '
    'it stands there, or "" if it gives none. "reason": one short sentence. "verdict": "correct", '
    '"incorrect", or "no_answer" where the response gives no final answer.'
)
VERDICTS = ("correct", "incorrect", "no_answer")

_PLACE = re.compile(r"\{(question|response|answer|fence)\}")


@dataclass(frozen=True, slots=True)
class Case:
    """One response to be judged; ``earlier`` is what an earlier, shorter try came to."""

    item: Item
    text: str | None
    finish: str
    earlier: Judgement | None = None

    @property
    def digest(self) -> str:
        """Hash of what is judged: another question, answer or response is another case."""
        item = self.item
        shown = [item.question, item.answer, self.text, self.finish]
        return digest([item.benchmark, item.item_id, *shown])

    @property
    def nothing_to_judge(self) -> str | None:
        """Why there is nothing to judge, if so."""
        if self.finish == Finish.ERROR:
            return "nothing to judge: the generation failed"
        return "nothing to judge: the text was not stored" if self.text is None else None


def messages(judge: LlmJudge, case: Case, form: Form) -> list[dict[str, str]]:
    """System and user message for one case.

    ``{fence}`` becomes a hash of what is shown: a response would have to contain the hash of
    itself to close its block. Places are filled in one pass, so a question that reads
    ``{answer}`` stays one.
    """
    text = case.text or ""
    for mark in judge.strip:
        text = text.replace(mark, "")
    shown = {"question": case.item.question, "response": text, "answer": case.item.answer}
    shown["fence"] = digest([shown["question"], text, shown["answer"]])

    def fill(template: str) -> str:
        return _PLACE.sub(lambda place: shown[place[1]], template)

    system = f"{fill(judge.system)}\n{_SCHEMA if form == 'schema' else _LINE}"
    return [{"role": "system", "content": system}, {"role": "user", "content": fill(judge.user)}]


def response_format(form: Form, max_chars: int | None) -> dict[str, Any] | None:
    """The JSON schema a server is to enforce; ``None`` for the formats in words alone."""
    if form != "schema":
        return None
    text: dict[str, Any] = {"type": "string"} | ({"maxLength": max_chars} if max_chars else {})
    # In this order the model has named the answer and its reason before it decides.
    properties = {
        "extracted": text,
        "reason": text,
        "verdict": {"type": "string", "enum": list(VERDICTS)},
    }
    schema = {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
    return {
        "type": "json_schema",
        "json_schema": {"name": "verdict", "strict": True, "schema": schema},
    }
