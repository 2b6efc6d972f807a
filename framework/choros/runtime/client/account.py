"""What a store knows of one saga instance."""

from dataclasses import dataclass
from types import MappingProxyType

from choros.errors import SagaNotFound
from choros.runtime.orchestrator.recognition import as_stored
from choros.runtime.orchestrator.retention import gone, warning
from choros.saga.machine.instance import Instance
from choros.saga.saga import Sagas
from choros.store.sagas import HistoryRow, Loaded, Record, Store

_LONGEST_ID = 200


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


def check_id(saga_id: object) -> None:
    """What no store could look for is the id of no saga, and must not come near the work of others."""
    if not (isinstance(saga_id, str) and 0 < len(saga_id) <= _LONGEST_ID and saga_id.isprintable()):
        raise SagaNotFound("There is no saga instance of such an id.", "choros saga list.")
