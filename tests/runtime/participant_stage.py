"""A stage for participants and subscribers: real ones on the memory transport; the test plays orchestrator and fate."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import timedelta
from typing import Any, TypeVar

from choros.app.handler import Call
from choros.app.service import Service
from choros.app.settings import Settings
from choros.errors import Refused, StoreUnreachable
from choros.messages import Close, Command, Fact, Message, Reply
from choros.runtime.participant.participant import Participant
from choros.runtime.subscriber.subscriber import Cadence, Subscriber
from choros.sources import fresh_id
from choros.store.barrier import Carry, Database, Job, JobResult, Listed, Memory, NotDone, Row, Transaction, value_of
from choros.store.memory.barrier import MemoryDatabase, MemoryTransaction
from choros.store.redis.transaction import RedisTransaction
from choros.store.sqlite.transaction import SqliteTransaction
from choros.testing.conformance.barrier import row_of
from choros.transport.memory import MemoryBroker, MemoryTransport
from choros.transport.port import Consumer, Health, Published, State
from choros.transport.topology import Names, topology
from choros.wire.envelope import Envelope, Wire, decode
from tests.patience import PATIENCE

T = TypeVar("T")
NAMES = Names("shop")
REPLY_TO = NAMES.reply_queue("order")
NOW = 1_700_000_000.0


class Charged(Reply):
    payment: str


class Refunded(Reply):
    payment: str


class Charge(Command[Charged], refusals=("card_declined",)):
    order: str
    how: str = "ok"
    card: str = ""


class Refund(Command[Refunded], refusals=("card_declined",)):
    order: str
    how: str = "ok"


class Paid(Fact):
    order: str
    how: str = "ok"


class Unpaid(Fact):
    order: str


async def effect(db: Transaction, name: str, amount: int) -> None:
    """What a handler does to its database."""
    if isinstance(db, MemoryTransaction):
        await db.put(name, await db.get(name, 0) + amount)
    elif isinstance(db, SqliteTransaction):
        await db.execute("CREATE TABLE IF NOT EXISTS effect (name TEXT PRIMARY KEY, amount INTEGER)")
        await db.execute(
            "INSERT INTO effect VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET amount = amount + excluded.amount",
            (name, amount),
        )
    elif isinstance(db, RedisTransaction):
        await db.hincrby(name, "amount", amount)


async def misbehave(how: str, card: str = "") -> None:
    """The ways a handler can fail."""
    if how == "declined":
        raise Refused("card_declined", f"no cover on {card}")
    if how == "surprised":
        raise Refused("moon_phase", f"card {card}")
    if how == "broken":
        raise ValueError(f"cannot charge {card}")
    if how == "cancelled":
        raise asyncio.CancelledError
    if how == "slow":
        await asyncio.sleep(3600)


def make_service(calls: list[str] | None = None) -> Service:
    """A payment service whose effects are in its database."""
    service, seen = Service("payment"), calls if calls is not None else []

    @service.handles(Charge)
    async def charge(command: Charge, db: Transaction, call: Call) -> Charged:
        seen.append(call.key)
        await effect(db, command.order, 1)  # before the failures: they must take it back
        await misbehave(command.how, command.card)
        if command.how == "huge":
            return Charged(payment="x" * 2_000_000)
        return Refunded(payment="?") if command.how == "wrong" else Charged(payment=call.key)  # type: ignore[return-value]

    @service.handles(Refund)
    async def refund(command: Refund, db: Transaction, call: Call) -> Refunded:
        seen.append(call.key)
        await effect(db, command.order, -1)
        await misbehave(command.how)
        return Refunded(payment=call.key)

    return service


def command(message: Message, operation: str = "do", *, saga: str = "s1", round_: int = 1, **more: Any) -> Envelope:
    """A command as an orchestrator would send it."""
    fields: dict[str, Any] = {
        "id": fresh_id(),
        "kind": "command",
        "type": message.type_name,
        "source": "/shop/payment" if more.get("kind") == "reply" else "/shop/order",
        "time": NOW,
        "data": message.to_json(),
        "to": "payment",
        "subject": "o-1",
        "correlation_id": saga,
        "causation_id": "start",
        "key": f"{saga}:charge:{round_}:{operation}",
        "saga": "order",
        "saga_version": 3,
        "step": "charge",
        "attempt": 1,
        "reply_to": REPLY_TO,
        "not_after": NOW + 100,
        "traceparent": "00-" + "a" * 32 + "-" + "b" * 16 + "-01",
        "tracestate": "x=y",
        "own_headers": '{"tenant":"acme"}',
    }
    return Envelope(**(fields | more))


def close(of: Any, *, saga: str = "s1", **more: Any) -> Envelope:
    """The command that settles another one's key for good."""
    return command(Close(of=of), "close", saga=saga, **more)


