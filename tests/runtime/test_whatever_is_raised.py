"""Whatever a user's code raises, wherever: its message is answered or parked, and the innocents beside it are handled.

Each test puts every exception that there is into one place, with an innocent message behind each, in one batch.
"""

from __future__ import annotations

import asyncio
import enum
import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import field_validator, model_serializer

from choros.app.service import Service
from choros.errors import Refused, UsageError
from choros.messages import Command, Fact, Failure, Reply
from choros.runtime.host.call import apart
from choros.runtime.subscriber.subscriber import Subscriber
from choros.store.barrier import Database, Transaction
from choros.store.memory.barrier import MemoryDatabase
from choros.store.sqlite.barrier import SqliteDatabase
from choros.wire.envelope import Envelope
from tests.patience import PATIENCE
from tests.runtime.participant_stage import Stage, command, fact, stage_for
from tests.runtime.whatever import EVERYTHING, Panic, bang


class Told(Reply):
    how: str = ""

    @model_serializer
    def write(self) -> dict[str, Any]:
        bang(self.how)
        return {"how": self.how}


class Do(Command[Told], refusals=("card_declined",)):
    how: str = ""


class Undo(Command[Told]):
    how: str = ""


class Read(Command[Told]):
    how: str = ""

    @field_validator("how")
    @classmethod
    def known(cls, how: str) -> str:
        bang(how.removeprefix("read "))
        return how


class Said(Fact):
    how: str = ""


class Happened(Fact):
    how: str = ""

    @field_validator("how")
    @classmethod
    def known(cls, how: str) -> str:
        bang(how.removeprefix("read "))
        return how


class Leaving(Fact):
    how: str = ""

    @field_validator("how")
    @classmethod
    def known(cls, how: str) -> str:
        raise SystemExit


def written() -> Service:
    service = Service("payment")

    @service.handles(Do)
    async def do(command: Do, db: Transaction) -> Told:
        bang(command.how)
        return Told()

    @service.handles(Undo)
    async def undo(command: Undo, db: Transaction) -> Told:
        bang(command.how)
        return Told()

    @service.handles(Read)
    async def read(command: Read, db: Transaction) -> Told:
        return Told()

    return service


def provided(*, asking: bool) -> Service:
    """With `asking`, a handler that ends without having done anything is asked the next time."""
    service, seen = Service("payment"), set[str]()

    async def ask(command: Do) -> Told:
        bang(command.how)
        return Told()

    @service.provider(Do, ask=ask if asking else None)
    async def do(command: Do) -> Told:
        if asking and command.how not in seen:
            seen.add(command.how)
            raise ConnectionError
        bang(command.how)
        return Told()

    @service.provider(Undo)
    async def undo(command: Undo) -> Told:
        bang(command.how)
        return Told()

    return service


def replying() -> Service:
    service = Service("payment")

    @service.handles(Do)
    async def do(command: Do, db: Transaction) -> Told:
        return Told(how=command.how)

    return service


def numbered(kind: Any, operation: str = "do", saga: str = "bad") -> list[Envelope]:
    """For every exception one command that raises it, and behind it one that raises nothing."""
    found = []
    for number in range(len(EVERYTHING)):
        found.append(command(kind(how=str(number)), operation, saga=f"{saga}{number}"))
        found.append(command(kind(), operation, saga=f"good{number}"))
    return found


def code_of(number: int) -> str:
    """What a handler's failure is called; a coroutine cannot raise StopIteration."""
    name = type(EVERYTHING[number]()).__name__[:200]
    return {"StopIteration": "RuntimeError", "CancelledError": "HandlerCancelled"}.get(name, name)


NEVER = {number for number in range(len(EVERYTHING)) if isinstance(EVERYTHING[number](), GeneratorExit)}
"""What is never answered."""


