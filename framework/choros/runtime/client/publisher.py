"""Publishing as a plain program: without a database, so whoever publishes gives the identity, by a key of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import copy
from typing import Self, TypeVar

from choros.app.choreography import Choreography
from choros.app.flow_part import FIRST_RUN, NO_FLOWS, Begun
from choros.app.program import Program
from choros.app.sending import headers_text
from choros.messages import Fact
from choros.runtime.client.beginning import first_fact, until_published, until_taken
from choros.runtime.client.program_facts import (
    check_begins_nothing,
    check_publishes,
    fact_of_program,
    program_source,
)
from choros.sources import now
from choros.transport.port import Transport
from choros.wire.own_headers import Headers

F = TypeVar("F", bound=Fact)


class FactPublisher:
    """Publishes the facts of one program, each until the broker has it."""

    def __init__(
        self, program: Program, *, namespace: str, transport: Transport, clock: Callable[[], float] = now,
        starts: Mapping[str, Begun] = NO_FLOWS.starts,
    ) -> None:  # fmt: skip
        """`transport`: connected, and what the program needs is declared. `starts`: the flows that facts of these types
        begin."""
        self._starts = starts
        self._own_headers = ""
        self._program, self._transport, self._clock = program, transport, clock
        self._namespace, self._source = namespace, program_source(namespace, program.name)

    def with_headers(self, headers: Headers) -> Self:
        """The same, of facts with headers of the user's own. Raises UsageError where they cannot be sent."""
        publisher = copy(self)
        publisher._own_headers = headers_text(headers)
        return publisher

    async def publish(self, fact: Fact, *, key: str, seq: int = 1, correlation_id: str = "") -> bool:
        """Publish a fact; returns once the broker has it, and says whether any queue took it.

        `key` is what it is about, such as an order's number: its stream. Of several facts about one thing the program
        counts with `seq` which it is, from 1 on. So the same call, in whatever process, is the same fact, and whoever
        has handled it passes over it; another fact under the same key and number is parked by subscribers. Without a
        `correlation_id` all about one key have one. Raises WrongFact for a fact that the program is not declared to
        publish, UsageError for a key that cannot be one, BrokerUnreachable."""
        check_begins_nothing(fact, self._starts)
        envelope = fact_of_program(
            self._program, fact, namespace=self._namespace, at=self._clock(), key=key, seq=seq,
            correlation_id=correlation_id, own_headers=self._own_headers,
        )  # fmt: skip
        return await until_published(self._transport, envelope)

    async def begin(self, flow: Choreography[F], fact: F, *, run: int = FIRST_RUN, correlation_id: str = "") -> str:
        """Begin a flow with a fact that is its start; returns its id once the broker has it. The same key is the same
        flow, however often it is begun; `run` counts further tries. Raises as `publish`."""
        check_publishes(self._program, fact)
        envelope = first_fact(
            flow, fact, namespace=self._namespace, source=self._source, at=self._clock(), run=run,
            correlation_id=correlation_id, own_headers=self._own_headers,
        )  # fmt: skip
        await until_taken(self._transport, envelope)
        return envelope.flow_id