def fact(message: Fact, seq: int = 1, **more: Any) -> Envelope:
    """A fact as an orchestrator would publish it."""
    fields: dict[str, Any] = {
        "id": fresh_id(),
        "kind": "fact",
        "type": message.type_name,
        "source": "/shop/order",
        "time": NOW,
        "data": message.to_json(),
        "stream": "s1",
        "seq": seq,
        "correlation_id": "s1",
    }
    return Envelope(**(fields | more))


class Faulty(Database):
    """A database that fails when told to: before a run, or in its commit, after the handlers ran."""

    def __init__(self, inner: Database) -> None:
        self.inner = inner
        self.refusing = 0
        self.losing = 0
        self.runs: list[int] = []

    @property
    def transaction_type(self) -> type[Transaction]:
        return self.inner.transaction_type

    async def open(self) -> None:
        await self.inner.open()

    async def schema_version(self) -> int:
        return await self.inner.schema_version()

    async def upgrade(self, carry: Carry) -> int:
        return await self.inner.upgrade(carry)

    async def close(self) -> None:
        await self.inner.close()

    async def run(self, jobs: Sequence[Job[T]]) -> Sequence[JobResult[T]]:
        self.runs.append(len(jobs))
        if self.refusing:
            self.refusing -= 1
            return [NotDone(StoreUnreachable("It is away."))] * len(jobs)
        if self.losing:
            self.losing -= 1
            return await self._lose(jobs)
        return await self.inner.run(jobs)

    async def _lose(self, jobs: Sequence[Job[T]]) -> Sequence[JobResult[T]]:
        async def lost(transaction: Transaction) -> None:
            for job in jobs:
                with contextlib.suppress(Exception):
                    await job(transaction)
            raise StoreUnreachable("The commit failed.")

        await self.inner.run([lost])
        return [NotDone(StoreUnreachable("The commit failed."))] * len(jobs)

    async def unsent(self, limit: int) -> Sequence[Row]:
        return await self.inner.unsent(limit)

    async def listed(self, state: Listed, limit: int) -> Sequence[Row]:
        return await self.inner.listed(state, limit)

    async def remembered(self, memory: Memory, since: float, after: str, limit: int) -> Sequence[Row]:
        return await self.inner.remembered(memory, since, after, limit)

    async def mark_sent(self, keys: Sequence[str]) -> None:
        await self.inner.mark_sent(keys)

    async def prune(self, now: float) -> int:
        return await self.inner.prune(now)

    async def forget(self, memory: Memory, before: float) -> int:
        return await self.inner.forget(memory, before)


class Deaf:
    """A transport that answers sends with what it is told to, as long as it is told to; the rest is real."""

    def __init__(self, inner: MemoryTransport) -> None:
        self._inner = inner
        self.fates: list[Published] = []
        self.held: asyncio.Event | None = None
        self.silent = ""
        """A reply queue that does not answer, as the transport has found out."""
        self.state: State = "connected"
        self.sent: list[Envelope] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    @property
    def health(self) -> Health:
        silent = (f"{NAMES.replies_of('payment')}:{self.silent}",) if self.silent else ()
        return replace(self._inner.health, state=self.state, unconfirmed=silent)

    async def send(self, messages: Sequence[Envelope]) -> Sequence[Published]:
        if self.held is not None:
            await self.held.wait()
        self.sent += messages
        if self.fates:
            return [self.fates.pop(0)] * len(messages)
        answered = iter(await self._inner.send([one for one in messages if one.to != self.silent]))
        return [Published.UNKNOWN if one.to == self.silent else next(answered) for one in messages]


@dataclass
class Stage:
    """One service at work."""

    broker: MemoryBroker
    outside: MemoryTransport
    transport: Deaf
    database: Faulty
    service: Service
    runner: Participant | Subscriber
    inbox: Consumer
    clock: list[float]
    running: asyncio.Task[None] | None = None
    answers: list[Envelope] = field(default_factory=list)

    @property
    def counts(self) -> dict[str, int]:
        return dict(self.runner.counts)

    async def send(self, *messages: Envelope) -> None:
        """Put commands into the service's queue."""
        published = await self.outside.send(messages)
        assert set(published) == {Published.CONFIRMED}

    async def publish(self, *facts: Envelope) -> None:
        await self.outside.publish(facts)

    async def put(self, wire: Wire, exchange: str = NAMES.commands, key: str = "payment") -> None:
        """Put anything at all into the service's queue."""
        assert await self.outside.post(exchange, key, wire) is Published.CONFIRMED

    async def replies(self, count: int) -> list[Envelope]:
        """The next replies, in the order of their arrival."""
        async with asyncio.timeout(PATIENCE):
            while len(self.answers) < count:
                for delivery in await self.inbox.receive(100):
                    self.answers.append(decode(delivery.wire))
                    await delivery.ack()
        found, self.answers = self.answers[:count], self.answers[count:]
        return found

    async def ask(self, *messages: Envelope) -> list[Envelope]:
        """Send commands, one after the other's reply."""
        found = []
        for message in messages:
            await self.send(message)
            found += await self.replies(1)
        return found

    async def idle(self, queue: str = "shop.payment") -> None:
        """Until the service has settled everything."""
        await eventually(lambda: unsettled(self, queue) == 0)

    async def effects(self) -> dict[str, int]:
        """What the handlers did to the database."""
        return await read_effects(self.database.inner)

    async def row(self, key: str) -> Row | None:
        return await row_of(self.database.inner, key)

    def parked(self, queue: str = "shop.payment") -> list[str]:
        """Why messages were parked."""
        return [str(wire.headers["x-choros-reason"]) for wire in self.broker.waiting(NAMES.dead_queue(queue))]

    async def restart(self) -> None:
        """Kill the service where it stands, lose its connection, and start it anew."""
        await self.kill()
        self.restart_from_nothing()

    def restart_from_nothing(self) -> None:
        """Start the service anew after `kill`."""
        self.start(type(self.runner)(self.service, **_settings(self)))

    async def kill(self) -> None:
        """Cut the service off in the middle of whatever it does; what it has not settled goes back."""
        assert self.running is not None
        self.running.cancel()
        with contextlib.suppress(BaseException):
            await self.running
        await self.cut()

    async def cut(self) -> None:
        """Lose the service's connection, so that all it has not settled is back in its queue."""
        await self.transport.close()
        await self.transport.connect()

    def start(self, runner: Participant | Subscriber | None = None) -> None:
        self.runner = runner or self.runner
        self.running = asyncio.create_task(self.runner.run())


