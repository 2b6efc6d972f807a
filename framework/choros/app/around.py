"""What a service does around each call of its handlers: timing, the tenant, errors of others in its own words."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

from choros.callables import check_async, name_of
from choros.errors import DeclarationError

GoOn = Callable[[], Awaitable[Any]]
"""The call, and what is around it further in."""
Around = Callable[[Any, Any, GoOn], Awaitable[Any]]
"""It is called with the message, the `Call` and what goes on."""


def surrounded(around: Sequence[Around], message: Any, call: Any, go_on: GoOn) -> GoOn:
    """The same call with all of this around it, the first of them outermost."""
    for one in reversed(around):
        go_on = partial(one, message, call, go_on)
    return go_on


def check_around(where: str, function: Any) -> None:
    """Whether it can be called so; raises DeclarationError."""
    check_async(where, function)
    hint = f"async def {name_of(function)}(message: Message, call: Call, go_on: GoOn) -> Any: return await go_on()"
    try:
        inspect.signature(function).bind(None, None, None)
    except TypeError:
        raise DeclarationError(f"{where} is called with the message, the Call and what goes on.", hint) from None
