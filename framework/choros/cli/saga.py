"""`choros saga`: start sagas, look at them, act on them."""

import json
import sys
from dataclasses import asdict
from datetime import timedelta
from typing import Annotated, Any

import typer

from choros.app.app import App
from choros.cli import acts
from choros.cli.events import saga_events
from choros.cli.exit_codes import INTERRUPTED
from choros.cli.letters_of_saga import beside_data, beside_lines, letters_beside
from choros.cli.open_waits import wait_columns, wait_row
from choros.cli.options import (
    AppName,
    BrokerUrl,
    GivenHeaders,
    OfStatus,
    Output,
    SagaId,
    StoreUrl,
    found,
    log_apart,
    read_headers,
    run_until_done,
)
from choros.cli.output import is_terminal, on_one_line, remark, tell_lines, tell_rows, tell_value
from choros.cli.overview import row_of, saga_list
from choros.cli.progress import working
from choros.cli.query import saga_query
from choros.cli.verbs import Verbs
from choros.cli.view import MaybeApp, looking
from choros.cli.waits import Unended, as_data, asking, run_and_tell, waiting_lines
from choros.cli.words import command, interrupted, lasting, message_of, moment, seconds, tell_beyond
from choros.desk.awaited import Awaited, waits_for
from choros.desk.export import exported
from choros.desk.open_waits import OpenWait, open_waits
from choros.desk.overview import Summary, summary_of
from choros.desk.parkings import Beside
from choros.desk.timeline import timeline
from choros.errors import OutcomePending
from choros.messages import Message
from choros.roles.addresses import DEFAULT_BROKER, DEFAULT_STORE, Addresses
from choros.roles.loading import load_app
from choros.runtime.client.account import Account
from choros.runtime.client.client import Client
from choros.runtime.client.outcome import Outcome
from choros.runtime.orchestrator.history import as_data as history_data
from choros.runtime.orchestrator.retention import warning
from choros.saga.saga import Saga, Sagas
from choros.store.records import listed
from choros.store.sagas import Record
from choros.wire.attributes import rfc3339

app = Verbs(help="Start sagas, see what became of them, act on them.")
app.add_typer(acts.app)

SagaName = Annotated[str, typer.Argument(metavar="SAGA", help="the saga's name")]
StartInput = Annotated[
    str, typer.Option("-i", "--input", metavar="JSON", help="the start message as JSON; - for standard input")
]
Key = Annotated[str | None, typer.Option(metavar="KEY", help="start key, where the saga does not derive one")]

LISTED = [
    "saga list shop --status parked --older-than 1h",
    "saga list shop --reason timeout -o json",
    "saga list --store redis://127.0.0.1/0",
]


@app.command(
    "start", examples=['saga start shop order -i \'{"order_id": "o2"}\'', "saga start shop order -i - < o2.json"]
)
def saga_start(
    application: AppName,
    name: SagaName,
    given: StartInput,
    key: Key = None,
    header: GivenHeaders = None,
    broker: BrokerUrl = DEFAULT_BROKER,
    store: StoreUrl = DEFAULT_STORE,
) -> None:
    """Start a saga and print its id; it is in the store by then, and will end."""
    saga, message = _typed(application, name, given, store)
    headers = read_headers(header)

    async def start(client: Client, _: App) -> str:
        return await client.with_headers(headers).start(saga, message, key=key)

    print(acts.with_client(application, Addresses(broker, store), start))


@app.command("run", examples=['saga run shop order -i \'{"order_id": "o2"}\' --timeout 10'])
def saga_run(
    application: AppName,
    name: SagaName,
    given: StartInput,
    key: Key = None,
    header: GivenHeaders = None,
    timeout: Annotated[str, typer.Option(metavar="TIME", help="how long to wait for the outcome")] = "60s",
    output: Output = "table",
    broker: BrokerUrl = DEFAULT_BROKER,
    store: StoreUrl = DEFAULT_STORE,
) -> None:
    """Start a saga and wait for its outcome; exits with 3 if it was undone."""

    wait, begun = timedelta(seconds=seconds(timeout)), Unended()
    saga, message = _typed(application, name, given, store)
    headers = read_headers(header)
    log_apart()
    running = run_and_tell(load_app(application), Addresses(broker, store), saga, message, key, wait, begun, headers)
    try:
        outcome = found(running, application, store)
    except OutcomePending as error:
        so_long = f"{wait.total_seconds():g} s"
        sentence = f"saga {begun.saga_id} has not ended within {so_long}; it {begun.why}." if begun.why else ""
        hint = command("show", application, store, begun.saga_id)
        raise OutcomePending(sentence or error.sentence, hint) from None
    except KeyboardInterrupt:
        look = ("show", application, store, begun.saga_id) if begun.saga_id else ("list", application, store)
        print(interrupted(begun.saga_id, command(*look)), file=sys.stderr)
        raise typer.Exit(INTERRUPTED) from None
    _tell_outcome(outcome, output)


