"""`choros unfinished`: commands that a service has taken, to be finished from outside; and finishing one by hand."""

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Annotated, Any

import typer

from choros.cli.options import AppName, DatabaseUrl, Output, loaded_apart, run_until_done
from choros.cli.output import Column, age, field, tell_rows, tell_value
from choros.cli.verbs import Verbs
from choros.roles.addresses import DEFAULT_DATABASE, Addresses
from choros.roles.roles import unfinished_of
from choros.runtime.participant.unfinished import Unfinished, UnfinishedCommand, Word
from choros.sources import now
from choros.wire.attributes import rfc3339

app = Verbs(help="Commands that a service has taken, to be finished from outside: list them, finish one by hand.")
ServiceName = Annotated[str, typer.Argument(metavar="SERVICE", help="the service that has taken it")]
Token = Annotated[str, typer.Argument(metavar="TOKEN", help="what it was taken under: `unfinished list` says it")]
Code = Annotated[str, typer.Argument(metavar="CODE", help="why, in a word")]
Detail = Annotated[str, typer.Option(metavar="TEXT", help="more words; they travel with the answer")]
_SAID = {"finished": "the service's own process sends the answer", "repeated": "the same was said before"}


def _columns(at: float) -> list[Column]:
    return [
        Column("TOKEN", field("token"), least=10, id=True),
        Column("COMMAND", field("type"), least=10),
        Column("SAGA", field("saga"), least=5),
        Column("KEY", field("subject"), least=6),
        Column("SINCE", field("since"), shown=age("since", at)),
    ]


def _row(one: UnfinishedCommand) -> dict[str, Any]:
    return asdict(one) | {"since": rfc3339(one.since)}


def _asked(application: str, service: str, database: str, ask: Callable[[Unfinished], Awaitable[Any]]) -> Any:
    loaded = loaded_apart(application)

    async def asked() -> Any:
        async with unfinished_of(loaded, service, Addresses(database=database)) as unfinished:
            return await ask(unfinished)

    return run_until_done(asked())


def _finish(
    application: str, service: str, token: str, where: tuple[str, str], finish: Callable[[Unfinished], Awaitable[Word]]
) -> None:
    database, output = where
    word = _asked(application, service, database, finish)
    if output == "table":
        print(f"{word}: {_SAID[word]}")
    else:
        tell_value({"token": token, "answer": word}, output)


@app.command("list", examples=["unfinished list shop payment", "unfinished list shop payment -o json"])
def unfinished_list(
    application: AppName,
    service: ServiceName,
    limit: Annotated[int, typer.Option(min=1, metavar="N", help="how many at most")] = 50,
    database: DatabaseUrl = DEFAULT_DATABASE,
    output: Output = "table",
) -> None:
    """List what waits to be finished, the oldest first."""
    found = _asked(application, service, database, lambda unfinished: unfinished.list(limit))
    tell_rows([_row(one) for one in found], _columns(now()), output, none="nothing waits to be finished")


@app.command("complete", examples=["""unfinished complete shop payment pi_1 -i '{"payment_id": "p1"}'"""])
def unfinished_complete(
    application: AppName,
    service: ServiceName,
    token: Token,
    body: Annotated[str, typer.Option("-i", "--input", metavar="JSON", help="the reply; none for Done")] = "{}",
    database: DatabaseUrl = DEFAULT_DATABASE,
    output: Output = "table",
) -> None:
    """Say that it is done."""
    _finish(application, service, token, (database, output), lambda one: one.complete(token, body))


@app.command("refuse", examples=["unfinished refuse shop payment pi_1 card_declined"])
def unfinished_refuse(
    application: AppName,
    service: ServiceName,
    token: Token,
    code: Code,
    detail: Detail = "",
    database: DatabaseUrl = DEFAULT_DATABASE,
    output: Output = "table",
) -> None:
    """Say that it was definitely not done, and never will be, with a code that the command declares."""
    _finish(application, service, token, (database, output), lambda one: one.refuse(token, code, detail))


@app.command("fail", examples=["unfinished fail shop payment pi_1 GatewayDown"])
def unfinished_fail(
    application: AppName,
    service: ServiceName,
    token: Token,
    code: Code,
    detail: Detail = "",
    database: DatabaseUrl = DEFAULT_DATABASE,
    output: Output = "table",
) -> None:
    """Say that it did not work, and may be tried again."""
    _finish(application, service, token, (database, output), lambda one: one.fail(token, code, detail))
