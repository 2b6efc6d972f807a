"""Handlers without `async`: in a thread, with a face of their transaction; in the simulation in turns with the loop."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from choros import (
    App,
    BlockingMemoryTransaction,
    BlockingRedisTransaction,
    BlockingSqliteTransaction,
    BlockingTransaction,
    Call,
    Command,
    DeclarationError,
    Done,
    LocalUndo,
    MemoryTransaction,
    Message,
    Pivot,
    RedisTransaction,
    Refused,
    Saga,
    Service,
    Settings,
    SqliteTransaction,
    Transaction,  # fmt: skip
)
from choros.app.blocking import CutOff, in_turns
from choros.runtime.host.threads import NoThread, Threads
from choros.runtime.host.watchdog import watching
from choros.runtime.subscriber.subscriber import Subscriber
from choros.store.barrier import Database, value_of
from choros.store.memory.barrier import MemoryDatabase
from choros.store.redis.barrier import RedisDatabase
from choros.store.sqlite.barrier import SqliteDatabase
from choros_verify import Scene, campaign
from tests.captured import capture_logs
from tests.patience import PATIENCE
from tests.runtime.participant_stage import Charge, Charged, Paid, Stage, command, eventually, fact, stage_for

TENANT: contextvars.ContextVar[str] = contextvars.ContextVar("tenant", default="nobody")


def add(db: BlockingTransaction, name: str) -> None:
    """One more, in whatever database it is."""
    if isinstance(db, BlockingMemoryTransaction):
        db.put(name, db.get(name, 0) + 1)
    elif isinstance(db, BlockingSqliteTransaction):
        db.execute("CREATE TABLE IF NOT EXISTS effect (name TEXT PRIMARY KEY, amount INTEGER)")
        amount = (db.fetchone("SELECT amount FROM effect WHERE name = ?", (name,)) or (0,))[0]
        assert db.executemany("INSERT OR REPLACE INTO effect VALUES (?, ?)", [(name, amount + 1)]) == 1
        assert db.fetch("SELECT amount FROM effect WHERE name = ?", (name,)) == [(amount + 1,)]
    elif isinstance(db, BlockingRedisTransaction):
        db.hset(name, {"amount": int(db.hget(name, "amount") or 0) + 1})


def service_on(face: type[BlockingTransaction]) -> Service:
    service = Service("payment")

    def charge(command: Charge, db: BlockingTransaction, call: Call) -> Charged:
        assert threading.current_thread() is not threading.main_thread()
        add(db, command.order)
        try:
            with db.savepoint():
                add(db, command.order)
                raise LookupError
        except LookupError:
            pass
        if command.how == "declined":
            raise Refused("card_declined")
        if command.how == "broken":
            raise StopIteration
        return Charged(payment=call.key)

    charge.__annotations__["db"] = face
    service.handles(Charge)(charge)

    def paid(fact: Paid, db: BlockingTransaction) -> None:
        add(db, fact.order)

    paid.__annotations__["db"] = face
    service.on(Paid)(paid)
    return service


async def kept(stage: Stage, order: str) -> int:
    """The effects of this order, as a later transaction finds them."""

    async def read(db: Transaction) -> int:
        return int(await db.hget(order, "amount") or 0) if isinstance(db, RedisTransaction) else -1

    if isinstance(stage.database.inner, RedisDatabase):
        return value_of(*await stage.database.inner.run([read]))
    return (await stage.effects())[order]


FACES = {
    "memory": BlockingMemoryTransaction, "sqlite": BlockingSqliteTransaction, "redis": BlockingRedisTransaction
}  # fmt: skip


@pytest.fixture(params=["memory", "sqlite", pytest.param("redis", marks=pytest.mark.servers)])
async def stage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stage]:
    database: Database = MemoryDatabase()
    if request.param == "sqlite":
        database = SqliteDatabase(tmp_path / "payment.db")
    elif request.param == "redis":
        database = RedisDatabase(request.getfixturevalue("redis_url"), request.getfixturevalue("namespace"))
    await database.open()
    async with stage_for(service_on(FACES[request.param]), database) as stage:
        yield stage


async def test_its_effect_is_applied_once_and_a_refusal_or_failure_takes_it_back(
    stage: Stage, request: pytest.FixtureRequest
) -> None:
    order = str(request.node.name)
    (ok,) = await stage.ask(command(Charge(order=order)))
    (again,) = await stage.ask(command(Charge(order=order), attempt=2))
    assert (ok.outcome, again.id) == ("ok", ok.id)
    (refused,) = await stage.ask(command(Charge(order=order, how="declined"), saga="s2"))
    (failed,) = await stage.ask(command(Charge(order=order, how="broken"), saga="s3"))
    assert (refused.outcome, failed.outcome) == ("refused", "failed")
    assert await kept(stage, order) == 1


# --- threads ----------------------------------------------------------------------------------------------------------


class Hall:
    """Where handlers stand until they are let go."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.begun: list[str] = []

    def service(self, **settings: Any) -> Service:
        service = Service("payment", settings=Settings(**settings))

        @service.handles(Charge)
        def charge(command: Charge, call: Call) -> Charged:
            self.begun.append(command.order)
            assert self.open.wait(PATIENCE)
            return Charged(payment=call.key)

        return service