@pytest.fixture(params=["memory", "sqlite"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    return MemoryDatabase() if request.param == "memory" else SqliteDatabase(tmp_path / "p.db")


async def answers(stage: Stage, sent: list[Envelope]) -> dict[str, Envelope]:
    """Send all at once; every saga's answer, for all but those that are never answered."""
    await stage.send(*sent)
    replies = await stage.replies(len(sent) - len(NEVER))
    await stage.idle()
    assert stage.running is not None and not stage.running.done()
    return {reply.correlation_id: reply for reply in replies}


def judge(found: dict[str, Envelope], name: Callable[[int], str] = code_of) -> None:
    for number in range(len(EVERYTHING)):
        assert found[f"good{number}"].outcome == "ok"
        if number in NEVER:
            assert f"bad{number}" not in found
        else:
            bad = found[f"bad{number}"]
            assert (bad.outcome, Failure.from_json(bad.data).code) == ("failed", name(number))


async def test_a_handler(database: Database) -> None:
    async with stage_for(written(), database) as stage:
        judge(await answers(stage, numbered(Do)))
        assert stage.parked() == ["Its handler raised GeneratorExit, which is never an answer."]
        assert stage.counts["failed"] == len(EVERYTHING) - 1


async def test_an_undo(database: Database) -> None:
    async with stage_for(written(), database) as stage:
        done = [command(Do(), saga=f"{kind}{n}") for n in range(len(EVERYTHING)) for kind in ("good", "bad")]
        await stage.send(*done)
        await stage.replies(len(done))
        judge(await answers(stage, numbered(Undo, "undo")))


@pytest.mark.parametrize("asking", [False, True], ids=["provider", "ask"])
async def test_a_provider(asking: bool) -> None:
    async with stage_for(provided(asking=asking)) as stage:
        if asking:
            first = [command(Do(how=how), saga="first" + how) for how in ("", *map(str, range(len(EVERYTHING))))]
            await stage.send(*first)
            await stage.replies(len(first))
            again = [command(Do(how=how), saga="first" + how) for how in map(str, range(len(EVERYTHING)))]
            found = await answers(stage, again)
            assert len(found) == len(EVERYTHING) - 1
            for saga, reply in found.items():
                assert Failure.from_json(reply.data).code == code_of(int(saga.removeprefix("first")))
        else:
            judge(await answers(stage, numbered(Do)))


async def test_what_writes_a_reply(database: Database) -> None:
    async with stage_for(replying(), database) as stage:
        await stage.send(*(sent := numbered(Do)))
        found = {reply.correlation_id: reply for reply in await stage.replies(len(sent))}
        for number in range(len(EVERYTHING)):
            assert found[f"good{number}"].outcome == "ok"
            assert Failure.from_json(found[f"bad{number}"].data).code == "MessageUnwritable"


async def test_a_model_that_reads_a_command() -> None:
    """It is parked, whatever the model raised."""
    async with stage_for(written()) as stage:
        for number in range(len(EVERYTHING)):
            bad = command(Do(how=f"read {number}"), saga=f"bad{number}", type=Read.type_name)
            await stage.send(bad, command(Read(), saga=f"good{number}"))
        replies = await stage.replies(len(EVERYTHING))
        assert {reply.outcome for reply in replies} == {"ok"}
        await stage.idle()
        assert len(stage.parked()) == len(EVERYTHING)
        assert all(reason.startswith("The body is no read.v1") for reason in stage.parked())


@pytest.mark.parametrize("transactional", [True, False])
@pytest.mark.parametrize("ordered", [False, True])
async def test_a_reaction(database: Database, ordered: bool, transactional: bool) -> None:
    """It is tried again, then parked: nobody waits for it."""
    service = Service("payment", ordered=ordered)

    async def outside(said: Said) -> None:
        bang(said.how)

    async def within(said: Said, db: Transaction) -> None:
        bang(said.how)

    service.on(Said)(within if transactional else outside)
    async with stage_for(service, database, kind=Subscriber, attempts=1) as stage:
        for number in range(len(EVERYTHING)):
            bad, good = fact(Said(how=str(number)), stream=f"bad{number}"), fact(Said(), stream=f"good{number}")
            await stage.publish(bad, good)
        await stage.idle("shop.facts.payment")
        assert stage.counts == {"handled": len(EVERYTHING), "parked": len(EVERYTHING)}
        named = {reason.split(": ")[1] for reason in stage.parked("shop.facts.payment")}
        assert {code_of(number) for number in range(len(EVERYTHING)) if len(code_of(number)) < 200} <= named


async def test_a_model_that_reads_a_fact() -> None:
    service, heard = Service("payment"), []

    @service.on(Happened)
    async def on(happened: Happened) -> None:
        heard.append(happened.how)

    async with stage_for(service, kind=Subscriber) as stage:
        for number in range(len(EVERYTHING)):
            bad = fact(Said(how=f"read {number}"), type=Happened.type_name, stream=f"bad{number}")
            await stage.publish(bad, fact(Happened(), stream=f"good{number}"))
        await stage.idle("shop.facts.payment")
        assert (len(heard), stage.counts) == (len(EVERYTHING), {"handled": len(EVERYTHING), "parked": len(EVERYTHING)})
        reasons = stage.parked("shop.facts.payment")
        assert all(reason.startswith("The body is no happened.v1") for reason in reasons)


# --- who wants the process to end -------------------------------------------------------------------------------------


@pytest.mark.parametrize("wanted", [SystemExit, KeyboardInterrupt])
@pytest.mark.parametrize("kind", ["handles", "provider"])
async def test_an_exit_stops_the_role_in_order(wanted: type[BaseException], kind: str, database: Database) -> None:
    """What is beside it is answered first; its own command is left for the next start."""
    service = Service("payment")

    async def do(command: Do) -> Told:
        if command.how:
            raise wanted(3)
        return Told()

    getattr(service, kind)(Do)(do)
    async with stage_for(service, database, start=False) as stage:
        await stage.send(*(command(Do(how="" if n != 5 else "bad"), saga=f"s{n}") for n in range(10)))
        with pytest.raises(wanted):
            await stage.runner.run()
        assert len(await stage.replies(9)) == 9
        await stage.cut()
        assert [wire.correlation_id for wire in stage.broker.waiting("shop.payment")] == ["s5"]


@pytest.mark.parametrize("transactional", [True, False])
async def test_an_exit_of_a_reaction_does_too(transactional: bool) -> None:
    service = Service("payment")

    async def outside(said: Said) -> None:
        if said.how:
            raise SystemExit

    async def within(said: Said, db: Transaction) -> None:
        await outside(said)

    service.on(Said)(within if transactional else outside)
    async with stage_for(service, kind=Subscriber, start=False) as stage:
        await stage.publish(*(fact(Said(how="" if n != 2 else "bad"), stream=f"s{n}") for n in range(5)))
        with pytest.raises(SystemExit):
            await stage.runner.run()
        await stage.cut()
        assert (stage.counts, len(stage.broker.waiting("shop.facts.payment"))) == ({"handled": 4}, 1)


async def test_an_exit_of_a_model_does_too() -> None:
    service = Service("payment")

    @service.on(Leaving)
    async def on(leaving: Leaving) -> None:
        raise AssertionError("it was never read")

    async with stage_for(service, kind=Subscriber, start=False) as stage:
        await stage.publish(fact(Said(how="bye"), type=Leaving.type_name))
        with pytest.raises(SystemExit):
            await stage.runner.run()


# --- cancellations ----------------------------------------------------------------------------------------------------


async def cancels_itself(how: str) -> None:
    task = asyncio.current_task()
    assert task is not None
    match how:
        case "at once":
            task.cancel()
            await asyncio.sleep(0)
        case "and returns":
            task.cancel()
        case "later":
            asyncio.get_running_loop().call_later(0, task.cancel)
            await asyncio.sleep(3600)
        case "a task that it awaits":
            other = asyncio.create_task(asyncio.sleep(3600))
            asyncio.get_running_loop().call_soon(other.cancel)
            await other
        case "a future that it awaits":
            future = asyncio.get_running_loop().create_future()
            future.cancel()
            await future
        case "many times":
            for _ in range(5):
                task.cancel()
            await asyncio.sleep(0)


HOWS = ["at once", "and returns", "later", "a task that it awaits", "a future that it awaits", "many times"]


@pytest.mark.parametrize("kind", ["handles", "provider"])
async def test_a_handler_that_cancels_itself_has_failed(kind: str, database: Database) -> None:
    service = Service("payment")

    async def do(command: Do) -> Told:
        await cancels_itself(command.how)
        return Told()

    getattr(service, kind)(Do)(do)
    async with stage_for(service, database) as stage:
        sent = [command(Do(how=how), saga=f"{how}{n}".replace(" ", "-")) for how in HOWS for n in range(2)]
        good = [command(Do(), saga=f"good{n}") for n in range(len(sent))]
        await stage.send(*(one for pair in zip(sent, good, strict=True) for one in pair))
        replies = await stage.replies(2 * len(sent))
        failed = [Failure.from_json(reply.data).code for reply in replies if reply.outcome == "failed"]
        assert failed == ["HandlerCancelled"] * len(sent)
        (ok,) = await stage.ask(command(Do(), saga="after"))
        assert ok.outcome == "ok"


async def test_a_drain_cuts_a_handler_off_unanswered(database: Database) -> None:
    """Also one that answers the order to stop with a cancellation of its own."""
    service, begun, cut = Service("payment"), asyncio.Event(), []

    @service.handles(Do)
    async def do(command: Do) -> Told:
        begun.set()
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            cut.append(command.how)
            raise asyncio.CancelledError from None
        return Told()

    async with stage_for(service, database, drain=0.01) as stage:
        await stage.send(command(Do(how="x")))
        await asyncio.wait_for(begun.wait(), PATIENCE)
        await stage.runner.stop()
        await stage.cut()
        assert (cut, len(stage.broker.waiting("shop.payment")), stage.counts) == (["x"], 1, {})


async def test_a_call_that_is_cut_off_before_it_begins_leaves_nothing_behind() -> None:
    """No coroutine that nobody awaited: a warning is an error here."""

    async def work() -> None:
        raise AssertionError("it never begins")

    calling = asyncio.create_task(apart(work))
    await asyncio.sleep(0)  # the call is a task by now, which has not had its turn
    calling.cancel()
    await asyncio.wait({calling})
    del calling
    gc.collect()


async def test_a_handler_that_takes_too_long_still_says_so(database: Database) -> None:
    service = Service("payment")

    @service.handles(Do)
    async def do(command: Do) -> Told:
        try:
            await asyncio.sleep(3600)
        finally:
            bang(command.how)
        return Told()

    async with stage_for(service, database, handler_time=0.01) as stage:
        slow, loud = command(Do()), command(Do(how=str(next(n for n, one in enumerate(EVERYTHING) if one is Panic))))
        assert [Failure.from_json(reply.data).code for reply in await stage.ask(slow, loud)] == [
            "TimeoutError",
            "Panic",
        ]


# --- refusals ---------------------------------------------------------------------------------------------------------

DETAILS: list[Any] = [None, "x" * 2_000_000, "\ud800 half a pair", 404, b"\xff", "\x00" * 10_000, Panic, ["a"], Reply()]


@pytest.mark.parametrize("kind", ["handles", "provider"])
async def test_a_refusal_stays_one_whatever_its_detail_is(kind: str) -> None:
    service = Service("payment")

    async def do(command: Do) -> Told:
        raise Refused("card_declined", DETAILS[int(command.how)])

    getattr(service, kind)(Do)(do)
    async with stage_for(service) as stage:
        for number in range(len(DETAILS)):
            refused, again = await stage.ask(*[command(Do(how=str(number)), saga=f"s{number}")] * 2)
            assert (refused.outcome, Failure.from_json(refused.data).code) == ("refused", "card_declined")
            assert refused == again


class Code(enum.StrEnum):
    NO = "card_declined"


class OldCode(str, enum.Enum):  # noqa: UP042 # a StrEnum of before 3.11, whose str() is the member's name
    NO = "card_declined"


class Number(enum.Enum):
    NO = "card_declined"


@pytest.mark.parametrize("code", ["card_declined", Code.NO, OldCode.NO])
async def test_a_refusal_takes_a_text_or_a_member_of_a_str_enum(code: str) -> None:
    refused = Refused(code)
    assert (refused.code, type(refused.code), str(refused)) == ("card_declined", str, "card_declined")


@pytest.mark.parametrize("code", [404, None, Number.NO, b"card_declined", ("card_declined",)])
async def test_a_refusal_refuses_any_other_code_where_it_is_raised(code: Any) -> None:
    with pytest.raises(UsageError, match="Refused is given a code of the type"):
        Refused(code)
    service = Service("payment")

    @service.handles(Do)
    async def do(command: Do) -> Told:
        raise Refused(code)

    async with stage_for(service) as stage:
        (failed,) = await stage.ask(command(Do()))
        assert (failed.outcome, Failure.from_json(failed.data).code) == ("failed", "UsageError")
