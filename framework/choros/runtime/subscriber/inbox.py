"""The rows that a subscriber keeps in a database, each kind with what it holds, and how that is written.

Every key names the subscriber: others may keep their rows in the same place, and hear the same facts.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from hashlib import sha256
from json.encoder import encode_basestring_ascii

from choros.sources import CLOCK_SKEW
from choros.store.barrier import BETWEEN, Database, Row, Transaction, value_of
from choros.wire.command_key import CommandKey
from choros.wire.envelope import Envelope

_AT_ONCE = 500
_FACT, _STREAM, _REACTION, _LOG, _TYPES, _ENDING = "fact", "stream", "reaction", "log", "types", "ending"


def inbox_key(subscriber: str, fact: Envelope) -> str:
    """The row of one fact."""
    return _joined(_FACT, subscriber, fact.source, fact.stream, str(fact.seq))


def stream_key(subscriber: str, fact: Envelope) -> str:
    """The row that says how far an ordered subscriber has come in the stream of this fact."""
    return _joined(_STREAM, subscriber, fact.source, fact.stream)


def reaction_key(subscriber: str, effect: CommandKey) -> str:
    """The row of a reaction that can be undone, or of its undo. A command's key could be the same text."""
    return _joined(_REACTION, subscriber, str(effect))


def ending_key(subscriber: str, fact: Envelope) -> str:
    """The row that says how the flow of this fact ends."""
    return _joined(_ENDING, subscriber, fact.flow_id)


def log_key(queue: str) -> str:
    """The row that says how far a subscriber has come in the fact log; its queue bears its name."""
    return _joined(_LOG, queue)


def types_key(subscriber: str) -> str:
    """The row that says which types of facts the replicas of a subscriber handle."""
    return _joined(_TYPES, subscriber)


def carried_over(subscriber: str, row: Row) -> list[str]:
    """The keys that a row of the barrier's first schema has now, in the database of this service.

    Then a reaction's row could not be told from a command's. It has no reply; where that is so, it becomes both."""
    kind, *parts = row.key.split(BETWEEN)
    if (kind, len(parts)) in ((_FACT, 3), (_STREAM, 2)):
        return [_joined(kind, subscriber, *parts)]
    if not parts and not row.content:
        return [row.key, _joined(_REACTION, subscriber, row.key)]
    return [row.key]


def _joined(*parts: str) -> str:
    # No attribute may hold a control character, so no two facts share a key.
    return BETWEEN.join(parts)


# --- what they hold ---------------------------------------------------------------------------------------------------


def handled_row(subscriber: str, fact: Envelope, now: float) -> Row:
    """That a fact is handled, and which one it was."""
    said = f'[{encode_basestring_ascii(fact.id)}, "{_digest(fact)}"]'
    return Row(key=inbox_key(subscriber, fact), state="handled", content=said, began=fact.time, since=now)


def is_repeated(row: Row, fact: Envelope) -> bool:
    """Whether the row of its identity is about this fact: it has the same id, or says the same. Rows of an older choros
    do not say. Else its publisher has given one identity twice, as one does whose database was restored."""
    if not row.content:
        return True
    id, digest = json.loads(row.content)
    return bool(fact.id == id or _digest(fact) == digest)


def _digest(fact: Envelope) -> str:
    return sha256(f"{fact.type}\n{fact.data}".encode()).hexdigest()[:32]


def stream_row(subscriber: str, fact: Envelope, now: float) -> Row:
    """The highest number that was handled of its stream: with it, what came before is forgotten, by any clock."""
    began = fact.time + CLOCK_SKEW
    return Row(key=stream_key(subscriber, fact), state="mark", content=str(fact.seq), began=began, since=now)


def highest_of(row: Row) -> int:
    """The number in the row of a stream."""
    return int(row.content)


def log_row(queue: str, until: float) -> Row:
    """How far the fact log is read."""
    return Row(key=log_key(queue), state="mark", content=repr(until))


def read_until(row: Row | None) -> float | None:
    """The moment in the row of a log; None where it was never read."""
    return float(row.content) if row and row.content else None


@dataclass(frozen=True, slots=True)
class Announced:
    """Which types of facts the replicas of a subscriber handle."""

    heard: dict[str, float] = field(default_factory=dict)
    """When each type was last announced."""
    unread: list[str] = field(default_factory=list)
    """Types whose facts in the log nobody has read yet."""

    @staticmethod
    def of(row: Row | None) -> Announced:
        """As it was written."""
        found = json.loads(row.content) if row else {}
        return Announced(found.get("heard", {}), found.get("unread", []))

    def row(self, subscriber: str) -> Row:
        """As it is written."""
        return Row(key=types_key(subscriber), state="mark", content=json.dumps(asdict(self)))


async def not_handled(database: Database, subscriber: str, facts: Sequence[Envelope]) -> list[Envelope]:
    """Those of the facts that the inbox of this subscriber does not hold; raises StoreUnreachable."""
    lacking: list[Envelope] = []
    for start in range(0, len(facts), _AT_ONCE):
        (result,) = await database.run([partial(_lacking, subscriber, facts[start : start + _AT_ONCE])])
        lacking += value_of(result)
    return lacking


async def _lacking(subscriber: str, facts: Sequence[Envelope], transaction: Transaction) -> list[Envelope]:
    return [fact for fact in facts if await transaction.read_row(inbox_key(subscriber, fact)) is None]
