"""`choros saga`: start sagas, look at them, act on them."""

from __future__ import annotations

import json
import sys
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Annotated, Any

import typer

from choros.attributes import rfc3339
from choros.cli.asking import AppName, Broker, Output, StoreUrl, found, log_apart, meant, run_until_done, with_client
from choros.cli.output import format_named, tell_value
from choros.cli.overview import saga_list
from choros.cli.words import (
    STATUSES,
    answer,
    command,
    existing,
    fields_of,
    interrupted,
    lasting,
    message_of,
    moment,
    seconds,
    status_named,
    tell_beyond,
)
from choros.errors import OutcomePending, UsageError
from choros.loading import load_app
from choros.messages import Message
from choros.roles import DEFAULT_BROKER, DEFAULT_STORE, Addresses, opened_store
from choros.runtime.application import App
from choros.runtime.client import Account, Client, Outcome, account_of, events_of
from choros.runtime.exporting import exported
from choros.runtime.retention import warning
from choros.runtime.stuck import why_stuck
from choros.saga.declaration import Saga
from choros.store.port import Record
from choros.timeline import timeline

app = typer.Typer(no_args_is_help=True, help="Start sagas and see what became of them.")

SagaName = Annotated[str, typer.Argument(metavar="SAGA", help="the saga's name")]
SagaId = Annotated[str, typer.Argument(metavar="SAGA", help="its id, the beginning of that, or its start key")]
Input = Annotated[str, typer.Option("-i", "--input", help="the start message as JSON; - for standard input")]
Act = Callable[[Client, str], Awaitable[str]]
Key = Annotated[str | None, typer.Option(help="start key, where the saga does not derive one")]


@app.command("start")
def saga_start(
    application: AppName,
    name: SagaName,
    given: Input,
    key: Key = None,
    broker: Broker = DEFAULT_BROKER,
    store: StoreUrl = DEFAULT_STORE,
) -> None:
    """Start a saga and print its id; it is in the store by then, and will end."""
    saga, message = _typed(application, name, given, store)

    async def start(client: Client, _: App) -> str:
        return await client.start(saga, message, key=key)

    print(with_client(application, Addresses(broker, store), start))


@app.command("run")
def saga_run(
    application: AppName,
    name: SagaName,
    given: Input,
    key: Key = None,
    timeout: Annotated[float, typer.Option(help="seconds to wait for the outcome")] = 60.0,
    broker: Broker = DEFAULT_BROKER,
    store: StoreUrl = DEFAULT_STORE,
) -> None:
    """Start a saga and wait for its outcome; exits with 3 if it was undone."""

    wait, started = timedelta(seconds=seconds(timeout)), [""]
    saga, message = _typed(application, name, given, store)

    async def start(client: Client, _: App) -> Outcome:
        started[0] = await client.start(saga, message, key=key)
        return await client.wait(started[0], timeout=wait)

    try:
        outcome = with_client(application, Addresses(broker, store), start)
    except OutcomePending as error:
        raise OutcomePending(error.sentence, command("show", application, store, started[0])) from None
    except KeyboardInterrupt:
        look = ("show", application, store, started[0]) if started[0] else ("list", application, store)
        print(interrupted(started[0], command(*look)), file=sys.stderr)
        raise typer.Exit(130) from None
    _tell_outcome(outcome)


def _tell_outcome(outcome: Outcome) -> None:
    why = f" ({outcome.failure.code} at {outcome.failure.step})" if outcome.failure else ""
    print(f"{outcome.saga_id} {outcome.status}{why}{f': {outcome.parked}' if outcome.parked else ''}")
    if outcome.status != "completed":
        raise typer.Exit(3 if outcome.status == "compensated" else 1)


app.command("list")(saga_list)


@app.command("show")
def saga_show(application: AppName, saga_id: SagaId, store: StoreUrl = DEFAULT_STORE, output: Output = "table") -> None:
    """Show what became of a saga instance."""
    log_apart()
    shape = format_named(output)
    loaded = load_app(application)

    async def look() -> Account:
        async with opened_store(Addresses(store=existing(store)), loaded) as opened:
            return await account_of(opened, await meant(opened, loaded, saga_id))

    account = found(look(), application, store)
    if account.record.gone:
        _tell_gone(account.record, shape)
        return
    why = why_stuck(loaded.sagas, account.record, account.history)
    if shape != "table":
        history = [{"version": row.version, "at": row.at, "events": events_of(row)} for row in account.history]
        told = {"saga_id": account.record.saga_id, "status": account.record.status, "stuck": why, "history": history}
        tell_value(told if why else {name: value for name, value in told.items() if name != "stuck"}, shape)
        return
    print("\n".join(timeline(account, loaded.sagas.get((account.record.saga, account.record.saga_version)))))
    if why:
        print(f"stuck: {why}")


def _tell_gone(record: Record, shape: str) -> None:
    if shape == "table":
        print(f"{record.saga_id}  {record.status} at {rfc3339(record.updated_at)}  (saga {record.saga}); deleted since")
        return
    ended = {"saga_id": record.saga_id, "status": record.status, "ended_at": record.updated_at}
    tell_value({**ended, "deleted": True, "history": []}, shape)


