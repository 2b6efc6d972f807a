"""What a decision sends: its commands and its facts, in envelopes that name the saga, and on whose behalf they go."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from choros.saga.machine.inputs import Decision
from choros.saga.machine.instance import Instance
from choros.store.sagas import Record, Unsent
from choros.wire.envelope import Envelope


@dataclass(frozen=True, slots=True)
class Envelopes:
    """Puts them together. `reply_to` says to which queue the replies to commands shall come."""

    source: str
    reply_to: Callable[[], str]
    new_id: Callable[[], str]

    def entries(self, record: Record, decision: Decision, now: float) -> tuple[Unsent, ...]:
        """All of them for the outbox; `record` is the one that is stored with them."""
        commands = self._commands(record, decision, now)
        facts = self._facts(record, decision, now)
        return (
            *(Unsent(one.id, "commands", one.dumps(), record.saga_id, one) for one in commands),
            *(Unsent(one.id, "facts", one.dumps(), record.saga_id, one) for one in facts),
        )

    def _commands(self, record: Record, decision: Decision, now: float) -> list[Envelope]:
        return [
            self._envelope(
                record, decision.instance, now,
                kind="command", type=send.type, data=send.data, to=send.to, key=str(send.key), step=send.key.path,
                attempt=send.attempt, not_after=send.not_after, began=send.began, reply_to=self.reply_to(),
            )
            for send in decision.sends
        ]  # fmt: skip

    def _facts(self, record: Record, decision: Decision, now: float) -> list[Envelope]:
        return [
            self._envelope(
                record, decision.instance, now,
                kind="fact", type=fact.type, data=fact.data, step=fact.step, stream=record.saga_id, seq=fact.seq,
                began=record.started_at,
            )
            for fact in decision.facts
        ]  # fmt: skip

    def _envelope(self, record: Record, instance: Instance, now: float, **more: Any) -> Envelope:
        return Envelope(
            id=self.new_id(),
            source=self.source,
            time=now,
            subject=record.key,
            correlation_id=record.saga_id,
            causation_id=instance.cause,
            saga=record.saga,
            saga_version=record.saga_version,
            traceparent=instance.traceparent,
            tracestate=instance.tracestate,
            **more,
        )