def set_by(given: dict[str, Any], kind: type[Participant] | type[Subscriber]) -> dict[str, Any]:
    """Options of a role, those of them that are settings (times in seconds) as settings, or as the pace that it has."""
    kinds: dict[str, Callable[[float], Any]] = {"prefetch": int, "concurrency": int}
    kinds |= dict.fromkeys(("handler_time", "drain", "forget_after", "clock_skew"), lambda s: timedelta(seconds=s))
    values = {name: kind(given[name]) for name, kind in kinds.items() if name in given}
    paced = {one.name for one in fields(Cadence)} if kind is Subscriber else set()
    pace = {"cadence": Cadence(**{name: given[name] for name in paced & given.keys()})} if paced else {}
    rest = {name: value for name, value in given.items() if name not in kinds.keys() | paced}
    return rest | pace | {"settings": Settings(**values)}


def unsettled(stage: Stage, queue: str) -> int:
    """Messages of a queue that nobody has settled yet."""
    held = stage.broker._queues[queue]
    return len(held.ready) + sum(len(line._unsettled) for line in held.lines)


async def eventually(check: Callable[[], bool]) -> None:
    """Return once it is so."""
    async with asyncio.timeout(PATIENCE):
        while not check():
            await asyncio.sleep(0.005)


async def read_effects(database: Database) -> dict[str, int]:
    if isinstance(database, MemoryDatabase):
        return {key: amount for key, amount in database.items.items() if amount}

    async def read(transaction: Transaction) -> list[tuple[Any, ...]]:
        assert isinstance(transaction, SqliteTransaction)
        await transaction.execute("CREATE TABLE IF NOT EXISTS effect (name TEXT PRIMARY KEY, amount INTEGER)")
        return await transaction.fetch("SELECT name, amount FROM effect WHERE amount <> 0")

    rows = value_of(*await database.run([read]))
    return dict(rows)


def _settings(stage: Stage) -> dict[str, Any]:
    shared: dict[str, Any] = {"namespace": "shop", "transport": stage.transport, "database": stage.database}
    publisher = {"publisher": stage.transport} if isinstance(stage.runner, Participant) else {}
    return shared | {"clock": lambda: stage.clock[0]} | publisher


@contextlib.asynccontextmanager
async def stage_for(
    service: Service, database: Database | None = None, *, kind: type[Participant] | type[Subscriber] = Participant,
    start: bool = True, **more: Any,
) -> AsyncIterator[Stage]:  # fmt: skip
    """Set up a broker, a database and one service; everything ends with the block."""
    broker, clock = MemoryBroker(), [NOW]
    outside, transport = MemoryTransport(broker, "shop"), Deaf(MemoryTransport(broker, "shop"))
    await outside.connect()
    faulty = Faulty(database or MemoryDatabase())
    await transport.connect()
    await transport.declare(
        topology("shop", services=[service.name], applications=["order", "other"], subscribers=[service.name, "other"])
    )
    await faulty.open()
    usual: dict[str, Any] = {
        "namespace": "shop",
        "transport": transport,
        "database": faulty,
        "clock": lambda: clock[0],
    }
    usual |= {"publisher": transport} if kind is Participant else {}
    runner = kind(service, **(usual | set_by(more, kind)))
    inbox = await outside.consume(REPLY_TO, 1000)
    stage = Stage(broker, outside, transport, faulty, service, runner, inbox, clock)
    if start:
        stage.start()
    try:
        yield stage
    finally:
        if stage.running is not None:
            await stage.kill()
        await outside.close()
        await faulty.close()
