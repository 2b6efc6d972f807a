"""The rows that a subscriber keeps in a database: which facts it has handled, and how far it has come.

Every key names the subscriber: others may keep their rows in the same place, and hear the same facts.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from choros.store.barrier import Database, Row, Transaction, value_of
from choros.wire.command_key import CommandKey
from choros.wire.envelope import Envelope

_AT_ONCE = 500
_BETWEEN = "\x1f"
_FACT, _STREAM, _REACTION, _LOG, _TYPES = "fact", "stream", "reaction", "log", "types"


def inbox_key(subscriber: str, fact: Envelope) -> str:
    """The row of one fact."""
    return _joined(_FACT, subscriber, fact.source, fact.stream, str(fact.seq))


def stream_key(subscriber: str, fact: Envelope) -> str:
    """The row that says how far an ordered subscriber has come in the stream of this fact."""
    return _joined(_STREAM, subscriber, fact.source, fact.stream)


def reaction_key(subscriber: str, effect: CommandKey) -> str:
    """The row of a reaction that can be undone, or of its undo. A command's key could be the same text."""
    return _joined(_REACTION, subscriber, str(effect))


def log_key(queue: str) -> str:
    """The row that says how far a subscriber has come in the fact log; its queue bears its name."""
    return _joined(_LOG, queue)


def types_key(subscriber: str) -> str:
    """The row that says which types of facts the replicas of a subscriber handle."""
    return _joined(_TYPES, subscriber)


def carried_over(subscriber: str, row: Row) -> list[str]:
    """The keys that a row of the barrier's first schema has now, in the database of this service.

    Then a reaction's row could not be told from a command's. It has no reply; where that is so, it becomes both."""
    kind, *parts = row.key.split(_BETWEEN)
    if (kind, len(parts)) in ((_FACT, 3), (_STREAM, 2)):
        return [_joined(kind, subscriber, *parts)]
    if not parts and not row.reply:
        return [row.key, _joined(_REACTION, subscriber, row.key)]
    return [row.key]


def _joined(*parts: str) -> str:
    # No attribute may hold a control character, so no two facts share a key.
    return _BETWEEN.join(parts)


async def not_handled(database: Database, subscriber: str, facts: Sequence[Envelope]) -> list[Envelope]:
    """Those of the facts that the inbox of this subscriber does not hold; raises StoreUnreachable."""
    lacking: list[Envelope] = []
    for start in range(0, len(facts), _AT_ONCE):
        (result,) = await database.run([partial(_lacking, subscriber, facts[start : start + _AT_ONCE])])
        lacking += value_of(result)
    return lacking


async def _lacking(subscriber: str, facts: Sequence[Envelope], transaction: Transaction) -> list[Envelope]:
    return [fact for fact in facts if await transaction.read_row(inbox_key(subscriber, fact)) is None]
