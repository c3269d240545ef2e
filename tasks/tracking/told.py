"""What MLflow and its database drivers say, without the password that an address may hold."""

from __future__ import annotations

import re
from urllib.parse import unquote

# A shorter piece of a password would be found in any message.
_TELLING = 3


def public(uri: str) -> str:
    """A URI without the user and password it may hold, and without its query."""
    scheme, apart, rest = uri.partition("://")
    hidden = "***@" * ("@" in rest)
    return f"{scheme}{apart}{hidden}{rest.rpartition('@')[2].partition('?')[0]}"


def told(uri: str, error: BaseException) -> str:
    """An error's own words; only its kind where they hold any piece of the URI's password.

    MLflow quotes an address that it does not know how to use, and drivers quote what they take for
    a host or a port in one whose password is not percent-encoded.
    """
    words = f"{error}".strip()
    user, _, rest = uri.partition("://")[2].rpartition("@")
    secret = f"{user.partition(':')[2]} {rest.partition('?')[2]}"
    pieces = {piece for text in (secret, unquote(secret)) for piece in re.split(r"[\W_]+", text)}
    if any(piece in words for piece in pieces if len(piece) >= _TELLING):
        return f"{type(error).__name__}, whose words may hold the password and are not shown"
    return words
