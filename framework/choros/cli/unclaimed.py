"""`choros saga unclaimed`: what services have done for sagas that the store does not know."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from choros.app.app import App
from choros.cli.options import AppName, DatabaseUrl, Output, StoreUrl, loaded_apart, run_until_done
from choros.cli.output import Column, age, field, remark, tell_rows
from choros.cli.places import opened_inbox
from choros.cli.verbs import Verbs
from choros.cli.words import existing, moment
from choros.desk.unclaimed import unclaimed
from choros.roles.addresses import DEFAULT_DATABASE, DEFAULT_STORE, Addresses, opened_store
from choros.runtime.host.retention import forgotten_until
from choros.sources import now
from choros.wire.attributes import rfc3339

app = Verbs()


def _columns(at: float) -> list[Column]:
    return [
        Column("SERVICE", field("service"), least=8),
        Column("SAGA", field("saga_id"), least=10, id=True),
        Column("STEP", field("step"), least=6),
        Column("STATE", field("state"), least=8),
        Column("SINCE", field("since"), shown=age("since", at)),
        Column("KEY", field("key"), least=10),
    ]


@app.command("unclaimed", examples=["saga unclaimed shop --since 1d", "saga unclaimed shop --since 1d -o json"])
def saga_unclaimed(
    application: AppName,
    since: Annotated[str, typer.Option(metavar="WHEN", help="what was done from when on: '2h', '7d', or a time")],
    store: StoreUrl = DEFAULT_STORE,
    database: DatabaseUrl = DEFAULT_DATABASE,
    output: Output = "table",
) -> None:
    """List what services have done, and not undone, for sagas that the store does not know; exits with 1 if there is
    any.

    So it is after the store was set back to a backup, for sagas that began since. Start them again under their keys:
    what was done for them is then theirs, and is not done twice. Sagas of another application with the same services
    are unknown here as well."""
    loaded = loaded_apart(application)
    rows = run_until_done(_found(loaded, Addresses(store=store, database=database), since))
    tell_rows(rows, _columns(now()), output, none="every effect is of a saga that the store knows")
    if rows:
        raise typer.Exit(1)


async def _found(app: App, addresses: Addresses, since: str) -> list[dict[str, Any]]:
    existing(addresses.store)
    rows: list[dict[str, Any]] = []
    async with opened_store(addresses, app) as store:
        start = moment(since, store.now())
        for service in (one for one in app.services.values() if one.commands):
            async with opened_inbox(app, service, addresses.database) as database:
                if start <= (known := await forgotten_until(database, "commands")):
                    remark(f"! {service.name} has forgotten what it did up to {rfc3339(known)}")
                async for some in unclaimed(store, database, start):
                    rows += [
                        {
                            "service": service.name, "saga_id": one.saga_id, "step": one.path, "state": one.state,
                            "since": rfc3339(one.since), "key": one.key,
                        }
                        for one in some
                    ]  # fmt: skip
    return rows
