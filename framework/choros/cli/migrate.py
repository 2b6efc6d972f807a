"""`choros migrate`: live sagas, and another version of their declaration."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from choros.app.app import App
from choros.cli.acts import SagaReason, with_client
from choros.cli.options import AppName, BrokerUrl, Output, StoreUrl, log_apart, run_until_done
from choros.cli.output import Column, field, remark, tell_rows
from choros.cli.renames import Renames, named
from choros.cli.signature import By, whoever
from choros.cli.verbs import Verbs
from choros.cli.view import View, looking
from choros.desk.migration import Migrating, migrating
from choros.errors import UsageError, unknown
from choros.roles.addresses import DEFAULT_BROKER, DEFAULT_STORE, Addresses
from choros.runtime.client.client import Client
from choros.runtime.orchestrator.stuck import Declarations
from choros.saga.saga import Saga

app = Verbs(help="Which live sagas may go on as another version of their declaration, and let them.")
LiveSaga = Annotated[str, typer.Argument(metavar="SAGA", help="the saga's name")]
ToVersion = Annotated[int, typer.Option("--to-version", metavar="N", help="the version under which they would go on")]
_NONE = "no live saga follows another declaration"
_COLUMNS = [
    Column("ID", field("saga_id"), least=8, id=True),
    Column("KEY", field("key"), least=6),
    Column("VER", field("version")),
    Column("STATUS", field("status")),
    Column("VERDICT", field("verdict")),
    Column("WHY", field("why"), least=10),
    Column("UNDO", lambda row: ", ".join(row["undo"]), least=8),
]


@app.command(examples=["migrate plan shop order --to-version 2", "migrate plan shop order --to-version 2 -o json"])
def plan(
    application: AppName,
    saga: LiveSaga,
    version: ToVersion,
    rename: Renames = None,
    store: StoreUrl = DEFAULT_STORE,
    output: Output = "table",
) -> None:
    """Say of each live saga whether it may go on as this version, and what would be undone of it there."""

    found = _found(application, saga, version, named(rename), store)
    tell_rows([_row(one) for one in found], _COLUMNS, output, none=_NONE)
    for mapping in dict.fromkeys(one.mapping for one in found if one.mapping):
        remark("where only names differ: " + " ".join(f"--rename {then}={now}" for then, now in mapping))


@app.command(
    examples=[
        "migrate apply shop order --to-version 2 --reason 'release 7'",
        "migrate apply shop order --to-version 2 --rename charge=take_payment",
    ]
)
def apply(
    application: AppName,
    saga: LiveSaga,
    version: ToVersion,
    rename: Renames = None,
    by: By = "",
    reason: SagaReason = "",
    broker: BrokerUrl = DEFAULT_BROKER,
    store: StoreUrl = DEFAULT_STORE,
) -> None:
    """Move those that are safe, one by one. May be stopped and repeated; the others stay as they are."""

    names = named(rename)
    found = _found(application, saga, version, names, store)
    safe = [one.record.saga_id for one in found if one.verdict == "safe"]

    async def move(client: Client, _: App) -> int:
        signed = client.signed(by or whoever(), reason)
        return sum([await _moved(signed, one, version, names) for one in safe])

    done: int = with_client(application, Addresses(broker, store), move) if safe else 0
    print(f"{done} moved, {len(found) - done} left as they are")


async def _moved(client: Client, saga_id: str, version: int, names: Mapping[str, str]) -> bool:
    """One that has gone on meanwhile may not fit any more."""
    try:
        await client.move(saga_id, version, rename=names)
    except UsageError as error:
        remark(error.sentence)
        return False
    return True


def _found(application: str, name: str, version: int, names: Mapping[str, str], store: str) -> list[Migrating]:
    log_apart()

    async def look() -> list[Migrating]:
        async with looking(application, store) as view:
            saga = _declared(view, name, version)
            declarations = Declarations(view.sagas, view.store)
            return [one async for one in migrating(view.store, saga, declarations, tuple(names.items()))]

    return run_until_done(look())


def _declared(view: View, name: str, version: int) -> Saga[Any]:
    found = view.sagas.get((name, version))
    if found is None:
        known = [f"{one} version {number}" for one, number in view.sagas]
        raise UsageError(*unknown(f"This application has no saga {name!r} version {version}.", name, known))
    return found


def _row(one: Migrating) -> dict[str, Any]:
    record = one.record
    return {
        "saga_id": record.saga_id,
        "key": record.key,
        "version": record.saga_version,
        "status": record.status,
        "verdict": one.verdict,
        "why": one.why,
        "undo": list(one.undo),
        "mapping": dict(one.mapping),
    }