@app.command("export")
def saga_export(
    application: AppName,
    status: Annotated[str, typer.Option(help="running, compensating, completed, compensated or parked")] = "",
    saga: Annotated[str, typer.Option(help="one saga only")] = "",
    since: Annotated[str, typer.Option(help="only what has changed since: '1d', or 2026-11-22T12:00")] = "",
    store: StoreUrl = DEFAULT_STORE,
) -> None:
    """Write saga instances out, each with all that is known of it as one line of JSON: before they are deleted."""
    log_apart()
    status_named(status, STATUSES)
    loaded = load_app(application)
    name = loaded.saga(saga).name if saga else ""

    async def export() -> str:
        async with opened_store(Addresses(store=existing(store)), loaded) as opened:
            start = moment(since, opened.now()) if since else None
            async for line in exported(opened, saga=name, status=status, since=start):
                print(json.dumps(line))
            return warning(await opened.forgotten(), start or 0.0)

    tell_beyond(run_until_done(export()))


@app.command("cancel")
def saga_cancel(
    application: AppName, saga_id: SagaId, broker: Broker = DEFAULT_BROKER, store: StoreUrl = DEFAULT_STORE
) -> None:
    """Ask for a saga to be undone; it says what that comes to."""
    _act("cancel", application, saga_id, Addresses(broker, store), lambda client, its: client.cancel(its))


@app.command("retry")
def saga_retry(
    application: AppName,
    saga_id: SagaId,
    step: Annotated[str, typer.Option(help="the step at which it is parked")],
    round: Annotated[int, typer.Option(help="the round that the step is in")] = 1,
    broker: Broker = DEFAULT_BROKER,
    store: StoreUrl = DEFAULT_STORE,
) -> None:
    """Try the step again at which a saga is parked."""
    _act("retry", application, saga_id, Addresses(broker, store), lambda client, its: client.retry(its, step, round))


@app.command("skip")
def saga_skip(
    application: AppName,
    saga_id: SagaId,
    step: Annotated[str, typer.Option(help="the step at which it is parked")],
    given: Annotated[
        str | None,
        typer.Option("-i", "--input", help="the reply to go on with, as JSON; - for standard input; none for an undo"),
    ] = None,
    round: Annotated[int, typer.Option(help="the round that the step is in")] = 1,
    broker: Broker = DEFAULT_BROKER,
    store: StoreUrl = DEFAULT_STORE,
) -> None:
    """Close the command of the step at which a saga is parked, and go on as if it had been answered so."""

    async def skip(client: Client, its: str) -> str:
        wanted = await client.skippable(its, step)
        if given is None and not wanted.undo:
            raise UsageError(f"{wanted.what} goes on with a reply, and -i gives none.", fields_of(wanted.reply))
        reply = message_of(wanted.reply, given) if given is not None else None
        return await client.skip(its, step, reply, round)

    _act("skip", application, saga_id, Addresses(broker, store), skip)


@app.command("rerun")
def saga_rerun(
    application: AppName,
    saga_id: SagaId,
    step: Annotated[str, typer.Option("--from", help="the first step that is carried out again")],
    broker: Broker = DEFAULT_BROKER,
    store: StoreUrl = DEFAULT_STORE,
) -> None:
    """Run a saga that has ended again from a step; it keeps what came before. Prints the id of the new instance."""
    print(with_client(application, Addresses(broker, store), _on(saga_id, lambda client, its: client.rerun(its, step))))


@app.command("move")
def saga_move(
    application: AppName,
    saga_id: SagaId,
    version: Annotated[int, typer.Option("--to-version", help="the version under which it goes on")],
    broker: Broker = DEFAULT_BROKER,
    store: StoreUrl = DEFAULT_STORE,
) -> None:
    """Let a stuck saga go on as another version, where both agree on all that it has come to."""
    _act("move", application, saga_id, Addresses(broker, store), lambda client, its: client.move(its, version))


@app.command("pause")
def saga_pause(
    application: AppName, saga_id: SagaId, broker: Broker = DEFAULT_BROKER, store: StoreUrl = DEFAULT_STORE
) -> None:
    """Send nothing more for this saga until it is resumed."""
    _act("pause", application, saga_id, Addresses(broker, store), lambda client, its: client.pause(its))


@app.command("resume")
def saga_resume(
    application: AppName, saga_id: SagaId, broker: Broker = DEFAULT_BROKER, store: StoreUrl = DEFAULT_STORE
) -> None:
    """Go on with a paused saga."""
    _act("resume", application, saga_id, Addresses(broker, store), lambda client, its: client.resume(its))


def _typed(application: str, name: str, given: str, store: str) -> tuple[Saga[Any], Message]:
    """What is to be started, checked before any server is asked."""
    lasting(store)
    saga = load_app(application).saga(name)
    return saga, message_of(saga.start, given)


def _on(saga: str, act: Act) -> Callable[[Client, App], Awaitable[str]]:
    """To do it with the saga that goes by this id or key."""

    async def with_it(client: Client, _: App) -> str:
        return await act(client, await client.id_of(saga))

    return with_it


def _act(verb: str, application: str, saga: str, addresses: Addresses, act: Act) -> None:
    """Do it and say what it came to; exits with 1 if nothing was done."""
    word = with_client(application, addresses, _on(saga, act))
    print(answer(verb, word))
    if word == "too_late":
        raise typer.Exit(1)
