"""`choros starts`: starts that lie beside their callers' rows and could not be carried out."""

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Annotated, Any

import typer

from choros.cli.options import AppName, DatabaseUrl, Output, loaded_apart, run_until_done
from choros.cli.output import Column, age, field, tell_rows, tell_value
from choros.cli.verbs import Verbs
from choros.cli.words import existing
from choros.roles.addresses import DEFAULT_DATABASE, Addresses, opened_barrier
from choros.runtime.client.start_outbox import list_set_aside, place_of, start_again
from choros.sources import now
from choros.store.barrier import Database
from choros.wire.attributes import rfc3339

app = Verbs(help="Starts that were asked for with start_in and could not be carried out: list them, try one again.")


def _columns(at: float) -> list[Column]:
    return [
        Column("ID", field("saga_id"), least=10, id=True),
        Column("SAGA", field("saga"), least=5),
        Column("KEY", field("key"), least=6),
        Column("SINCE", field("since"), shown=age("since", at)),
        Column("WHY", field("why"), least=10),
    ]


def _asked(application: str, database: str, ask: Callable[[Database], Awaitable[Any]]) -> Any:
    loaded = loaded_apart(application)
    existing(database, "database")

    async def asked() -> Any:
        async with opened_barrier(Addresses(database=database), place_of(loaded)) as rows:
            return await ask(rows)

    return run_until_done(asked())


@app.command("list", examples=["starts list shop", "starts list shop -o json"])
def starts_list(
    application: AppName,
    limit: Annotated[int, typer.Option(min=1, metavar="N", help="how many at most")] = 50,
    database: DatabaseUrl = DEFAULT_DATABASE,
    output: Output = "table",
) -> None:
    """List what was set aside, the oldest first, and why."""
    found = _asked(application, database, lambda rows: list_set_aside(rows, limit))
    shown = [asdict(one) | {"since": rfc3339(one.since)} for one in found]
    tell_rows(shown, _columns(now()), output, none="no start is set aside")


@app.command("retry", examples=["starts retry shop 0a7240cf-8377-847e-8510-d28be83966bb"])
def starts_retry(
    application: AppName,
    saga_id: Annotated[str, typer.Argument(metavar="ID", help="whole, as `starts list` says it")],
    database: DatabaseUrl = DEFAULT_DATABASE,
    output: Output = "table",
) -> None:
    """Have the role `starts` try one again, after what was in its way is gone."""
    _asked(application, database, lambda rows: start_again(rows, saga_id))
    if output == "table":
        print(f"{saga_id}: the role `starts` tries it again")
    else:
        tell_value({"saga_id": saga_id, "answer": "again"}, output)
