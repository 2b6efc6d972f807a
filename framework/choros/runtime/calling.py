"""Calling what a user wrote: for so long at most, with the ids of its message on everything that it logs.

A call is a task of its own. What it leaves in its context (a tenant, a request id, what a logger binds), or does to its
task, nobody else meets; and when it is cancelled, it is plain by whom.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeVar

from choros.envelope import Envelope
from choros.errors import EXITS
from choros.messages import Message
from choros.runtime.service import Call, Handler
from choros.runtime.telemetry import speaking_of
from choros.store.barrier import Transaction

T = TypeVar("T")


class HandlerCancelled(Exception):
    """A handler was cancelled by itself, or awaited something that was: its own affair, not an order to stop."""


class HandlerBroke(Exception):
    """A handler raised what is no Exception, such as the panic of an extension: a failure like any other."""

    def __init__(self, raised: BaseException) -> None:
        super().__init__(type(raised).__name__)
        self.raised = raised


class ExitWanted(Exception):
    """Somebody wants the process to end. Raised as it is in a task, that would end the loop amid everything."""

    def __init__(self, wanted: BaseException) -> None:
        super().__init__(type(wanted).__name__)
        self.wanted = wanted


async def call_handler(
    handler: Handler, envelope: Envelope, message: Message, transaction: Transaction | None, seconds: float
) -> Any:
    """What the handler returns; raises what it raises, as an Exception, and TimeoutError if it takes longer."""
    with speaking_of(envelope):
        return await apart(partial(handler, message, transaction, call_of(envelope)), seconds)


async def apart(work: Callable[[], Awaitable[Any]], seconds: float | None = None) -> Any:
    """What it comes to, in a task and context of its own; raises what it raises, as an Exception, and TimeoutError."""
    caller = asyncio.current_task()
    assert caller is not None
    asked = caller.cancelling()
    try:
        async with asyncio.timeout(seconds):
            result, error = await asyncio.create_task(_ended(work))
    except asyncio.CancelledError:
        if caller.cancelling() > asked:
            raise
        raise HandlerCancelled from None
    if error is not None:
        raise error
    return result


async def _ended(work: Callable[[], Awaitable[Any]]) -> tuple[Any, Exception | None]:
    """What it came to; an exit must not leave the task. It is called only here: a task may be cut off before it begins,
    and would leave a coroutine that nobody awaits."""
    try:
        return await work(), None
    except asyncio.CancelledError:
        raise
    except EXITS as wanted:
        return None, ExitWanted(wanted)
    except Exception as error:
        return None, error
    except BaseException as error:
        return None, HandlerBroke(error)


async def in_order(work: Callable[[], Awaitable[T]]) -> T:
    """Await it; who wants the process to end gets ExitWanted out of it."""
    try:
        return await work()
    except EXITS as wanted:
        raise ExitWanted(wanted) from None


def plainly(error: BaseException) -> BaseException:
    """What was raised in the first place."""
    if isinstance(error, ExitWanted):
        return error.wanted
    return error.raised if isinstance(error, HandlerBroke) else error


def call_of(envelope: Envelope) -> Call:
    """What a handler may know about its call besides the message."""
    return Call(
        key=envelope.key,
        correlation_id=envelope.correlation_id,
        saga=envelope.saga,
        step=envelope.step,
        attempt=envelope.attempt,
        not_after=envelope.not_after,
        message_id=envelope.id,
        traceparent=envelope.traceparent,
    )
