"""What is done around what is sent: headers of the user's own, read off a message and put on it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

from choros.callables import check_called, is_async, name_of
from choros.errors import DeclarationError, UnfitHeaders
from choros.wire.own_headers import Headers, written


@dataclass(frozen=True, slots=True)
class SentMessage:
    """A message that is about to be sent."""

    kind: Literal["command", "reply", "fact", "signal"]
    type: str
    """The name of its type on the wire."""
    data: str
    """Its body as JSON; `ChargePayment.from_json(sent.data)` reads it."""
    to: str
    """The service of a command, the queue of a reply or signal; empty for a fact."""
    subject: str
    """The start key of the saga."""
    headers: Headers
    """Those that it carries on: of the start of its saga, or of what was handled."""


Stamp = Callable[[SentMessage], Headers]
"""Says which headers it shall have."""


def headers_text(headers: Headers) -> str:
    """How they are sent; raises UnfitHeaders where nobody would take them."""
    try:
        return written(headers)
    except ValueError as unfit:
        hint = '{"tenant": "acme"}: lower-case names, values of 1 to 512 printable characters, 1,024 in all.'
        raise UnfitHeaders(f"These headers cannot be sent: {unfit}.", hint) from None


def stamps_of(where: str, functions: Iterable[Any]) -> tuple[Stamp, ...]:
    """These, if they can be that; raises DeclarationError."""
    found = tuple(functions)
    for function in found:
        check_called(where, function)
        if is_async(function):
            sentence = f"{where}: {name_of(function)} is async, and what is sent waits for nobody."
            raise DeclarationError(sentence, "def stamp(sent: SentMessage) -> Headers: return {**sent.headers, ...}")
    return found
