"""Publishing as a plain program: without a database, so whoever publishes gives the identity, by a key of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from choros.app.program import Program
from choros.errors import BrokerUnreachable, MessageUnwritable, UsageError, WrongFact
from choros.messages import Fact
from choros.sources import derived_id, full_jitter, now
from choros.transport.port import Published, Transport
from choros.wire.canonical import canonical
from choros.wire.envelope import Envelope, is_sendable, why_unreadable

ROUNDS = 6
"""How often in a row the broker may not take it before we give up."""


def program_source(namespace: str, program: str) -> str:
    """Whose the facts of a program are."""
    return f"/{namespace}/program/{program}"


def about_id(source: str, key: str) -> str:
    """The correlation id of all that a program says about one key, where it says no other."""
    return derived_id("choros.stream", source, key)


class FactPublisher:
    """Publishes the facts of one program, each until the broker has it."""

    def __init__(
        self, program: Program, *, namespace: str, transport: Transport, clock: Callable[[], float] = now
    ) -> None:
        """`transport`: connected, and what the program needs is declared."""
        self._program, self._transport, self._clock = program, transport, clock
        self._source = program_source(namespace, program.name)

    async def publish(self, fact: Fact, *, key: str, seq: int = 1, correlation_id: str = "") -> bool:
        """Publish a fact; returns once the broker has it, and says whether any queue took it.

        `key` is what it is about, such as an order's number: its stream. Of several facts about one thing the program
        counts with `seq` which it is, from 1 on. So the same call, in whatever process, is the same fact, and whoever
        has handled it passes over it; another fact under the same key and number is parked by subscribers. Without a
        `correlation_id` all about one key have one. Raises WrongFact for a fact that the program is not declared to
        publish, UsageError for a key that cannot be one, BrokerUnreachable."""
        envelope = self._envelope(fact, key, seq, correlation_id)
        delays = full_jitter()
        for _ in range(ROUNDS):
            (outcome,) = await self._transport.publish([envelope])
            if outcome in (Published.CONFIRMED, Published.RETURNED):
                return outcome is Published.CONFIRMED
            await asyncio.sleep(next(delays))
        raise BrokerUnreachable("The broker did not take the fact.", "the same again: it is the same fact.")

    def _envelope(self, fact: Fact, key: str, seq: int, correlation_id: str) -> Envelope:
        if type(fact) not in self._program.publishes:
            sentence = f"program {self._program.name!r} is not declared to publish {type(fact).__name__}."
            raise WrongFact(sentence, f"Program({self._program.name!r}, publishes=({type(fact).__name__},)).")
        body = fact.to_json()
        if why := why_unreadable(body):
            raise MessageUnwritable(f"A {fact.type_name} {why}.")
        about = about_id(self._source, key)
        said = derived_id("choros.fact", self._source, key, str(seq), fact.type_name, canonical(fact, body))
        envelope = Envelope(
            id=said, kind="fact", type=fact.type_name, source=self._source, time=self._clock(), data=body,
            subject=key, correlation_id=correlation_id or about, stream=key, seq=seq,
        )  # fmt: skip
        if not key or seq < 1 or not is_sendable(envelope):
            raise UsageError(f"A fact is not known by the key {key!r} and the number {seq}.", "text, and 1 or more.")
        return envelope
