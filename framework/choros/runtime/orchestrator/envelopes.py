"""What a decision sends: its commands and its facts, in envelopes that name the saga, and on whose behalf they go."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from choros.saga.machine.inputs import Decision
from choros.saga.machine.instance import Instance
from choros.sources import fresh_id
from choros.store.sagas import Channel, Record, Unsent
from choros.wire.envelope import Envelope


@dataclass(frozen=True, slots=True)
class Envelopes:
    """Puts them together. `reply_to` says to which queue the replies to commands shall come."""

    source: str
    reply_to: Callable[[], str]

    def unsent(self, record: Record, decision: Decision, now: float) -> tuple[Unsent, ...]:
        """All of them for the outbox; `record` is the one that is stored with them."""
        commands = [
            self._unsent(
                "commands", record, decision.instance, now,
                kind="command", type=send.type, data=send.data, to=send.to, key=str(send.key), step=send.key.path,
                attempt=send.attempt, not_after=send.not_after, began=send.began, reply_to=self.reply_to(),
            )
            for send in decision.sends
        ]  # fmt: skip
        facts = [
            self._unsent(
                "facts", record, decision.instance, now,
                kind="fact", type=fact.type, data=fact.data, step=fact.step, stream=record.saga_id, seq=fact.seq,
                began=record.started_at,
            )
            for fact in decision.facts
        ]  # fmt: skip
        return (*commands, *facts)

    def _unsent(self, channel: Channel, record: Record, instance: Instance, now: float, **more: Any) -> Unsent:
        envelope = Envelope(
            id=fresh_id(), source=self.source, time=now, subject=record.key, correlation_id=record.saga_id,
            causation_id=instance.cause, saga=record.saga, saga_version=record.saga_version,
            traceparent=instance.traceparent, tracestate=instance.tracestate, **more,
        )  # fmt: skip
        return Unsent(envelope.id, channel, envelope.dumps(), record.saga_id, envelope)
