"""The rows of a service's outbox: a fact or signal that leaves, and the count of each stream.

A fact is written in the transaction of its effect, under the next number of the service in that stream; so whoever
writes into one stream meets at its count. By `since` the facts of a stream come in the order of their numbers, whatever
the clocks of replicas say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from choros.app.flow_part import NO_FLOWS, FlowPart, began_at, flow_id
from choros.app.sending import Stamp
from choros.errors import MessageUnwritable
from choros.messages import Fact, Signal
from choros.runtime.host.stamping import stamped
from choros.sources import fresh_id
from choros.store.barrier import Row, RowState, Transaction
from choros.telemetry.logs import get_logger
from choros.values import replace
from choros.wire.envelope import Envelope, why_unreadable

log = get_logger(__name__)

_BETWEEN = "\x1f"
_AT_ONCE = 500
_TICK = 1e-6
"""Seconds between two facts of one stream, at least; a moment of today has room for a quarter of that."""


@dataclass(frozen=True, slots=True)
class Departure:
    """What one transaction has written into the outbox."""

    row: Row
    after: str = ""
    """The key of the fact before it in its stream, where that was not known to have left."""


def service_source(namespace: str, service: str) -> str:
    """Whose the facts of a service are."""
    return f"/{namespace}/service/{service}"


def is_of(service: str, row: Row) -> bool:
    """Whether this service has written it; others may keep their rows in the same place."""
    return row.key.startswith(_joined("out", service, ""))


def kept_message(row: Row) -> Envelope:
    """The message that leaves; raises ValueError where it cannot be read."""
    return Envelope.loads(row.content)


def readable(rows: Iterable[Row]) -> Iterator[tuple[Row, Envelope]]:
    """Each with its message. One that cannot be read is named, and passed over."""
    for row in rows:
        try:
            yield row, kept_message(row)
        except ValueError as error:
            log.warning("choros.fact.unreadable", key=row.key, reason=str(error))


def marked(row: Row) -> Row:
    """The same, once a broker has it."""
    return replace(row, state="left")


def stream_of(about: Envelope) -> str:
    """The stream of what comes of a message: the flow's, or its saga's; of one that has no such thing, its own."""
    return about.flow_id or about.correlation_id or about.stream or about.id


async def facts_of_stream(service: str, stream: str, transaction: Transaction) -> list[Row]:
    """What a service has published in a stream, of which the rows are still there."""
    count = await transaction.read_row(_count_key(service, stream))
    keys = [_fact_key(service, stream, seq) for seq in range(1, int(count.content) + 1)] if count else []
    found: list[Row] = []
    for start in range(0, len(keys), _AT_ONCE):
        found += filter(None, await transaction.read_rows(keys[start : start + _AT_ONCE]))
    return found


class OutboxRows:
    """Writes what one handler lets leave, about the message that it handles, in its transaction."""

    def __init__(
        self, namespace: str, service: str, about: Envelope, transaction: Transaction, clock: Callable[[], float],
        flows: FlowPart = NO_FLOWS, stamps: Sequence[Stamp] = (),
    ) -> None:  # fmt: skip
        self._namespace, self._service, self._about, self._flows = namespace, service, about, flows
        self._transaction, self._clock, self._stamps = transaction, clock, stamps

    async def fact(self, fact: Fact) -> Departure | None:
        """Under the next number of its stream. One that begins a flow has the first of its own; None where that was
        begun before."""
        flow, now = self._flow_of(fact), self._clock()
        begins = flow["flow_id"] not in ("", self._about.flow_id)
        stream = flow["flow_id"] or stream_of(self._about)
        key = _count_key(self._service, stream)
        count = await self._transaction.read_row(key)
        if begins and count:
            return None
        seq = int(count.content) + 1 if count else 1
        since = max(now, count.since + _TICK) if count else now
        before = await self._transaction.read_row(_fact_key(self._service, stream, seq - 1)) if count else None
        source = service_source(self._namespace, self._service)
        began = began_at(self._flows.starts[fact.type_name], fact, now) if begins else self._about.began
        message = self._message("fact", fact, source, now, stream=stream, seq=seq, began=began, **flow)
        row = leaving_fact(self._service, message, since)
        await self._transaction.write_row(row)
        state: RowState = "begun" if begins else count.state if count else "count"
        await self._transaction.write_row(Row(key=key, state=state, content=str(seq), began=since, since=since))
        return Departure(row, before.key if before and before.state == "publishing" else "")

    async def signal(self, signal: Signal, *, to: str, saga: str, key: str, saga_id: str, wait: str) -> Departure:
        """To the instance of this start key or id; `to` is the queue of its application."""
        now, source = self._clock(), f"/{self._namespace}/{self._service}"
        message = self._message(
            "signal", signal, source, now, to=to, saga=saga, saga_version=0, subject=key, correlation_id=saga_id,
            step=wait,
        )  # fmt: skip
        row = Row(
            key=_joined("out", self._service, "signal", message.id), state="signalling", content=message.dumps(),
            began=now, since=now,
        )  # fmt: skip
        await self._transaction.write_row(row)
        return Departure(row)

    def _flow_of(self, fact: Fact) -> dict[str, Any]:
        """The flow that it belongs to: the one that it begins, or that of what was handled."""
        begun, about = self._flows.starts.get(fact.type_name), self._about
        if begun is None:
            return {"flow": about.flow, "flow_version": about.flow_version, "flow_id": about.flow_id}
        return {
            "flow": begun.name, "flow_version": begun.version, "flow_id": flow_id(self._namespace, begun, fact),
        }  # fmt: skip

    def _message(self, kind: str, body: Fact | Signal, source: str, now: float, **more: Any) -> Envelope:
        about, data = self._about, body.to_json()
        if why := why_unreadable(data):
            raise MessageUnwritable(f"A {body.type_name} {why}.")
        said: dict[str, Any] = {
            "id": fresh_id(), "kind": kind, "type": body.type_name, "source": source, "time": now, "data": data,
            "subject": about.subject, "correlation_id": about.correlation_id, "causation_id": about.id,
            "saga": about.saga, "saga_version": about.saga_version,
            "traceparent": about.traceparent, "tracestate": about.tracestate, "own_headers": about.own_headers,
        }  # fmt: skip
        message = Envelope(**(said | more))
        return stamped(message, self._stamps) if self._stamps else message


async def keep_standing(written: list[Departure], transaction: Transaction) -> None:
    """Leave out what a savepoint has taken back: it must not leave when the rest is committed."""
    written[:] = [one for one in written if await transaction.read_row(one.row.key) == one.row]


def _count_key(service: str, stream: str) -> str:
    return _joined("count", service, stream)


def leaving_fact(service: str, fact: Envelope, since: float) -> Row:
    """A fact on its way out, by whose it is and which in its stream."""
    key = _fact_key(service, fact.stream, fact.seq)
    return Row(key=key, state="publishing", content=fact.dumps(), began=since, since=since)


def _fact_key(service: str, stream: str, seq: int) -> str:
    return _joined("out", service, "fact", stream, str(seq))


def _joined(*parts: str) -> str:
    # No attribute may hold a control character, so no two of them share a key.
    return _BETWEEN.join(parts)
