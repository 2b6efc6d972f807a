"""`choros saga events`: all that the history of a saga holds, one event to a line."""

from collections.abc import Iterator
from typing import Any

from choros.cli.options import Output, SagaId, StoreUrl, found, log_apart
from choros.cli.output import Column, field, tell_rows
from choros.cli.view import MaybeApp, looking
from choros.roles.addresses import DEFAULT_STORE
from choros.runtime.client.account import Account
from choros.runtime.orchestrator.history import read_history
from choros.wire.attributes import rfc3339

COLUMNS = [
    Column("AT", field("at"), shown=lambda row: str(row["at"])[11:23]),
    Column("EVENT", field("kind")),
    Column("STEP", field("step"), least=10),
    Column("OPERATION", field("operation")),
    Column("ATTEMPT", field("attempt")),
    Column("CODE", field("code"), least=10),
    Column("ACT", field("act")),
    Column("BY", field("by"), least=6),
    Column("REASON", field("reason"), least=8),
]


def saga_events(application: MaybeApp, saga: SagaId, store: StoreUrl = DEFAULT_STORE, output: Output = "table") -> None:
    """Print all that the history of a saga holds, and who did it where a person did."""
    log_apart()

    async def look() -> Account:
        async with looking(application, store) as view:
            return await view.account(saga)

    rows = list(events_in(found(look(), application, store)))
    tell_rows(rows, COLUMNS, output, none="no events")


def events_in(account: Account) -> Iterator[dict[str, Any]]:
    """Its events as flat rows, each with when it was and the version of the record that it made."""
    for row in account.history:
        for one in read_history(row.events):
            yield {"at": rfc3339(row.at), "record_version": row.version, **one.stored}
