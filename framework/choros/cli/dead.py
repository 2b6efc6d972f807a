"""`choros dead`: what is parked for a person, and what was done with it."""

import json
from collections import deque
from contextlib import suppress
from typing import Annotated, Any

import typer

from choros.app.app import App
from choros.cli.dead_acts import app as acts
from choros.cli.desk import OfSaga, OneId, Which, desk_of, letter_of
from choros.cli.letters import ACTS, columns, lines_of, row_of, whole_of
from choros.cli.options import AppName, BrokerUrl, Output, loaded_apart, run_until_done
from choros.cli.output import remark, tell_rows, tell_value
from choros.cli.progress import working
from choros.cli.verbs import Verbs
from choros.desk.parkings import Listing
from choros.roles.addresses import DEFAULT_BROKER
from choros.sources import now
from choros.transport.port import NotDeclared

app = Verbs(help="Look at what is parked, put it back, edit it, or drop it.")
app.add_typer(acts)


@app.command(
    "list", examples=["dead list shop", "dead list shop --kind fact --older-than 2h", "dead list shop -o json"]
)
def dead_list(
    application: AppName,
    *,
    which: Which,
    limit: Annotated[int, typer.Option(min=1, metavar="N", help="how many at most")] = 50,
    skip: Annotated[int, typer.Option(min=0, metavar="N", help="pass over so many first")] = 0,
    broker: BrokerUrl = DEFAULT_BROKER,
    output: Output = "table",
) -> None:
    """List what is parked, queue by queue, the oldest of each first. Nothing is taken out."""
    wanted = which.wanted()
    loaded = loaded_apart(application)

    async def look() -> Listing:
        async with desk_of(loaded, broker) as desk:
            with working("dead letters looked at") as told:
                return await desk.listing(wanted, limit=limit, skip=skip, told=told.at)

    listed = run_until_done(look())
    none = f"none of {listed.looked:,} dead letters is like that" if listed.looked else "no dead letters"
    tell_rows([row_of(one) for one in listed.found], columns(now()), output, none=none)
    if listed.count > skip + len(listed.found):
        remark(f"! {listed.count:,} in all; --skip {skip + limit} shows those behind these")
    for queue in listed.missing:
        remark(f"! the queue {queue} is not there: choros topology apply declares it")


@app.command("show", examples=["dead show shop 1d1f5763e636"])
def dead_show(
    application: AppName, letter_id: OneId, broker: BrokerUrl = DEFAULT_BROKER, output: Output = "table"
) -> None:
    """Show one dead letter, with its body."""
    loaded = loaded_apart(application)

    letter, delivery = run_until_done(letter_of(loaded, broker, letter_id))
    if output == "table":
        print("\n".join(lines_of(letter, delivery.wire)))
    else:
        tell_value(whole_of(letter, delivery.wire), output)


@app.command("acts", examples=["dead acts shop", "dead acts shop -o json"])
def dead_acts(
    application: AppName,
    saga: OfSaga = "",
    limit: Annotated[int, typer.Option(min=1, metavar="N", help="how many at most")] = 50,
    broker: BrokerUrl = DEFAULT_BROKER,
    output: Output = "table",
) -> None:
    """Say who did what with dead letters, when and why: the last acts, the oldest first. The broker keeps 100,000."""
    loaded = loaded_apart(application)
    tell_rows(list(run_until_done(_acts(loaded, broker, saga, limit))), ACTS, output, none="nobody has done anything")


def _read(body: bytes) -> dict[str, Any]:
    """The record of an act; empty for what somebody else has put there."""
    with suppress(ValueError, RecursionError):
        act = json.loads(body)
        if isinstance(act, dict) and isinstance(act.get("letter"), dict):
            return act | {"letter": {"saga": "", "saga_id": "", **act["letter"]}}
    return {}


async def _acts(loaded: App, broker: str, saga: str, limit: int) -> deque[dict[str, Any]]:
    last: deque[dict[str, Any]] = deque(maxlen=limit)
    async with desk_of(loaded, broker) as desk:
        look = await desk.transport.look(desk.names.acts)
        try:
            while delivery := await look.take():
                act = _read(delivery.wire.body)
                if act and saga in ("", act["letter"]["saga"], act["letter"]["saga_id"]):
                    last.append(act)
        except NotDeclared:
            return last
        finally:
            await look.close()
    return last
