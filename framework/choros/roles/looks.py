"""Small questions to a store or database, whose answers say whether a role can work with it."""

from choros.app.app import App
from choros.app.service import Service
from choros.runtime.orchestrator.unsettled import Unsettled
from choros.store.barrier import Database
from choros.store.sagas import Store


async def look_into_store(store: Store, app: App, unsettled: Unsettled) -> None:
    """Read, and write what changes nothing: a replica reads as well as ever."""
    await unsettled.look()
    await store.due(0.0, app.kinds, 1)
    await store.mark_sent([("", "")])


async def look_into_rows(database: Database) -> None:
    """The same."""
    await database.unsent(1)
    await database.mark_sent([""])


async def look_into_database(database: Database, service: Service, unfinished: dict[str, float]) -> None:
    """The same; where some are finished from outside, since when the oldest waits for that."""
    await look_into_rows(database)
    if service.finishes_later:
        unfinished.pop(service.name, None)
        for oldest in await database.listed("unfinished", 1):
            unfinished[service.name] = oldest.since