async def test_a_full_pool_holds_commands_back_and_loses_none() -> None:
    hall = Hall()
    async with stage_for(hall.service(threads=2, prefetch=4)) as stage:
        await stage.send(*(command(Charge(order=str(number)), saga=f"s{number}") for number in range(10)))
        await eventually(lambda: len(hall.begun) == 2)
        await asyncio.sleep(0)
        assert len(hall.begun) == 2
        hall.open.set()
        assert {one.outcome for one in await stage.replies(10)} == {"ok"}
    assert sorted(hall.begun) == sorted(map(str, range(10)))


async def test_a_call_that_finds_no_thread_is_one_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    hall = Hall()
    async with stage_for(hall.service(threads=1, handler_time=timedelta(milliseconds=50))) as stage:
        (cut_off,) = await stage.ask(command(Charge(order="o1"), saga="s1"))
        assert "choros.handler.left_behind" in caplog.text
        (failed,) = await stage.ask(command(Charge(order="o2"), saga="s2"))
        hall.open.set()
    assert [one.outcome for one in (cut_off, failed)] == ["failed"] * 2
    (said,) = [line for line in caplog.records if getattr(line, "error", "") == "NoThread"]
    assert (said.exc_text, "All 1 threads are at work on calls that were cut off" in said.getMessage()) == (None, True)


async def test_the_loop_turns_while_a_handler_blocks_its_thread() -> None:
    hall = Hall()
    async with stage_for(hall.service()) as stage:
        await stage.send(command(Charge(order="o1")))
        await eventually(lambda: bool(hall.begun))
        for _ in range(5):
            await asyncio.sleep(0.001)
        hall.open.set()
        await stage.replies(1)


async def test_what_is_cut_off_keeps_its_thread_until_it_ends_and_its_transaction_is_over() -> None:
    threads, open_, said = Threads(1), threading.Event(), []

    def work(wait: Callable[[Any], Any]) -> None:
        assert open_.wait(PATIENCE)
        unused = asyncio.sleep(0)
        try:
            wait(unused)
        except CutOff as error:
            said.append(str(error))
            unused.close()

    task = asyncio.create_task(threads.run(work))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.sleep(0)
    assert not task.done(), "nobody can stop a thread"
    with pytest.raises(NoThread):
        await threads.run(work)
    open_.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert said == ["This call was cut off, so its transaction is over. Try: let the handler end."]
    await eventually(lambda: not threads._busy)
    assert await threads.run(lambda wait: wait(asyncio.sleep(0, "again"))) == "again"


async def test_it_has_the_context_of_its_call_and_leaves_nothing_in_it() -> None:
    def work(wait: Callable[[Any], Any]) -> str:
        before = TENANT.get()
        TENANT.set("left behind")
        return before

    TENANT.set("ada")
    assert [await Threads(1).run(work), await in_turns(work), TENANT.get()] == ["ada", "ada", "ada"]


# --- in turns ---------------------------------------------------------------------------------------------------------


async def test_in_turns_nothing_else_happens_but_what_it_waits_for() -> None:
    order: list[str] = []

    async def other() -> None:
        while True:
            order.append("other")
            await asyncio.sleep(0)

    def work(wait: Callable[[Any], Any]) -> str:
        order.append("begins")
        assert wait(asyncio.sleep(0, "slept")) == "slept"
        order.append("goes on")
        with pytest.raises(ZeroDivisionError):
            wait(fails())
        return "done"

    async def fails() -> None:
        raise ZeroDivisionError

    beside = asyncio.create_task(other())
    assert await in_turns(work) == "done"
    beside.cancel()
    assert order == ["begins", "other", "goes on"]


