"""Calling a handler: for so long at most, with the ids of its message on everything that it logs."""

from __future__ import annotations

import asyncio
from typing import Any

from choros.envelope import Envelope
from choros.messages import Message
from choros.runtime.service import Call, Handler
from choros.runtime.telemetry import speaking_of
from choros.store.barrier import Transaction


class HandlerCancelled(Exception):
    """A handler awaited something that was cancelled: its own affair, not an order to stop."""


async def call_handler(
    handler: Handler, envelope: Envelope, message: Message, transaction: Transaction | None, seconds: float
) -> Any:
    """What the handler returns; raises what it raises, and TimeoutError if it takes longer."""
    call = call_of(envelope)
    with speaking_of(envelope):
        try:
            async with asyncio.timeout(seconds):
                return await handler(message, transaction, call)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            raise HandlerCancelled from None


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
