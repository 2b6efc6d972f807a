"""`choros saga cancel|terminate|retry|skip|settle|signal|update|rerun|move|pause|resume`: signed acts."""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from choros.app.app import App
from choros.cli.options import AppName, BrokerUrl, Output, SagaId, StoreUrl, found, log_apart
from choros.cli.output import tell_value
from choros.cli.renames import Renames, named
from choros.cli.signature import By, whoever
from choros.cli.verbs import Verbs
from choros.cli.words import answer, fields_of, lasting, message_of
from choros.errors import UsageError
from choros.messages import Reply, Update
from choros.roles.addresses import DEFAULT_BROKER, DEFAULT_STORE, Addresses
from choros.roles.loading import load_app
from choros.roles.roles import client_of
from choros.runtime.client.client import Client
from choros.runtime.orchestrator.history import read_history

app = Verbs()
SagaAct = Callable[[Client, str], Awaitable[str]]
"""Does it with the saga of this id, and says what that came to."""
SagaReason = Annotated[str, typer.Option(metavar="TEXT", help="why; it is kept in the saga's history")]
OfStep = Annotated[str | None, typer.Option(metavar="NAME", help="the step; else the only one that is parked")]
OfRound = Annotated[int | None, typer.Option(metavar="N", help="the round of the step; else the one that it is in")]


def with_client(application: str, addresses: Addresses, act: Any) -> Any:
    """Call `act(client, app)` with a client of this application, and return what it returns."""
    lasting(addresses.store)
    loaded = load_app(application)
    log_apart()

    async def call() -> Any:
        async with client_of(loaded, addresses) as client:
            return await act(client, loaded)

    return found(call(), application, addresses.store)


@dataclass(frozen=True, slots=True)
class ActOptions:
    """How every act is asked for."""

    by: By = ""
    reason: SagaReason = ""
    broker: BrokerUrl = DEFAULT_BROKER
    store: StoreUrl = DEFAULT_STORE
    output: Output = "table"

    def do(self, application: str, saga: str, act: SagaAct) -> tuple[str, str]:
        """Do it, as this person; gives back the saga's id, too."""

        async def signed(client: Client, _: App) -> tuple[str, str]:
            its = await client.id_of(saga)
            return its, await act(client.signed(self.by or whoever(), self.reason), its)

        found: tuple[str, str] = with_client(application, Addresses(self.broker, self.store), signed)
        return found

    def tell(self, application: str, saga: str, verb: str, act: SagaAct) -> None:
        """Do it and say what it came to; exits with 1 if nothing was done."""
        its, said = self.do(application, saga, act)
        word, _, step = said.partition(" ")
        if self.output == "table":
            print(answer(verb, word, step))
        else:
            tell_value({"saga_id": its, "act": verb, "answer": word} | ({"step": step} if step else {}), self.output)
        if word in ("too_late", "not_kept"):
            raise typer.Exit(1)


@app.command("cancel", examples=["saga cancel shop o2 --reason 'the customer called'"])
def cancel(application: AppName, saga: SagaId, asked: ActOptions) -> None:
    """Ask for a saga to be undone; it says what that comes to."""
    asked.tell(application, saga, "cancel", lambda client, its: client.cancel(its))


@app.command("terminate", examples=["saga terminate shop o2 --reason 'a test order'"])
def terminate(application: AppName, saga: SagaId, asked: ActOptions) -> None:
    """End a saga as it is: nothing more is done, and nothing undone. What it left standing, show tells."""
    asked.tell(application, saga, "terminate", lambda client, its: client.terminate(its))


@app.command("retry", examples=["saga retry shop o2 --reason 'the bank is back'"])
def retry(application: AppName, saga: SagaId, *, step: OfStep = None, round: OfRound = None, asked: ActOptions) -> None:
    """Try the step again at which a saga is parked."""

    async def again(client: Client, its: str) -> str:
        name, in_round = await client.parked_at(its, step, round)
        return f"{await client.retry(its, name, in_round)} {name}"

    asked.tell(application, saga, "retry", again)


@app.command("skip", examples=['saga skip shop o2 -i \'{"tracking": "t-17"}\''])
def skip(
    application: AppName,
    saga: SagaId,
    *,
    step: OfStep = None,
    given: Annotated[
        str | None,
        typer.Option("-i", "--input", metavar="JSON", help="the reply to go on with; - for stdin; none for an undo"),
    ] = None,
    round: OfRound = None,
    asked: ActOptions,
) -> None:
    """Close the command of the step at which a saga is parked, and go on as if it had been answered so; a step whose
    undo is skipped is left standing."""

    async def close(client: Client, its: str) -> str:
        name, in_round = await client.parked_at(its, step, round)
        wanted = await client.skippable(its, name)
        if given is None and not wanted.undo:
            raise UsageError(f"{wanted.what} goes on with a reply, and -i gives none.", fields_of(wanted.reply))
        reply = message_of(wanted.reply, given) if given is not None else None
        return f"{await client.skip(its, name, reply, in_round)} {name}"

    asked.tell(application, saga, "skip", close)


