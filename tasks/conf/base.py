"""What every section of the conf shares: strictness, names, and what a prompt must contain."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import ConfigDict, Field

#: An unknown field is an error, not a field without effect.
STRICT = ConfigDict(extra="forbid")

Positive = Annotated[int, Field(ge=1)]
#: What a name looks like, in conf and as the name of a file.
NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
Name = Annotated[str, Field(pattern=NAME)]
#: The same in words.
NAMES = "a name is made of letters, digits, '.', '_' and '-', the first of them a letter or digit"


def is_name(text: str) -> bool:
    """Whether a text can be a name."""
    return re.fullmatch(NAME, text) is not None


def check_prompt(prompt: str | None) -> str | None:
    """Return the prompt; one without the place of the question is a :class:`ValueError`."""
    if prompt is not None and "{question}" not in prompt:
        raise ValueError(
            "a prompt is a name in conf/prompts, or a text that must contain {question}, the place "
            "of the item's question"
        )
    return prompt
