"""Grave faults of what lies below the ports, planted back: of the RabbitMQ adapter, and of the Redis one."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import pytest
from pamqp import frame

from choros.store.redis import server
from choros.transport.rabbitmq.hearing import Hearing
from tests.simulation.planted import Plant, a_handler_that_goes_on

_CONTENT_HEADER, _HEAD, _END = 2, struct.Struct(">BHI"), b"\xce"


def properties_read_by_the_client(patch: pytest.MonkeyPatch) -> None:
    """One message whose properties cannot be decoded ends the connection, at every delivery."""
    takes = Hearing.takes

    def decoded(self: Hearing, kind: int, channel: int, payload: bytes) -> bool:
        if kind == _CONTENT_HEADER:
            frame.unmarshal(_HEAD.pack(kind, channel, len(payload)) + payload + _END)
        return takes(self, kind, channel, payload)

    patch.setattr(Hearing, "takes", decoded)


def a_connection_kept_to_a_replica(patch: pytest.MonkeyPatch) -> None:
    """After a failover the old connection is kept, whatever its server says."""
    patch.setattr(server, "leads_elsewhere", lambda answer: False)


def a_connection_made_again_unseen(patch: pytest.MonkeyPatch) -> None:
    """redis-py connects again where a call was lost; the handler goes on, and the EXEC watches nothing."""
    talk = server.Server.talk_on

    async def connected(self: Any, connection: Any, commands: Any) -> Any:
        if not connection.is_connected:
            await connection.connect()
        return await talk(self, connection, commands)

    patch.setattr(server.Server, "talk_on", connected)
    a_handler_that_goes_on(patch)


ON_FRAMES: Sequence[Plant] = (properties_read_by_the_client,)
ON_REDIS: Sequence[Plant] = (a_connection_kept_to_a_replica, a_connection_made_again_unseen)
