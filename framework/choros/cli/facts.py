"""Commands on facts: publish one, put them out again, and see who lacks them."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import Annotated, Any

import typer

from choros.app.app import App
from choros.app.choreography import Choreography
from choros.app.flow_part import NO_FLOWS, FlowPart, start_key
from choros.app.program import Program
from choros.app.service import Service
from choros.cli.options import AppName, BrokerUrl, DatabaseUrl, Output, StoreUrl, loaded_apart, run_until_done
from choros.cli.output import Column, field, remark, tell_rows
from choros.cli.places import opened_inbox
from choros.cli.progress import Working, working
from choros.cli.published import OfWhom, Publishers, opened_facts_of, publishers_of
from choros.cli.verbs import Verbs
from choros.cli.words import existing, message_of, moment, tell_beyond
from choros.desk.republish import put_out
from choros.desk.unheard import OwnFacts
from choros.errors import UsageError, unknown
from choros.messages import Fact
from choros.roles.addresses import (
    DEFAULT_BROKER,
    DEFAULT_DATABASE,
    DEFAULT_STORE,
    Addresses,
    connected,
    opened_facts,
    opened_store,
)
from choros.roles.roles import publisher_of
from choros.runtime.host.retention import forgotten_until
from choros.runtime.orchestrator.retention import gone, warning
from choros.runtime.subscriber.facts import is_wanted
from choros.runtime.subscriber.inbox import not_handled
from choros.store.barrier import Database
from choros.store.sagas import Store
from choros.transport.port import Published
from choros.wire.attributes import rfc3339
from choros.wire.envelope import Envelope

app = Verbs(help="Publish facts, put them out again, see who lacks them, and have reactions give up.")

Since = Annotated[
    str, typer.Option(metavar="WHEN", help="from when on: '2h', '7d', or 2026-11-22T12:00 (local time without a zone)")
]
OneSaga = Annotated[str, typer.Option(metavar="NAME", help="one saga only")]


@app.command(examples=["facts republish shop --since 2h --dry-run", "facts republish shop --since 2h"])
def republish(
    application: AppName,
    since: Since = "",
    saga: OneSaga = "",
    saga_id: Annotated[str, typer.Option(metavar="ID", help="one saga instance only")] = "",
    of: OfWhom = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only count")] = False,
    broker: BrokerUrl = DEFAULT_BROKER,
    store: StoreUrl = DEFAULT_STORE,
    database: DatabaseUrl = DEFAULT_DATABASE,
) -> None:
    """Put facts out again under their old identity, after the broker was emptied: those of sagas, from the store's
    history, and those of services, from their own databases.

    Who has handled a fact passes over it, so this may be repeated, and may reach further back than needed."""
    loaded = loaded_apart(application)
    name = loaded.saga(saga).name if saga else ""
    if not since and not saga_id:
        raise UsageError("From when on?", "--since 2h, or --saga-id ID for all of one saga.")
    if saga and saga_id:
        raise UsageError("--saga and --saga-id do not go together.", "the id alone.")
    whose = publishers_of(loaded, of, saga or saga_id)
    run_until_done(_republish(loaded, Addresses(broker, store, database), whose, since, name, saga_id, dry_run))


async def _republish(
    loaded: App, addresses: Addresses, whose: Publishers, since: str, saga: str, saga_id: str, dry_run: bool
) -> None:
    async with opened_facts_of(loaded, whose, addresses) as kept:
        start = moment(since, kept.now()) if since else 0.0
        tell_beyond(await _beyond(kept.store, start, saga_id))
        found = kept.since(start, saga=saga, saga_id=saga_id)
        with working("facts") as so_far:
            which = f"since {rfc3339(start)}" if since else f"of saga {saga_id}"
            told = _Republished(which, whose.streams, so_far)
            if dry_run:
                async for facts in found:
                    told.count(facts, Counter())
            else:
                await _put_out(loaded, addresses, found, told)
        if dry_run:
            print(f"{told.total} were released {told.which}; nothing was put out")
            return
        print(f"✔ {told.total} put out again, released {told.which}{told.unbound}")


async def _put_out(
    loaded: App, addresses: Addresses, found: AsyncIterator[Sequence[Envelope]], told: _Republished
) -> None:
    async with connected(addresses, loaded, "republish") as transport:
        await transport.declare(loaded.topology)  # every queue first: a fact reaches those that are bound
        async for facts in found:
            told.count(facts, await put_out(transport, facts))


async def _beyond(store: Store | None, start: float, saga_id: str) -> str:
    """What the store does not know any more of what was asked for; raises SagaNotFound for a saga that was deleted."""
    if store is None:
        return ""
    known = (await store.load([saga_id])).get(saga_id) if saga_id else None
    if known and known.record.gone:
        raise gone(known.record)
    return "" if known else warning(await store.forgotten(), start)


class _Republished:
    """What was done so far, told to a person who waits."""

    def __init__(self, which: str, streams: str, so_far: Working) -> None:
        self.which = which
        self._streams_are = streams
        self._so_far = so_far
        self._facts = 0
        self._outcome: Counter[Published] = Counter()
        self._streams: set[str] = set()

    def count(self, facts: Sequence[Envelope], outcome: Counter[Published]) -> None:
        """Some more."""
        self._facts += len(facts)
        self._streams.update(fact.stream for fact in facts)
        self._outcome += outcome
        self._so_far.at(self._facts, what=f"facts of {self._of}")

    @property
    def total(self) -> str:
        """In words."""
        return f"{_many(self._facts, 'fact')} of {self._of}"

    @property
    def _of(self) -> str:
        return _many(len(self._streams), self._streams_are)

    @property
    def unbound(self) -> str:
        """Those that no queue took, if there are any."""
        count = self._outcome[Published.RETURNED]
        return f"; {count} of them reached no queue: no subscriber is bound" if count else ""


@app.command(examples=["facts missed shop --since 1d"])
def missed(
    application: AppName,
    since: Since,
    saga: OneSaga = "",
    of: OfWhom = None,
    store: StoreUrl = DEFAULT_STORE,
    database: DatabaseUrl = DEFAULT_DATABASE,
    output: Output = "table",
) -> None:
    """Say which facts of sagas and services each subscriber has not handled; exits with 1 if there are any.

    It reads the inboxes in the databases at the address given; of the application itself (`app.NAME`), in the store,
    whether what facts begin is there, and what sagas wait for is kept. A fact that is missing may have been lost with
    the broker, may still wait in a queue, or may be parked."""
    loaded = loaded_apart(application)
    name = loaded.saga(saga).name if saga else ""
    addresses, whose = Addresses(store=store, database=database), publishers_of(loaded, of, saga)
    found = run_until_done(_missed(loaded, addresses, whose, since, name))
    if output == "table":
        _tell_missed(found)
    else:
        tell_rows([row for _, _, rows in found for row in rows], COLUMNS, output, none="no fact is missed")
    if any(rows for _, _, rows in found):
        raise typer.Exit(1)


@app.command(examples=['facts publish shop order-imported.v1 \'{"order": "o7"}\' --key o7'])
def publish(
    application: AppName,
    kind: Annotated[str, typer.Argument(metavar="TYPE", help="the name of a fact's class, or of its type on the wire")],
    body: Annotated[str, typer.Argument(metavar="JSON", help="the fact, as JSON; - for standard input")],
    key: Annotated[str, typer.Option(metavar="TEXT", help="what it is about: its stream")],
    seq: Annotated[int, typer.Option(metavar="N", min=1, help="which fact about that it is")] = 1,
    program: Annotated[str, typer.Option(metavar="NAME", help="as which program, if there are several")] = "",
    correlation_id: Annotated[str, typer.Option(metavar="ID", help="of what it belongs to, if to anything")] = "",
    broker: BrokerUrl = DEFAULT_BROKER,
) -> None:
    """Publish a fact as a program of the application. The same again is the same fact, and is handled once.

    A fact that begins a flow begins it: --key is that of the flow, and --seq counts its runs."""
    loaded = loaded_apart(application)
    named = _program(loaded, program)
    fact = _fact(named, kind, body)
    if flow := loaded.flow_part().starts.get(fact.type_name):
        begun = loaded.choreographies[flow.name, flow.version]
        if (its := start_key(begun, fact)) != key:
            sentence = f"It begins choreography {flow.name!r}, whose key for it is {its!r}, not {key!r}."
            raise UsageError(sentence, f"--key {its}")
        flow_id = run_until_done(_begin(loaded, named, Addresses(broker), begun, fact, seq, correlation_id))
        print(f"✔ flow {flow_id} is begun")
        return
    reached = run_until_done(_publish(loaded, named, Addresses(broker), fact, key, seq, correlation_id))
    print(f"✔ {fact.type_name} is published" if reached else "✔ published, but no queue took it: nobody subscribes")


async def _publish(
    loaded: App, program: Program, addresses: Addresses, fact: Fact, key: str, seq: int, correlation_id: str
) -> bool:
    async with publisher_of(loaded, program.name, addresses) as publisher:
        return await publisher.publish(fact, key=key, seq=seq, correlation_id=correlation_id)


async def _begin(
    loaded: App, program: Program, addresses: Addresses, flow: Choreography[Any], fact: Fact, run: int, correlation: str
) -> str:
    async with publisher_of(loaded, program.name, addresses) as publisher:
        return await publisher.begin(flow, fact, run=run, correlation_id=correlation)


def _program(loaded: App, name: str) -> Program:
    if not name and len(loaded.programs) == 1:
        return next(iter(loaded.programs.values()))
    if not loaded.programs:
        hint = "App(programs=(Program('till', publishes=(SomeFact,)),)), and choros topology apply."
        raise UsageError("This application has no program that publishes.", hint)
    if not name:
        raise UsageError("As which program?", f"--program, one of: {', '.join(loaded.programs)}.")
    if name not in loaded.programs:
        raise UsageError(*unknown(f"There is no program {name!r} in this application.", name, loaded.programs))
    return loaded.programs[name]


def _fact(program: Program, kind: str, body: str) -> Fact:
    known = {name: one for one in program.publishes for name in (one.type_name, one.__name__)}
    if kind not in known:
        raise UsageError(*unknown(f"program {program.name!r} publishes no {kind!r}.", kind, sorted(known)))
    return message_of(known[kind], body, "JSON")


Every = Callable[[], AsyncIterator[Sequence[Envelope]]]
"""All facts that are meant, once more from the first on."""
Missed = tuple[str, int, list[dict[str, Any]]]
"""Of one subscriber: its name, how many facts there are for it, and those that it has not handled."""
COLUMNS = [Column(name.upper(), field(name), least=8) for name in ("subscriber", "type", "key", "stream", "seq", "at")]


def _tell_missed(found: Sequence[Missed]) -> None:
    for subscriber, total, rows in found:
        for row in rows:
            print("  ".join(str(value) for value in row.values()))
        print(f"{subscriber}: {len(rows)} missed of {_many(total, 'fact')}")
    if not found:
        remark("no subscribers")


async def _missed(loaded: App, addresses: Addresses, whose: Publishers, since: str, saga: str) -> list[Missed]:
    hearing = [service for service in loaded.services.values() if service.facts]
    services = [service for service in hearing if service.subscription.replicas != "every"]  # they ask their own
    found: list[Missed] = []
    async with opened_facts_of(loaded, whose, addresses) as kept:
        start = moment(since, kept.now())
        tell_beyond(warning(await kept.store.forgotten(), start) if kept.store else "")
        every = partial(kept.since, start, saga=saga)
        for service in services:
            async with opened_inbox(loaded, service, addresses.database) as inbox:
                found.append(await _missed_by(service, inbox, every, start, loaded.flow_part(service.name)))
        if loaded.heard:
            found.append(await _missed_here(loaded, addresses, every))
    return found


async def _missed_here(loaded: App, addresses: Addresses, every: Every) -> Missed:
    """By the application itself, whose sagas begin by facts or wait for them."""
    total, rows, name = 0, list[dict[str, Any]](), f"app.{loaded.name}"
    async with AsyncExitStack() as stack:
        existing(addresses.store)
        store = await stack.enter_async_context(opened_store(addresses, loaded))
        kept = await stack.enter_async_context(opened_facts(addresses, loaded)) if loaded.awaited else None
        own = OwnFacts(loaded, store, kept)
        with working(f"facts for {name}") as so_far:
            async for facts in every():
                mine = [fact for fact in facts if fact.type in loaded.heard]
                total, rows = total + len(mine), [*rows, *(_row(name, fact) for fact in await own.unheard(mine))]
                so_far.at(total)
    return name, total, rows


async def _missed_by(
    service: Service, inbox: Database, every: Every, start: float, flows: FlowPart = NO_FLOWS
) -> Missed:
    wanted = {fact.type_name for fact in service.facts}
    known = await forgotten_until(inbox, "facts")
    if start <= known:
        remark(f"! {service.name} has forgotten which facts it handled up to {rfc3339(known)}")
    total, rows = 0, list[dict[str, Any]]()
    with working(f"facts for {service.name}") as so_far:
        async for facts in every():
            due = [one for one in facts if one.type in wanted and one.time > known]
            mine = [one for one in due if flows.wants(one) and is_wanted(service, one)]
            without = await not_handled(inbox, service.name, mine)
            total, rows = total + len(mine), [*rows, *(_row(service.name, fact) for fact in without)]
            so_far.at(total)
    return service.name, total, rows


def _row(subscriber: str, fact: Envelope) -> dict[str, Any]:
    return {
        "subscriber": subscriber, "type": fact.type, "key": fact.subject, "stream": fact.stream, "seq": fact.seq,
        "at": rfc3339(fact.time),
    }  # fmt: skip


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
