"""What a participant says that it has taken back itself, as an attribute of its refusal: an array of JSON, as text.

It is told by the way. What cannot be read of it is as good as absent, and no reason to set a refusal aside.
"""

import json
from collections.abc import Sequence

from pydantic_core import from_json

from choros.wire.attributes import LONGEST

LONGEST_WORDS = 80
"""Characters of what is said of one thing that was taken back."""
MOST = 100
"""Things that are told one by one, where as many fit."""


def written(undone: Sequence[str]) -> str:
    """The attribute: as many as fit, from the first one on, and the number of the others. Nothing for none."""
    if not undone:
        return ""
    told = [_plain(one) for one in undone[:MOST]]
    while len(text := _text(told, len(undone) - len(told))) > LONGEST:
        told.pop()
    return text


def read(text: str) -> tuple[str, ...]:
    """What it says, whoever has written it."""
    try:
        found = from_json(text) if text else ()
    except ValueError:
        return ()
    said = [_plain(one) for one in found if isinstance(one, str)] if isinstance(found, list) else []
    return tuple(filter(None, said[:MOST]))


def _text(told: Sequence[str], more: int) -> str:
    return json.dumps([*told, *([f"and {more} more"] if more else [])], ensure_ascii=False, separators=(",", ":"))


def _plain(words: str) -> str:
    """In one line, and in characters that travel."""
    return "".join(one if one.isprintable() else " " for one in words[:LONGEST_WORDS]).strip()
