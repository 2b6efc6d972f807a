"""Beginning a flow from outside: its first fact, whose identity is the flow's id and 1, so it may be told again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from copy import copy
from typing import Any

from choros.app.app import App
from choros.app.choreography import Choreography
from choros.app.flow_part import FIRST_RUN, began_at, flow_id, start_key
from choros.errors import BrokerUnreachable, MessageUnwritable, UsageError, WrongFact
from choros.messages import Fact
from choros.sources import derived_id, full_jitter, now
from choros.transport.port import Published, Transport
from choros.transport.topology import topology
from choros.wire.canonical import canonical
from choros.wire.envelope import Envelope, why_unreadable

ROUNDS = 6
"""How often in a row the broker may not take it before we give up."""


def first_fact(
    flow: Choreography[Any], fact: Fact, *, namespace: str, source: str, at: float, run: int = FIRST_RUN,
    correlation_id: str = "", own_headers: str = "",
) -> Envelope:  # fmt: skip
    """The fact that begins a flow; raises WrongFact for one that does not, MessageUnwritable, UsageError."""
    if type(fact) is not flow.start:
        sentence = f"Choreography {flow.name!r} does not begin with {type(fact).__name__}."
        raise WrongFact(sentence, f"{flow.start.__name__}(...).")
    body = fact.to_json()
    if why := why_unreadable(body):
        raise MessageUnwritable(f"A {fact.type_name} {why}.")
    id = flow_id(namespace, flow, fact, run)
    said = derived_id("choros.fact", source, id, "1", fact.type_name, canonical(fact, body))
    return Envelope(
        id=said, kind="fact", type=fact.type_name, source=source, time=at, data=body, subject=start_key(flow, fact),
        correlation_id=correlation_id or id, stream=id, seq=1, began=began_at(flow, fact, at), flow=flow.name,
        flow_version=flow.version, flow_id=id, own_headers=own_headers,
    )  # fmt: skip


async def until_published(transport: Transport, envelope: Envelope) -> bool:
    """Publish a fact; returns once the broker has it, and says whether any queue took it. Raises BrokerUnreachable."""
    delays: Callable[[], float] = full_jitter().__next__
    for _ in range(ROUNDS):
        (outcome,) = await transport.publish([envelope])
        if outcome in (Published.CONFIRMED, Published.RETURNED):
            return outcome is Published.CONFIRMED
        await asyncio.sleep(delays())
    raise BrokerUnreachable("The broker did not take the fact.", "the same again: it is the same fact.")


async def until_taken(transport: Transport, envelope: Envelope) -> None:
    """The same of what begins a flow: that is begun once a queue has it (rule 38). Raises BrokerUnreachable."""
    if not await until_published(transport, envelope):
        raise BrokerUnreachable("No queue took what begins the flow.", "let its services run, and begin it again.")


class Beginning:
    """Begins flows on behalf of an application, once all that these need is on the broker."""

    def __init__(self, app: App, transport: Transport) -> None:
        self._app, self._transport = app, transport
        self._declared = asyncio.Lock()
        self._ready = False
        self._own_headers = ""

    def saying(self, own_headers: str) -> Beginning:
        """The same, of flows whose facts have these headers."""
        other = copy(self)
        other._own_headers = own_headers
        return other

    async def begin(self, flow: Choreography[Any], fact: Fact, run: int, correlation_id: str) -> str:
        """The id of the flow; as `Client.begin`."""
        if self._app.choreographies.get((flow.name, flow.version)) is not flow:
            sentence = f"choreography {flow.name!r} is no part of this application."
            raise UsageError(sentence, "name it in App(choreographies=...).")
        namespace, source = self._app.namespace, f"/{self._app.namespace}/{self._app.name}"
        envelope = first_fact(
            flow, fact, namespace=namespace, source=source, at=now(), run=run, correlation_id=correlation_id,
            own_headers=self._own_headers,
        )  # fmt: skip
        await self._declare()
        if not await until_published(self._transport, envelope):
            self._ready = False
            await self._declare()
            await until_taken(self._transport, envelope)
        return envelope.flow_id

    async def _declare(self) -> None:
        """A fact reaches only the queues that are bound when it is published."""
        async with self._declared:
            if not self._ready:
                own = topology(self._app.namespace, applications=[self._app.name], fact_log=self._app.fact_log)
                await self._transport.declare(own + self._app.flow_topology)
                self._ready = True
