"""What a store knows of one saga instance."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from choros.errors import SagaNotFound, StoreUnreachable
from choros.runtime.orchestrator.recognition import as_stored
from choros.runtime.orchestrator.retention import gone, warning
from choros.saga.machine.instance import Instance
from choros.saga.machine.locks import joined
from choros.saga.saga import Saga, Sagas
from choros.store.sagas import HistoryRow, Loaded, Record, Store

_LONGEST_ID = 200
_LOOK_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Account:
    """Everything that is known of one saga instance."""

    record: Record
    instance: Instance
    history: tuple[HistoryRow, ...]


async def account_of(store: Store, saga_id: str, sagas: Sagas = MappingProxyType({})) -> Account:
    """Everything that a store knows of a saga instance; of one that was deleted that is little. Raises SagaNotFound."""
    known = await known_of(store, saga_id, whole=True)
    instance = as_stored(known.record, sagas, known.entries)
    return Account(known.record, instance, tuple(await store.history(saga_id)))


async def there(store: Store, saga_id: str, *, whole: bool = False) -> Loaded:
    """What is stored of it; raises SagaNotFound, also where it was deleted."""
    known = await known_of(store, saga_id, whole=whole)
    if known.record.gone:
        raise gone(known.record)
    return known


async def known_of(store: Store, saga_id: str, *, whole: bool = False) -> Loaded:
    """The same, or what is left of one that was deleted."""
    check_id(saga_id)
    loaded = (await store.load([saga_id], {saga_id: None} if whole else {})).get(saga_id)
    if loaded is None:
        since = warning(await store.forgotten())
        raise SagaNotFound(f"There is no saga instance {saga_id}{since and f'; {since}'}.", "choros saga list.")
    return loaded


async def doer_of(store: Store, saga: Saga[Any], saga_id: str, seconds: float) -> str:
    """The id of the saga that does what this one was started for: its own, but where it joins another one. Raises
    StoreUnreachable where that is not known so soon."""
    if saga.lock is None or saga.lock.when_taken != "join":
        return saga_id
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while (instance := as_stored((await known_of(store, saga_id)).record)).queued:
                if instance.terminal or instance.parked_at:
                    break
                await asyncio.sleep(_LOOK_SECONDS)
            return joined(instance) or saga_id
    sentence = f"Whether saga {saga_id} begins or joins another one is not known after {seconds:g} s."
    raise StoreUnreachable(sentence, "ask again under the same key.")


def check_id(saga_id: object) -> None:
    """What no store could look for is the id of no saga, and must not come near the work of others."""
    if not (isinstance(saga_id, str) and 0 < len(saga_id) <= _LONGEST_ID and saga_id.isprintable()):
        raise SagaNotFound("There is no saga instance of such an id.", "choros saga list.")
