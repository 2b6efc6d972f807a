"""Half-done work that its handler takes back itself, with its local undo log: all of it in one commit, or nothing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from choros import App, LocalUndo, MemoryTransaction, Message, RedisTransaction, Saga, Service, Step, running
from choros.desk.timeline import timeline
from choros.errors import DeclarationError, Refused, UsageError
from choros.messages import Command, Done, Fact, Failure, Reply
from choros.runtime.orchestrator.history import read_history
from choros.runtime.orchestrator.replies import judge
from choros.store.barrier import Database, Transaction, value_of
from choros.store.memory.barrier import MemoryDatabase
from choros.store.redis.barrier import RedisDatabase
from choros.store.sqlite.barrier import SqliteDatabase
from choros.store.sqlite.transaction import SqliteTransaction
from choros.testing import SagaTest
from choros.wire import undone
from choros.wire.attributes import LONGEST
from choros.wire.envelope import Envelope, decode, encode
from tests.runtime.participant_stage import Stage, close, command, stage_for


class Reserved(Reply):
    lines: int


class Reserve(Command[Reserved], refusals=("sold_out",)):
    order: str
    how: str = "sold_out"


class Release(Command[Done]):
    order: str


async def move(db: Transaction, book: str, movement: str) -> None:
    """Write a movement into the books."""
    if isinstance(db, MemoryTransaction):
        await db.put(book, (*await db.get(book, ()), movement))
    elif isinstance(db, SqliteTransaction):
        await db.execute("INSERT INTO book VALUES (?, ?)", (book, movement))
    elif isinstance(db, RedisTransaction):
        await db.rpush(book, movement)


def fail(error: Exception) -> None:
    raise error


async def refuse() -> None:
    raise Refused("sold_out")


async def misbehave(how: str, db: Transaction, undo: LocalUndo) -> None:
    """Other ends than a plain refusal."""
    if how == "broken":
        raise ValueError("no shelf")
    if how == "in a group":
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(refuse())
    if how == "undeclared":
        raise Refused("moon_phase")
    if how == "too much said":
        raise Refused("sold_out", data=Done())
    if how == "cannot be taken back":
        undo.add("the impossible", fail, RuntimeError("stuck"))
    if how == "may not be taken back":
        undo.add("the forbidden", fail, Refused("sold_out"))
    if how == "adds while it is taken back":
        undo.add("the endless", undo.add, "more", print)
    if how == "takes long to be taken back":
        undo.add("the long", asyncio.sleep, 3600)


def make_inventory() -> Service:
    inventory = Service("payment")

    @inventory.prepares
    async def tables(db: Transaction) -> None:
        if isinstance(db, SqliteTransaction):
            await db.execute("CREATE TABLE IF NOT EXISTS book (name TEXT, movement TEXT)")

    @inventory.handles(Reserve, handler_time=timedelta(seconds=60))
    async def reserve(command: Reserve, db: Transaction, undo: LocalUndo) -> Reserved:
        if command.how == "at once":
            await move(db, command.order, "-0")
            raise Refused("sold_out")
        for line in ("1", "2"):
            await move(db, command.order, f"-{line}")
            undo.add(f"release line {line}", move, db, command.order, movement=f"+{line}")
        if command.how == "savepoint":
            await in_a_savepoint(db, undo, command.order)
        await misbehave(command.how, db, undo)
        if command.how == "ok":
            return Reserved(lines=2)
        raise Refused("sold_out", "line 3")

    @inventory.handles(Release)
    async def release(command: Release, db: Transaction) -> Done:
        await move(db, command.order, "released")
        return Done()

    return inventory


async def in_a_savepoint(db: Transaction, undo: LocalUndo, order: str) -> None:
    """What is rolled back here must not be taken back once more."""
    try:
        async with db.savepoint():
            await move(db, order, "-3")
            undo.add("release line 3", move, db, order, "+3")
            raise LookupError
    except LookupError:
        pass
    async with db.savepoint():
        await move(db, order, "-4")
        undo.add("release line 4", move, db, order, "+4")


async def prepared(service: Service, database: Database) -> None:
    await database.open()
    for preparation in service.preparations:
        value_of(*await database.run([preparation]))


@pytest.fixture(params=["memory", "sqlite", pytest.param("redis", marks=pytest.mark.servers)])
async def stage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stage]:
    database: Database = MemoryDatabase()
    if request.param == "sqlite":
        database = SqliteDatabase(tmp_path / "inventory.db")
    elif request.param == "redis":
        database = RedisDatabase(request.getfixturevalue("redis_url"), request.getfixturevalue("namespace"))
    service = make_inventory()
    await prepared(service, database)
    async with stage_for(service, database) as stage:
        yield stage


@pytest.fixture
def order(request: pytest.FixtureRequest) -> str:
    """An order that no other test knows: they may share a Redis."""
    return str(request.getfixturevalue("namespace"))


async def book(stage: Stage, name: str) -> list[str]:
    """The movements of an order, as a later transaction sees them."""

    async def job(db: Transaction) -> Any:
        if isinstance(db, MemoryTransaction):
            return await db.get(name, ())
        if isinstance(db, SqliteTransaction):
            return [one for (one,) in await db.fetch("SELECT movement FROM book WHERE name = ?", (name,))]
        assert isinstance(db, RedisTransaction)
        return await db.lrange(name)

    return list(value_of(*await stage.database.inner.run([job])))


def asked(order: str, how: str = "sold_out", **more: Any) -> Envelope:
    return command(Reserve(order=order, how=how), key="s1:reserve:1:do", step="reserve", **more)


def said(reply: Envelope) -> tuple[str, str, tuple[str, ...]]:
    code = Failure.from_json(reply.data).code if reply.outcome != "ok" else ""
    return reply.outcome, code, undone.read(reply.undone)


TAKEN_BACK = ("release line 2", "release line 1")


async def test_both_movements_stand_and_the_refusal_says_what_was_taken_back(stage: Stage, order: str) -> None:
    (refused,) = await stage.ask(asked(order))
    assert said(refused) == ("refused", "sold_out", TAKEN_BACK)
    assert await book(stage, order) == ["-1", "-2", "+2", "+1"]
    row = await stage.row(refused.key)
    assert row is not None
    assert (row.state, Envelope.loads(row.content).undone) == ("refused", refused.undone)


async def test_a_refusal_out_of_a_task_group_is_one(stage: Stage, order: str) -> None:
    (refused,) = await stage.ask(asked(order, "in a group"))
    assert said(refused) == ("refused", "sold_out", TAKEN_BACK)
    assert await book(stage, order) == ["-1", "-2", "+2", "+1"]


async def test_a_duplicate_is_told_the_same_and_nothing_is_done_again(stage: Stage, order: str) -> None:
    refused, again = await stage.ask(asked(order), asked(order, attempt=2))
    await stage.restart()
    (later, closed) = await stage.ask(
        asked(order, "ok", attempt=3), close("do", key="s1:reserve:1:close", step="reserve")
    )
    assert refused == again == later == closed
    assert said(later) == ("refused", "sold_out", TAKEN_BACK)
    assert await book(stage, order) == ["-1", "-2", "+2", "+1"]


async def test_of_what_was_taken_back_nothing_is_left_to_undo(stage: Stage, order: str) -> None:
    _, nothing = await stage.ask(
        asked(order), command(Release(order=order), "undo", key="s1:reserve:1:undo", step="reserve")
    )
    assert nothing.type == "choros.nothing-to-undo.v1"
    assert await book(stage, order) == ["-1", "-2", "+2", "+1"]


async def test_what_is_carried_out_stays(stage: Stage, order: str) -> None:
    (reply,) = await stage.ask(asked(order, "ok"))
    assert said(reply) == ("ok", "", ())
    assert await book(stage, order) == ["-1", "-2"]


async def test_with_nothing_to_take_back_the_refusal_is_rolled_back_as_ever(stage: Stage, order: str) -> None:
    (refused,) = await stage.ask(asked(order, "at once"))
    assert (said(refused), await book(stage, order)) == (("refused", "sold_out", ()), [])


async def test_a_savepoint_that_is_rolled_back_takes_its_undo_along(stage: Stage, order: str) -> None:
    (refused,) = await stage.ask(asked(order, "savepoint"))
    assert said(refused) == ("refused", "sold_out", ("release line 4", *TAKEN_BACK))
    assert await book(stage, order) == ["-1", "-2", "-4", "+4", "+2", "+1"]


@pytest.mark.parametrize(
    ("how", "code"),
    [
        ("broken", "ValueError"),
        ("undeclared", "Refused"),
        ("too much said", "WrongReply"),
        ("cannot be taken back", "RuntimeError"),
        ("may not be taken back", "NotTakenBack"),
        ("adds while it is taken back", "UsageError"),
    ],
)
async def test_whatever_else_is_raised_leaves_nothing_and_claims_nothing(
    stage: Stage, order: str, how: str, code: str
) -> None:
    (failed,) = await stage.ask(asked(order, how))
    assert said(failed) == ("failed", code, ())
    assert (await book(stage, order), await stage.row(failed.key)) == ([], None)
    (refused,) = await stage.ask(asked(order, attempt=2))  # the next attempt begins from the start
    assert said(refused) == ("refused", "sold_out", TAKEN_BACK)


async def test_taking_back_counts_into_the_time_of_its_handler() -> None:
    async with stage_for(make_inventory()) as stage:
        (failed,) = await stage.ask(asked("o1", "takes long to be taken back"))
        assert said(failed) == ("failed", "TimeoutError", ())
        assert await book(stage, "o1") == []


async def test_a_crash_before_the_commit_leaves_neither_work_nor_refusal(stage: Stage, order: str) -> None:
    stage.database.losing = 1
    (refused,) = await stage.ask(asked(order))
    assert said(refused) == ("refused", "sold_out", TAKEN_BACK)
    assert await book(stage, order) == ["-1", "-2", "+2", "+1"]


async def test_on_redis_a_conflict_runs_it_again_with_an_empty_log(
    redis_url: str, namespace: str, redis_client: Redis
) -> None:
    """Writes are queued: those that take back are queued behind those that they take back, for one EXEC."""
    service, runs = Service("payment"), list[int]()

    @service.handles(Reserve)
    async def reserve(command: Reserve, db: RedisTransaction, undo: LocalUndo) -> Reserved:
        runs.append(len(undo))
        left = int(await db.get(command.order) or 0)
        if len(runs) == 1:
            await redis_client.set(command.order, 5)
        await db.incrby(command.order, -left - 1)
        undo.add("give it back", db.incrby, command.order, left + 1)
        raise Refused("sold_out")

    async with stage_for(service, RedisDatabase(redis_url, namespace)) as stage:
        (refused,) = await stage.ask(asked(f"{namespace}-stock"))
    assert (runs, said(refused)) == ([0, 0], ("refused", "sold_out", ("give it back",)))
    assert int(await redis_client.get(f"{namespace}-stock") or 0) == 5


# --- what a handler may say -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (("", print), "has no words"),
        ((7, print), "has no words"),
        (("release line 1", None), "by a NoneType, which is no function"),
        (("release line 1", "release"), "by a str, which is no function"),
    ],
)
def test_what_cannot_be_taken_back_is_said_where_it_is_added(given: tuple[Any, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        LocalUndo().add(*given)


class Ship(Command[Done]):
    order: str


class Sold(Fact):
    order: str


def test_a_handler_that_could_never_use_it_does_not_get_one() -> None:
    service = Service("inventory")

    async def without(command: Reserve, undo: LocalUndo) -> Reserved:
        raise NotImplementedError

    async def ships(command: Ship, db: MemoryTransaction, undo: LocalUndo) -> Done:
        raise NotImplementedError

    async def hears(fact: Sold, db: MemoryTransaction, undo: LocalUndo) -> None:
        raise NotImplementedError

    with pytest.raises(DeclarationError, match="takes a LocalUndo, but no Transaction"):
        service.handles(Reserve)(without)
    with pytest.raises(DeclarationError, match="takes a LocalUndo, but no Transaction"):
        service.provider(Reserve)(without)
    with pytest.raises(DeclarationError, match="takes a LocalUndo, but Ship cannot be refused"):
        service.handles(Ship)(ships)
    with pytest.raises(DeclarationError, match="takes a LocalUndo, but Sold cannot be refused"):
        service.on(Sold)(hears)


# --- on the wire ------------------------------------------------------------------------------------------------------


def refusal(text: str) -> Envelope:
    given = Failure(code="sold_out", step="reserve").to_json()
    reply = asked("o1", kind="reply", type="choros.failure.v1", outcome="refused", data=given, undone=text)
    return replace(reply, saga="purchase", saga_version=1, not_after=None)


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ('["a","b"]', ("a", "b")),
        ('["a",7,null,["b"],"","  ","c"]', ("a", "c")),
        ('["\\u0000a\\nb\\ud83d"]', ()),  # half a character is no JSON
        ('["\\u0000a\\nb\\u2028c"]', ("a b c",)),
        ('{"a":"b"}', ()),
        ('"a"', ()),
        ("7", ()),
        ("release line 1", ()),
        ("[" * 500, ()),
        ("", ()),
        ('["' + "x" * 300 + '"]', ("x" * 80,)),
    ],
)
def test_whatever_a_stranger_says_is_read_as_far_as_it_says_something(text: str, read: tuple[str, ...]) -> None:
    wire = encode(refusal(text))
    answer = judge(PURCHASE, {1}, decode(wire))
    assert (answer.code, answer.undone) == ("sold_out", read)


@pytest.mark.parametrize("value", [7, "x" * 513, b"\xff", "a\x00", ["release line 1"]])
def test_a_value_that_is_no_text_is_as_good_as_absent(value: Any) -> None:
    wire = encode(refusal('["a"]'))
    wire = type(wire)(wire.body, {**wire.headers, "cloudEvents_sagaundone": value}, wire.content_type)
    assert decode(wire).undone == ""


@pytest.mark.parametrize("words", ["release line {}", "☕" * 79 + "{}", 'quoted "{}" \\', "tab\t{}\u2028\x00\ud800"])
@pytest.mark.parametrize("count", [1, 3, 40, 10_000])
def test_what_is_written_fits_and_says_how_many_more_there_are(words: str, count: int) -> None:
    text = undone.written([words.format(number) for number in range(count)])
    assert len(text) <= LONGEST
    assert decode(encode(refusal(text))).undone == text
    told = undone.read(text)
    more = told[-1].removeprefix("and ").removesuffix(" more")
    assert len(told) == count or len(told) - 1 + int(more) == count


def test_nothing_is_written_of_nothing() -> None:
    assert undone.written(()) == ""
    assert "cloudEvents_sagaundone" not in encode(refusal("")).headers


# --- what people see --------------------------------------------------------------------------------------------------


class Buy(Message):
    order: str


def reserve_stock(start: Buy) -> Reserve:
    return Reserve(order=start.order)


def release_stock(start: Buy) -> Release:
    return Release(order=start.order)


RESERVATION = Step(reserve_stock, to="payment", compensation=release_stock, name="reserve")
PURCHASE = Saga("purchase", start=Buy, key=lambda start: start.order, steps=(RESERVATION,))


def test_the_dialogue_says_it_where_a_test_fails() -> None:
    test = SagaTest(PURCHASE)
    test.start(Buy(order="o1"))
    test.expect_command(Reserve).refuse("sold_out", undone=["release line 1"])
    assert test.status == "compensated"
    with pytest.raises(AssertionError, match=r"refused reserve .* sold_out \(undone inside: release line 1\)"):
        test.expect_command(Release)


async def test_history_and_timeline_tell_it_apart_from_what_the_saga_undoes() -> None:
    async with running(App("shop", sagas=[PURCHASE], services=[make_inventory()])) as client:
        outcome = await client.run(PURCHASE, Buy(order="o1"))
        account = await client.show(outcome.saga_id)
    (refused,) = [one for row in account.history for one in read_history(row.events) if one.kind == "refused"]
    assert (refused.code, refused.undone) == ("sold_out", TAKEN_BACK)
    assert refused.stored["undone"] == list(TAKEN_BACK)
    told = " ".join(" ".join(timeline(account, PURCHASE)).split())
    assert "refused: sold_out; undone inside payment: release line 2, release line 1" in told
    assert "undone inside its service: release line 2" in " ".join(" ".join(timeline(account, None)).split())
    assert outcome.failure is not None
    assert "release" not in outcome.failure.to_json()


@pytest.mark.parametrize("stored", ["release line 1", 7, None, {"a": 1}, [7, ["b"]]], ids=str)
def test_what_somebody_else_has_put_into_a_history_claims_nothing(stored: object) -> None:
    (one,) = read_history(json.dumps([{"kind": "refused", "code": "sold_out", "undone": stored}]))
    assert (one.code, one.undone) == ("sold_out", ())
