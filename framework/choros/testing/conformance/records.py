"""Records and transitions to try a store with."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from choros.store.sagas import Channel, Committed, Kind, Record, Store, Transition, Unsent

KNOWN = (Kind("order", 1), Kind("order", 2))
LATER = 60.0
AnotherStore = Callable[..., Awaitable[Store]]
"""Opens one more store on the same database; where a namespace is given, for the application of that one."""
OK, CONFLICT = Committed.OK, Committed.CONFLICT


def a_record(saga_id: str = "s1", **changes: Any) -> Record:
    """A record as a creation would write it."""
    record = Record(
        saga_id=saga_id,
        saga="order",
        saga_version=1,
        key="order-17",
        digest="d1",
        application="shop",
        version=1,
        transition=f"{saga_id}-t1",
        status="running",
        state='{"step": "payment", "note": "Grüße \\u0000"}',
        started_at=1_700_000_000.25,
        updated_at=1_700_000_000.5,
    )
    return replace(record, **changes)


def creation(saga_id: str = "s1", *outbox: Unsent, **changes: Any) -> Transition:
    """The first transition of a record."""
    return Transition(a_record(saga_id, **changes), outbox=outbox, history='["started"]')


def after(before: Transition, *outbox: Unsent, sent: tuple[str, ...] = (), **changes: Any) -> Transition:
    """The transition that follows another one."""
    old = before.record
    version = old.version + 1
    fresh: dict[str, Any] = {"version": version, "transition": f"{old.saga_id}-t{version}", **changes}
    record = replace(old, **fresh)
    return Transition(record, old.transition, outbox, sent, f'["event {version}"]')


def command(entry_id: str) -> Unsent:
    """A command for the outbox."""
    return Unsent(entry_id, "commands", f'{{"id":"{entry_id}"}}')


def local(entry_id: str) -> Unsent:
    """A local command for the outbox."""
    return Unsent(entry_id, "local", f'{{"id":"{entry_id}"}}')


def fact(entry_id: str) -> Unsent:
    """A fact for the outbox."""
    return Unsent(entry_id, "facts", f'{{"id":"{entry_id}"}}')


async def stored(store: Store, *batch: Transition) -> None:
    """Commit transitions that nothing stands against."""
    assert list(await store.commit(batch)) == [OK] * len(batch)


async def waiting(store: Store, channel: Channel = "commands", limit: int = 100) -> list[str]:
    """The ids of what is unsent."""
    return [entry.id for entry in await store.unsent(channel, store.now() + LATER, limit)]
