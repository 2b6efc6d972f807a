"""One effect or none, on a real broker: whatever comes twice, too late or in the wrong order.

Payment is a real participant, on SQLite and on Redis; the test plays the orchestrator. What counts is what the
participant's own data say, not what it answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from choros import (
    App,
    Client,
    Failure,
    Outcome,
    Pivot,
    Refused,
    RetryPolicy,
    Saga,
    Service,
    Step,
)
from choros.app.handler import Call
from choros.messages import Command, Message, Reply
from choros.roles.addresses import database_at, open_transport, store_at
from choros.runtime.orchestrator.history import read_history
from choros.runtime.orchestrator.orchestrator import Orchestrator
from choros.runtime.participant.participant import Participant
from choros.sources import fresh_id
from choros.store.barrier import Database, Ok, Transaction, value_of
from choros.store.redis.transaction import RedisTransaction
from choros.store.sqlite.transaction import SqliteTransaction
from choros.transport.port import Consumer, Published, Transport
from choros.transport.topology import Names, topology
from choros.wire.envelope import Envelope, decode
from tests.end_to_end.shop import remove, until
from tests.patience import PATIENCE


class Paid(Reply):
    payment: str


class PaidBack(Reply):
    payment: str


class Pay(Command[Paid], refusals=("no_cover",)):
    purse: str
    declined: bool = False


class PayBack(Command[PaidBack]):
    purse: str


async def add(db: Transaction, purse: str, entry: str, amount: int) -> None:
    """The effect: a sum, and an entry for every time that it was touched."""
    if isinstance(db, SqliteTransaction):
        await db.execute("INSERT INTO entry (purse, what, amount) VALUES (?, ?, ?)", (purse, entry, amount))
    elif isinstance(db, RedisTransaction):
        await db.incrby(f"{purse}:sum", amount)
        await db.rpush(f"{purse}:entries", entry)


def payment_service(held: asyncio.Event | None = None) -> Service:
    """With `held`, a handler waits for that in the middle of its transaction."""
    service = Service("payment")

    @service.prepares
    async def create_table(db: Transaction) -> None:
        if isinstance(db, SqliteTransaction):
            await db.execute("CREATE TABLE IF NOT EXISTS entry (purse TEXT, what TEXT, amount INTEGER)")

    @service.handles(Pay)
    async def pay(command: Pay, db: Transaction, call: Call) -> Paid:
        await add(db, command.purse, "paid", -1)
        if command.declined:
            raise Refused("no_cover")
        if held is not None:
            await held.wait()
        return Paid(payment=call.key)

    @service.handles(PayBack)
    async def pay_back(command: PayBack, db: Transaction, call: Call) -> PaidBack:
        await add(db, command.purse, "paid back", +1)
        return PaidBack(payment=call.key)

    return service


@dataclass
class Desk:
    """One participant, and the orchestrator's side of it."""

    broker: str
    database_url: str
    namespace: str
    service: Service
    outside: Transport
    inbox: Consumer | None = None
    database: Database | None = None
    transport: Transport | None = None
    running: asyncio.Task[None] | None = None
    participant: Participant | None = None
    answers: list[Envelope] = field(default_factory=list)

    @property
    def purse(self) -> str:
        return f"{self.namespace}-purse"

    async def open(self) -> None:
        """Start the participant, as a new process would."""
        self.database = database_at(self.database_url, f"{self.namespace}.payment")
        await self.database.open()
        assert all(isinstance(r, Ok) for r in await self.database.run(self.service.preparations))
        self.transport = open_transport(self.broker, self.namespace, "payment")
        await self.transport.connect()
        self.participant = Participant(
            self.service, namespace=self.namespace, transport=self.transport, database=self.database
        )
        self.running = asyncio.create_task(self.participant.run())

    async def cut(self) -> None:
        """End it where it stands: no drain, no goodbye."""
        assert self.running and self.transport and self.database
        self.running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.running
        await self.transport.close()
        await self.database.close()

    def command(self, message: Message, operation: str = "do", *, saga: str = "s1", **more: Any) -> Envelope:
        fields: dict[str, Any] = {
            "id": fresh_id(), "kind": "command", "type": message.type_name, "source": f"/{self.namespace}/app",
            "time": time.time(), "data": message.to_json(), "to": "payment", "correlation_id": saga,
            "causation_id": "start", "key": f"{saga}:pay:1:{operation}", "saga": "order", "saga_version": 1,
            "step": "pay", "attempt": 1, "reply_to": Names(self.namespace).reply_queue("app"),
            "not_after": time.time() + 300,
        }  # fmt: skip
        return Envelope(**(fields | more))

    def do(self, **more: Any) -> Envelope:
        return self.command(Pay(purse=self.purse), **more)

    def refusable(self, **more: Any) -> Envelope:
        return self.command(Pay(purse=self.purse, declined=True), **more)

    def undo(self, **more: Any) -> Envelope:
        return self.command(PayBack(purse=self.purse), "undo", **more)

    async def send(self, *commands: Envelope) -> None:
        assert set(await self.outside.send(commands)) == {Published.CONFIRMED}

    async def replies(self, count: int) -> list[Envelope]:
        """The next so many replies."""
        assert self.inbox is not None
        async with asyncio.timeout(PATIENCE):
            while len(self.answers) < count:
                for delivery in await self.inbox.receive(100):
                    self.answers.append(decode(delivery.wire))
                    await delivery.ack()
        found, self.answers = self.answers[:count], self.answers[count:]
        return found

    async def ask(self, *commands: Envelope) -> list[Envelope]:
        """Send them one after the other's reply.

        What is delivered again after a cut is answered again, and not counted here."""
        found = []
        for command in commands:
            await self.send(command)
            while (reply := (await self.replies(1))[0]).key != command.key:
                pass
            found.append(reply)
        return found

    async def entries(self) -> list[str]:
        """What happened to the purse, from the participant's own data, read past the framework."""
        if self.database_url.startswith("sqlite"):
            return await asyncio.to_thread(self._rows)
        async with Redis.from_url(self.database_url, decode_responses=True) as client:
            found = [str(entry) for entry in await client.lrange(f"{self.purse}:entries", 0, -1)]
            assert int(await client.get(f"{self.purse}:sum") or 0) == found.count("paid back") - found.count("paid")
            return found

    def _rows(self) -> list[str]:
        with closing(sqlite3.connect(self.database_url.removeprefix("sqlite:///"))) as file:
            return [what for (what,) in file.execute("SELECT what FROM entry ORDER BY rowid")]