@app.command("waiting", needs_app=False, examples=["saga waiting loans --for officer"])
def saga_waiting(
    application: MaybeApp,
    by: Annotated[str, typer.Option("--for", metavar="ROLE", help="only what is this role's or person's to say")] = "",
    limit: Annotated[int, typer.Option(metavar="N", min=1, help="how many at most")] = 50,
    store: StoreUrl = DEFAULT_STORE,
    output: Output = "table",
) -> None:
    """List the sagas that wait to be told something, the first to lapse first."""
    log_apart()

    async def find() -> tuple[list[OpenWait], bool, float]:
        async with looking(application, store) as view:
            return *await open_waits(view.sagas, view.store, by, limit), view.store.now()

    found, more, now = run_until_done(find())
    tell_rows([wait_row(one) for one in found], wait_columns(now), output, none="nothing waits to be told anything")
    if more:
        remark(f"! there are more than these {limit}; --limit {limit * 10} shows more")


def result_line(body: str) -> list[str]:
    """What a saga came to, as it is stored; nothing where it came to nothing."""
    return [f"result: {body}"] if body else []


def _tell_outcome(outcome: Outcome[Any], output: str) -> None:
    why = f" ({outcome.failure.code} at {outcome.failure.step})" if outcome.failure else ""
    if output == "table":
        left = f", left standing: {', '.join(outcome.left_standing)}" if outcome.left_standing else ""
        parked = f": {outcome.parked}" if outcome.parked else ""
        print(on_one_line(f"{outcome.saga_id} {outcome.status}{left}{why}{parked}"))
        tell_lines(result_line(outcome.result.to_json() if outcome.result else ""))
    else:
        failure = outcome.failure.model_dump(mode="json") if outcome.failure else None
        result = outcome.result.model_dump(mode="json") if outcome.result else None
        tell_value({**asdict(outcome), "failure": failure, "result": result}, output)
    if outcome.status != "completed":
        raise typer.Exit(3 if outcome.status == "compensated" and not outcome.left_standing else 1)


app.command("list", needs_app=False, examples=LISTED)(saga_list)
app.command("events", needs_app=False, examples=["saga events shop o2", "saga events shop o2 -o json"])(saga_events)


app.command("query", examples=["saga query shop o2 -o json", "saga query shop o2 --until charge_payment --timeout 5"])(
    saga_query
)


@app.command("show", needs_app=False, examples=["saga show shop o2", "saga show 3f1c9a2b --store redis://127.0.0.1/0"])
def saga_show(
    application: MaybeApp,
    saga_id: SagaId,
    broker: BrokerUrl = DEFAULT_BROKER,
    store: StoreUrl = DEFAULT_STORE,
    output: Output = "table",
) -> None:
    """Show what became of a saga instance, and what it waits for."""
    log_apart()

    async def look() -> tuple[Account, Summary, Sagas, Awaited | None, Beside, float]:
        async with looking(application, store) as view:
            account = await view.account(saga_id)
            namespace = view.scope.partition(".")[0]
            ask = asking(broker, namespace)
            waits = await waits_for(view.sagas, namespace, view.store, account.record.saga_id, ask)
            summary = await summary_of(view.sagas, view.store, account.record)
            parked = await letters_beside(broker, view.scope, view.sagas, account)
            return account, summary, view.sagas, waits, parked, view.store.now()

    account, summary, sagas, waits, parked, now = found(look(), application, store)
    if account.record.gone:
        _tell_gone(account.record, output)
        return
    if output != "table":
        told = {**row_of(summary), **as_data(waits, account.instance), **beside_data(parked)}
        told |= {"result": listed(account.instance.result), "history": history_data(account.history)}
        tell_value(told, output)
        return
    tell_lines(timeline(account, sagas.get((account.record.saga, account.record.saga_version))))
    tell_lines(result_line(account.instance.result))
    if summary.stuck:
        print(f"stuck: {summary.stuck}")
    named = application or "APP", store, account.record, account.instance
    tell_lines([] if summary.stuck else waiting_lines(*named, waits, now))
    tell_lines(beside_lines(application or "APP", account.record.saga_id, parked))


def _tell_gone(record: Record, output: str) -> None:
    if output == "table":
        print(f"{record.saga_id}  {record.status} at {rfc3339(record.updated_at)}  (saga {record.saga}); deleted since")
        return
    ended = {"saga_id": record.saga_id, "status": record.status, "ended_at": record.updated_at}
    tell_value({**ended, "deleted": True, "history": []}, output)


@app.command("export", needs_app=False, examples=["saga export shop --status completed --since 1d > ended.jsonl"])
def saga_export(
    application: MaybeApp,
    status: OfStatus = "",
    saga: Annotated[str, typer.Option(metavar="NAME", help="one saga only")] = "",
    since: Annotated[
        str, typer.Option(metavar="WHEN", help="only what has changed since: '1d', or 2026-11-22T12:00")
    ] = "",
    store: StoreUrl = DEFAULT_STORE,
) -> None:
    """Write saga instances out, each with all that is known of it as one line of JSON: before they are deleted."""
    log_apart()

    async def export() -> str:
        async with looking(application, store) as view:
            start, name = moment(since, view.store.now()) if since else None, await view.saga_named(saga)
            with working("sagas written") as so_far:
                async for line in exported(view.store, saga=name, status=status, since=start):
                    print(json.dumps(line))
                    if not is_terminal(sys.stdout):  # there the lines themselves show it
                        so_far.more()
            return warning(await view.store.forgotten(), start or 0.0)

    tell_beyond(run_until_done(export()))


def _typed(application: str, name: str, given: str, store: str) -> tuple[Saga[Any], Message]:
    """What is to be started, checked before any server is asked."""
    lasting(store)
    saga = load_app(application).saga(name)
    return saga, message_of(saga.start, given)