async def test_in_turns_one_that_is_cut_off_has_one_last_turn() -> None:
    said: list[str] = []

    def work(wait: Callable[[Any], Any]) -> None:
        for name in ("first", "second"):
            waited = asyncio.sleep(3600)
            try:
                wait(waited)
            except (CutOff, asyncio.CancelledError) as error:
                said.append(f"{name} {type(error).__name__}")
                waited.close()

    task = asyncio.create_task(in_turns(work))
    await asyncio.sleep(0.001)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert said == ["first CancelledError", "second CutOff"]


class Order(Message):
    order_id: str


class Ship(Command[Done], refusals=("lost",)):
    order_id: str


def ship(order: Order) -> Ship:
    return Ship(order_id=order.order_id)


saga = Saga("order", start=Order, key=lambda order: order.order_id, steps=(Pivot(ship, to="shipping"),))


@pytest.mark.slow
def test_the_simulation_runs_it_and_the_same_seed_is_the_same_run() -> None:
    shipping, called = Service("shipping"), []

    @shipping.handles(Ship)
    def ship(command: Ship, db: BlockingMemoryTransaction, call: Call) -> Done:
        called.append(call.attempt)
        db.put(command.order_id, (db.get(command.order_id) or 0) + 1)
        return Done()

    scene = Scene(App("shop", sagas=[saga], services=[shipping]), own=["shipping"])
    runs = []
    for _ in range(2):
        called.clear()
        tally = campaign(scene, range(1, 6), workers=1)
        assert [result.story for result in tally.failures] == []
        runs.append((list(called), tally.steps, tally.statuses))
    assert runs[0] == runs[1]
    assert runs[0][0]


# --- the loop that stands still ---------------------------------------------------------------------------------------


async def test_a_handler_that_blocks_the_loop_is_named_once() -> None:
    service, go_on = Service("shipping"), threading.Event()

    @service.handles(Ship)
    async def ship(command: Ship) -> Done:
        assert go_on.wait(PATIENCE)
        return Done()

    with capture_logs() as entries:

        def told() -> list[Any]:
            return [one for one in entries if one["event"] == "choros.handler.blocks"]

        def let_go() -> None:
            while not told():
                threading.Event().wait(0.01)
            threading.Event().wait(0.6)
            go_on.set()

        async with watching([service], after=0.05):
            threading.Thread(target=let_go, daemon=True).start()
            await service.handlers["ship.v1"](Ship(order_id="o1"), None, Call(key="k", correlation_id="c"))
    (said,) = told()
    assert said["handler"] == "ship"
    assert "threading.py" in said["where"]


# --- mistakes ---------------------------------------------------------------------------------------------------------


def takes_async(command: Ship, db: SqliteTransaction) -> Done: ...  # type: ignore[empty-body]
async def takes_blocking(command: Ship, db: BlockingSqliteTransaction) -> Done: ...  # type: ignore[empty-body]
def takes_undo(command: Ship, db: BlockingMemoryTransaction, undo: LocalUndo) -> Done: ...  # type: ignore[empty-body]
def yields(command: Ship) -> Any:
    yield Done()


MISTAKES: list[tuple[Any, str]] = [
    (
        takes_async,
        "takes_async is not async and takes a SqliteTransaction, whose methods are. Try: write async def,",
    ),
    (takes_blocking, "takes_blocking is async and takes a BlockingSqliteTransaction, which would block the loop."),
    (takes_undo, "takes_undo takes a LocalUndo, which works on the loop, and is not async."),
    (yields, "yields yields, so it returns nothing."),
    (5, "5 is no function."),
]


@pytest.mark.parametrize(("function", "sentence"), MISTAKES, ids=[sentence[:20] for _, sentence in MISTAKES])
def test_what_cannot_work_is_refused(function: Any, sentence: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        Service("shipping").handles(Ship)(function)
    assert sentence in str(caught.value)


def test_it_is_checked_against_its_database_as_any_other() -> None:
    service = Service("shipping")

    @service.handles(Ship)
    def ship(command: Ship, db: BlockingMemoryTransaction) -> Done:
        return Done()

    assert service.handlers["ship.v1"].transaction is MemoryTransaction


async def test_a_reaction_may_be_one() -> None:
    async with stage_for(service_on(BlockingMemoryTransaction), kind=Subscriber) as stage:
        await stage.publish(fact(Paid(order="o1")), fact(Paid(order="o1")))
        await eventually(lambda: stage.counts == {"handled": 1, "repeated": 1})
        assert await stage.effects() == {"o1": 1}
