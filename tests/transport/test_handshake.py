"""A broker that goes away in the middle of the handshake is away, and nothing worse."""

from __future__ import annotations

import aio_pika
import pytest

from choros import Addresses
from choros.errors import BrokerUnreachable
from choros.roles import connected
from tests.chaos.voyages import app


async def test_a_stream_that_ends_within_the_handshake_is_an_unreachable_broker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """aiormq then raises StopAsyncIteration, which an async generator on its way turns into a RuntimeError."""

    async def ended(*_: object) -> None:
        raise StopAsyncIteration

    monkeypatch.setattr(aio_pika, "connect", ended)
    with pytest.raises(BrokerUnreachable, match=r"does not answer \(it closed the connection\)"):
        async with connected(Addresses("amqp://127.0.0.1:1/"), app, "test"):
            pass