@pytest.fixture(params=["sqlite", "redis"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path, redis_url: str) -> str:
    return redis_url if request.param == "redis" else f"sqlite:///{tmp_path}/payment.db"


@asynccontextmanager
async def open_desk(broker: str, database_url: str, namespace: str, service: Service) -> AsyncIterator[Desk]:
    outside = open_transport(broker, namespace, "test")
    await outside.connect()
    desk = Desk(broker, database_url, namespace, service, outside)
    await outside.declare(topology(namespace, services=["payment"], applications=["app"]))
    try:
        await desk.open()
        yield desk
    finally:
        await desk.cut()
        await outside.close()
        await remove(broker, topology(namespace, services=["payment", "parcels"], applications=["app"]))


@pytest.fixture
async def desk(amqp_url: str, database_url: str, namespace: str, redis_client: Redis) -> AsyncIterator[Desk]:
    async with open_desk(amqp_url, database_url, namespace, payment_service()) as desk:
        desk.inbox = await desk.outside.consume(Names(namespace).reply_queue("app"), 100)
        yield desk


def outcomes(replies: list[Envelope]) -> list[str]:
    return [f"{reply.outcome} {reply.type}" for reply in replies]


async def test_a_command_delivered_twice(desk: Desk) -> None:
    command = desk.do()
    first, second, third = await desk.ask(command, command, desk.do(attempt=2))
    assert await desk.entries() == ["paid"]
    assert first.data == second.data == third.data


async def all_taken(count: int, *desks: Desk) -> None:
    """Until so many commands have been answered, or were copies of what was just being answered."""

    async def taken() -> bool:
        seen = [desk.participant.counts for desk in desks if desk.participant]
        return sum(one["ok"] + one["repeated"] + one["copies"] for one in seen) == count

    await until("all are taken", taken)


async def test_many_copies_at_once(desk: Desk) -> None:
    """More than one batch, from two connections."""
    copies = [desk.do(attempt=attempt % 3 + 1) for attempt in range(60)]
    async with asyncio.TaskGroup() as group:
        for part in range(6):
            group.create_task(desk.send(*copies[part::6]))
    await all_taken(60, desk)
    assert await desk.entries() == ["paid"]
    assert len({reply.data for reply in await desk.replies(1)}) == 1


async def test_two_participants_on_one_database(desk: Desk) -> None:
    """Replicas: the broker hands copies of one command to both."""
    other = Desk(desk.broker, desk.database_url, desk.namespace, payment_service(), desk.outside)
    await other.open()
    try:
        await desk.send(*(desk.do(saga=f"s{saga}") for _ in range(8) for saga in range(5)))
        await all_taken(40, desk, other)
    finally:
        await other.cut()
    assert await desk.entries() == ["paid"] * 5


async def test_a_command_again_after_a_restart(desk: Desk) -> None:
    command = desk.do()
    (first,) = await desk.ask(command)
    await desk.cut()
    await desk.send(command)
    await desk.open()
    (second,) = await desk.replies(1)
    assert await desk.entries() == ["paid"]
    assert second.id == first.id


async def test_a_participant_that_is_cut_off_again_and_again(desk: Desk) -> None:
    """Twenty commands, each sent three times, while the participant goes down and comes back."""
    for _ in range(3):
        await desk.send(*(desk.do(saga=f"s{saga}") for saga in range(20)))
        await asyncio.sleep(0.02)  # not to wait for something, but to hit it somewhere
        await desk.cut()
        await desk.open()
    keys: set[str] = set()

    async def all_answered() -> bool:
        keys.update(reply.key for reply in await desk.replies(1))
        return len(keys) == 20

    await until("every command is answered", all_answered)
    assert await desk.entries() == ["paid"] * 20


async def test_an_undo_before_its_do(desk: Desk) -> None:
    replies = await desk.ask(desk.undo(), desk.do(), desk.do(attempt=2), desk.undo())
    assert await desk.entries() == []
    nothing, refused = "ok choros.nothing-to-undo.v1", "refused choros.failure.v1"
    assert outcomes(replies) == [nothing, refused, refused, nothing]


async def test_a_do_after_its_undo(desk: Desk) -> None:
    replies = await desk.ask(desk.do(), desk.undo(), desk.do(attempt=2), desk.undo(attempt=2))
    assert await desk.entries() == ["paid", "paid back"]
    assert [reply.outcome for reply in replies] == ["ok"] * 4


async def test_an_undo_before_its_do_also_after_a_restart(desk: Desk) -> None:
    await desk.ask(desk.undo())
    await desk.cut()
    await desk.open()
    (reply,) = await desk.ask(desk.do())
    assert await desk.entries() == []
    assert Failure.from_json(reply.data).code == "cancelled"


async def test_do_and_undo_in_one_batch(desk: Desk) -> None:
    """Whichever is first: both effects or none."""
    await desk.cut()
    for saga in range(10):
        pair = [desk.do(saga=f"s{saga}"), desk.undo(saga=f"s{saga}")]
        await desk.send(*(pair if saga % 2 else reversed(pair)))
    await desk.open()
    await desk.replies(20)
    entries = await desk.entries()
    assert entries.count("paid") == entries.count("paid back") == 5


async def test_a_refused_command_again(desk: Desk) -> None:
    """Nothing of what its handler did before it refused remains, and it is asked only once."""
    replies = await desk.ask(desk.refusable(), desk.refusable(attempt=2))
    await desk.cut()
    await desk.open()
    replies += await desk.ask(desk.refusable(attempt=3), desk.undo())
    assert await desk.entries() == []
    assert outcomes(replies) == ["refused choros.failure.v1"] * 3 + ["ok choros.nothing-to-undo.v1"]
    assert len({reply.id for reply in replies[:3]}) == 1


async def test_a_command_past_its_deadline(desk: Desk) -> None:
    """It is refused for good: a later copy with more time is refused as well."""
    late = await desk.ask(desk.do(not_after=time.time() - 100), desk.do(attempt=2))
    assert await desk.entries() == []
    assert [Failure.from_json(reply.data).code for reply in late] == ["expired", "expired"]


# --- with an orchestrator ---------------------------------------------------------------------------------------------


class Order(Message):
    purse: str


def pay(order: Order) -> Pay:
    return Pay(purse=order.purse)


def pay_back(order: Order) -> PayBack:
    return PayBack(purse=order.purse)


class Sent(Reply):
    parcel: str


class SendParcel(Command[Sent], refusals=("no_van",)):
    purse: str


def send_parcel(order: Order, paid: Paid) -> SendParcel:
    return SendParcel(purse=order.purse)


def order_saga(total: float) -> Saga[Order]:
    retry = RetryPolicy(initial=timedelta(milliseconds=100), total=timedelta(seconds=total))
    first = Step(pay, to="payment", compensation=pay_back, timeout=timedelta(milliseconds=400), retry=retry)
    parcel = Pivot(send_parcel, to="parcels", timeout=timedelta(seconds=20))
    return Saga("order", start=Order, key=lambda order: order.purse, steps=(first, parcel))


def parcels_service(desk_url: str) -> Service:
    """A second effect in the same kind of database: it must happen once, however often payment's reply comes."""
    service = Service("parcels")

    @service.handles(SendParcel)
    async def send(command: SendParcel, db: Transaction) -> Sent:
        await add(db, command.purse, "parcel", 0)
        return Sent(parcel="1")

    return service


@dataclass
class Round:
    """A saga with its orchestrator beside the desk."""

    desk: Desk
    saga: Saga[Order]
    client: Client

    async def start(self) -> str:
        return await self.client.start(self.saga, Order(purse=self.desk.purse))

    async def outcome(self, saga_id: str) -> Outcome:
        return await self.client.wait(saga_id, timeout=timedelta(seconds=PATIENCE))

    async def events(self, saga_id: str) -> list[str]:
        account = await self.client.show(saga_id)
        return [one.kind for row in account.history for one in read_history(row.events)]

    async def seen(self, saga_id: str, kind: str, count: int = 1) -> None:
        async def enough() -> bool:
            return (await self.events(saga_id)).count(kind) >= count

        await until(f"{count} {kind}", enough)


@asynccontextmanager
async def open_round(desk: Desk, total: float = 20) -> AsyncIterator[Round]:
    parcels = parcels_service(desk.database_url)
    saga = order_saga(total)
    app = App(desk.namespace, name="app", sagas=[saga], services=[desk.service, parcels])
    transport, store = open_transport(desk.broker, desk.namespace, "app"), store_at("memory://")
    await transport.connect()
    await store.open()
    orchestrator = Orchestrator(app, transport=transport, store=store, timers_every=0.05)
    await orchestrator.declare()
    running = asyncio.create_task(orchestrator.run())
    other = open_transport(desk.broker, desk.namespace, "parcels")
    await other.connect()
    await other.declare(topology(desk.namespace, services=["parcels"]))
    assert desk.database is not None
    vans = Participant(parcels, namespace=desk.namespace, transport=other, database=desk.database)
    driving = asyncio.create_task(vans.run())
    try:
        client = Client(app, store=store, transport=transport, decider=orchestrator.decider)
        yield Round(desk, saga, client)
    finally:
        orchestrator.stop()
        await vans.stop()
        await asyncio.gather(running, driving)
        await transport.close()
        await other.close()
        await store.close()


async def test_a_reply_twice(amqp_url: str, database_url: str, namespace: str, redis_client: Redis) -> None:
    """The stored reply once more under its own id, and the same answer under other ids: the next step runs once."""
    async with open_desk(amqp_url, database_url, namespace, payment_service()) as desk, open_round(desk) as round_:
        saga_id = await round_.start()
        assert (await round_.outcome(saga_id)).status == "completed"
        assert desk.database is not None
        row = value_of(*await desk.database.run([lambda transaction: transaction.read_row(f"{saga_id}:pay:1:do")]))
        reply = Envelope.loads(row.content)
        again = [reply, reply, *(Envelope.loads(row.content.replace(reply.id, fresh_id())) for _ in range(3))]
        await desk.send(*again)
        await round_.seen(saga_id, "late_reply", 3)
        assert sorted(await desk.entries()) == ["paid", "parcel"]
        assert (await round_.events(saga_id)).count("replied") == 2


async def test_a_reply_after_the_timeout(amqp_url: str, database_url: str, namespace: str, redis_client: Redis) -> None:
    """The first attempt answers while later ones are already under way: it decides, and all of them are one."""
    held = asyncio.Event()
    async with open_desk(amqp_url, database_url, namespace, payment_service(held)) as desk, open_round(desk) as round_:
        saga_id = await round_.start()
        await round_.seen(saga_id, "timed_out", 2)
        held.set()
        assert (await round_.outcome(saga_id)).status == "completed"
        assert sorted(await desk.entries()) == ["paid", "parcel"]


async def test_a_reply_after_the_saga_has_given_up(
    amqp_url: str, database_url: str, namespace: str, redis_client: Redis
) -> None:
    """The step in doubt is undone: its undo waits behind it, and nothing remains."""
    held = asyncio.Event()
    service = payment_service(held)
    async with open_desk(amqp_url, database_url, namespace, service) as desk, open_round(desk, 0.5) as round_:
        saga_id = await round_.start()

        async def undoing() -> bool:
            return (await round_.client.outcome(saga_id)).status == "compensating"

        await until("the saga gives up", undoing)
        assert await desk.entries() == []
        held.set()
        assert (await round_.outcome(saga_id)).status == "compensated"
        assert await desk.entries() == ["paid", "paid back"]


async def test_a_participant_that_was_away_past_the_end(
    amqp_url: str, database_url: str, namespace: str, redis_client: Redis
) -> None:
    """All attempts and the undo wait in the queue together; none of the attempts may have an effect of its own."""
    async with open_desk(amqp_url, database_url, namespace, payment_service()) as desk, open_round(desk, 0.5) as round_:
        assert desk.participant is not None
        await desk.participant.stop()
        saga_id = await round_.start()
        await round_.seen(saga_id, "timed_out", 2)

        async def undoing() -> bool:
            return (await round_.client.outcome(saga_id)).status == "compensating"

        await until("the saga gives up", undoing)
        await desk.cut()
        await desk.open()
        assert (await round_.outcome(saga_id)).status == "compensated"
        entries = await desk.entries()
        assert entries in ([], ["paid", "paid back"])
