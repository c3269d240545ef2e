"""Chat completions that are not as the protocol says: by a table, and any by property tests."""

import json
import re
from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import strategies as st

from tests.chat_server import answer

_SURROGATE = "\ud800"


def _with(*path: str | int, value: Any) -> dict:
    """A good completion but for the value at a path."""
    document = json.loads(json.dumps(answer()))  # No part of it stands in two places.
    at: Any = document
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = value
    return document


_MESSAGE = ("choices", 0, "message")
_TOKENS = ("choices", 0, "logprobs", "content")

#: Name to (body, words of its problem): these answer nothing.
MALFORMED: dict[str, tuple[Any, str]] = {
    "no object": (["choices"], "no choices"),
    "choices null": (_with("choices", value=None), "no choices"),
    "choices a word": (_with("choices", value="abc"), "its first choice is no object"),
    "choices of null": (_with("choices", value=[None]), "its first choice is no object"),
    "message null": (_with(*_MESSAGE, value=None), "its message is no object"),
    "message a word": (_with(*_MESSAGE, value="abc"), "its message is no object"),
    "content in parts": (
        _with(*_MESSAGE, "content", value=[{"type": "text", "text": "4"}]),
        "its content is no text",
    ),
    "content a number": (_with(*_MESSAGE, "content", value=4), "its content is no text"),
}

#: Name to (body, words of its problem): answers whose tokens cannot be read.
MALFORMED_TOKENS: dict[str, tuple[Any, str]] = {
    "tokens a word": (_with(*_TOKENS, value="abc"), "token 0: logprobs.content is no list"),
    "logprobs a word": (_with(*_TOKENS[:-1], value="abc"), "returns no logprobs"),
    "token null": (_with(*_TOKENS, 1, value=None), "token 1: no token with its log-probability"),
    "token a list": (_with(*_TOKENS, 1, "token", value=["a"]), "token 1: no token"),
    "logprob a word": (_with(*_TOKENS, 0, "logprob", value="a"), "token 0: no token"),
    "candidate null": (_with(*_TOKENS, 1, "top_logprobs", value=[None]), "token 1: no token"),
    "candidates a word": (_with(*_TOKENS, 1, "top_logprobs", value="abc"), "token 1: no token"),
    "logprob beyond float": (_with(*_TOKENS, 0, "logprob", value=-(10**400)), "item b/i1"),
}

#: Answers for all that; a lone surrogate becomes U+FFFD.
READABLE: dict[str, dict] = {
    "usage null": _with("usage", value=None),
    "usage a word": _with("usage", value="abc"),
    "usage of nulls": _with("usage", value={"prompt_tokens": None, "completion_tokens": None}),
    "usage beyond a column": _with("usage", "prompt_tokens", value=10**30),
    "finish a list": _with("choices", 0, "finish_reason", value=["stop"]),
    "lone surrogate": _with(*_MESSAGE, "content", value=f"4{_SURROGATE}"),
    "lone surrogate as a token": _with(*_TOKENS, 0, "token", value=_SURROGATE),
}

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["", "a", "\ud800"]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(["token", "logprob", "content", "text"]), inner, max_size=2
        )
    ),
    max_leaves=4,
)


def _paths(document: Any, at: tuple = ()) -> list[tuple]:
    inner = document.items() if isinstance(document, dict) else enumerate(document)
    deeper = [
        path
        for key, value in inner
        if isinstance(value, dict | list)
        for path in _paths(value, (*at, key))
    ]
    keys = document if isinstance(document, dict) else range(len(document))
    return deeper + [(*at, key) for key in keys]


#: A good completion with any value anywhere, or without the entry there.
ANY: st.SearchStrategy[Any] = st.one_of(
    _JSON,
    st.builds(
        lambda path, value: _with(*path, value=value),
        st.sampled_from(_paths(answer())),
        _JSON,
    ),
)


#: Several of them for one batch.
MANY = st.lists(ANY, min_size=15, max_size=25)


def by_question(replies: Sequence[Any], otherwise: Callable) -> Callable:
    """A rule for the server: the replies to questions 1, 2, ..., and the other rule's to the rest.

    The questions are those of the tests: a word and a number.
    """

    def choose(number: int, body: dict) -> tuple:
        asked = int(re.search(r"[Qq]uestion (\d+)", json.dumps(body["messages"]))[1])
        if 1 <= asked <= len(replies):
            return 200, {}, json.dumps(replies[asked - 1]).encode()
        return tuple(otherwise(number, body))

    return choose