@app.command("settle", examples=["saga settle shop o2 --reason 'released by hand'"])
def settle(
    application: AppName,
    saga: SagaId,
    *,
    step: Annotated[str | None, typer.Option(metavar="NAME", help="the step; else the only one")] = None,
    stands: Annotated[bool, typer.Option("--stands", help="what is in doubt is there; else it is undone")] = False,
    given: Annotated[
        str | None, typer.Option("-i", "--input", metavar="JSON", help="what that replied; - for stdin")
    ] = None,
    asked: ActOptions,
) -> None:
    """Say what became of a step that a saga left standing or in doubt, or that its parked undo was done by hand."""

    async def note(client: Client, its: str) -> str:
        reply = message_of((await client.skippable(its, step)).reply, given) if given is not None and step else None
        return await client.settle(its, step, reply, stands=stands)

    asked.tell(application, saga, "settle", note)


@app.command("signal", examples=["saga signal loans l7 -i '{\"yes\": true}' --by Ann"])
def signal(
    application: AppName,
    saga: SagaId,
    *,
    given: Annotated[str, typer.Option("-i", "--input", metavar="JSON", help="what it is told; - for stdin")],
    wait: Annotated[str, typer.Option(metavar="NAME", help="the wait; else the only one that the saga has")] = "",
    known_as: Annotated[
        str, typer.Option("--id", metavar="TEXT", help="an id of your own: what is told under it counts once")
    ] = "",
    asked: ActOptions,
) -> None:
    """Tell a saga what it waits for; one that has not come to the wait yet keeps it."""

    async def tell(client: Client, its: str) -> str:
        leaf = await client.wait_named(its, wait)
        told = message_of(leaf.signal, given)
        return f"{await client.signal(its, told, wait=leaf.path, id=known_as)} {leaf.path}"

    asked.tell(application, saga, "signal", tell)


@app.command("update", examples=['saga update shop o2 -i \'{"street": "2 Elm Road"}\' --by Ann'])
def update(
    application: AppName,
    saga: SagaId,
    *,
    given: Annotated[str, typer.Option("-i", "--input", metavar="JSON", help="what it is asked; - for stdin")],
    name: Annotated[str, typer.Option("--update", metavar="NAME", help="the update; else the saga's only one")] = "",
    known_as: Annotated[
        str, typer.Option("--id", metavar="TEXT", help="an id of your own: what is asked under it counts once")
    ] = "",
    asked: ActOptions,
) -> None:
    """Ask a running saga for a change, and print what it replies; exits with 1 if it says no."""

    async def change(client: Client, its: str) -> str:
        wanted = (await client.update_declared(its, name)).update
        asks: Update[Reply] = message_of(wanted, given)
        return (await client.update(its, asks, id=known_as)).to_json()

    its, reply = asked.do(application, saga, change)
    if asked.output == "table":
        print(reply)
    else:
        tell_value({"saga_id": its, "act": "update", "answer": json.loads(reply)}, asked.output)


@app.command("rerun", examples=["saga rerun shop o2 --from ship_order"])
def rerun(
    application: AppName,
    saga: SagaId,
    step: Annotated[str, typer.Option("--from", metavar="NAME", help="the first step that is carried out again")],
    asked: ActOptions,
) -> None:
    """Run a saga that has ended again from a step; it keeps what came before. Prints the id of the new instance."""
    before, after = asked.do(application, saga, lambda client, its: client.rerun(its, step))
    if asked.output == "table":
        print(after)
    else:
        tell_value({"saga_id": after, "act": "rerun", "run_again": before}, asked.output)


@app.command("move", examples=["saga move shop o2 --to-version 2"])
def move(
    application: AppName,
    saga: SagaId,
    version: Annotated[int, typer.Option("--to-version", metavar="N", help="the version under which it goes on")],
    asked: ActOptions,
    rename: Renames = None,
) -> None:
    """Let a stuck saga go on as another version, where both agree on all that it has come to."""
    names = named(rename)
    asked.tell(application, saga, "move", lambda client, its: client.move(its, version, rename=names))


@app.command("pause", examples=["saga pause shop o2 --reason 'look first'"])
def pause(application: AppName, saga: SagaId, asked: ActOptions) -> None:
    """Send nothing more for this saga until it is resumed."""
    asked.tell(application, saga, "pause", lambda client, its: client.pause(its))


@app.command("resume", examples=["saga resume shop o2"])
def resume(application: AppName, saga: SagaId, asked: ActOptions) -> None:
    """Go on with a paused saga."""

    async def go_on(client: Client, its: str) -> str:
        word = await client.resume(its)
        happened = [one for row in (await client.show(its)).history for one in read_history(row.events)]
        return f"{word} {next((one.step for one in reversed(happened) if one.kind == word), '')}"

    asked.tell(application, saga, "resume", go_on)
