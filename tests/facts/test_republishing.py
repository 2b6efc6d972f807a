"""Facts out of the history: the same identity, every one, in order; and who lacks which."""

from __future__ import annotations

import asyncio
import importlib
import json
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from choros import cli
from choros.app.flow_part import FlowPart
from choros.app.service import Service
from choros.cli.words import moment
from choros.desk import republish as republishing
from choros.desk.republish import put_out, released
from choros.errors import BrokerUnreachable, UsageError
from choros.roles.addresses import Addresses
from choros.roles.roles import client_of, open_role, run_together, stop_all
from choros.runtime.subscriber.inbox import inbox_key, not_handled
from choros.runtime.subscriber.order import remember
from choros.store.barrier import Row, Transaction
from choros.store.memory.barrier import MemoryDatabase
from choros.store.memory.sagas import MemoryStore
from choros.store.sagas import Record, Transition
from choros.testing.conformance.stage import fact
from choros.transport.memory import MemoryBroker, MemoryTransport
from choros.transport.port import Published
from choros.transport.topology import Names, topology
from choros.wire.envelope import Envelope, decode
from tests.captured import capture_logs
from tests.end_to_end.shop import until
from tests.facts.stage import Moved, moved

NAMES = Names("shop")


def history_of(*facts: Envelope) -> str:
    return json.dumps([{"kind": "sent"}, *({"kind": "fact", "envelope": f.dumps()} for f in facts)])


async def stored(
    store: MemoryStore, saga_id: str, *rows: tuple[float, Sequence[Envelope]], saga: str = "order"
) -> None:
    """A saga that released these facts at these times."""
    previous = ""
    for version, (at, facts) in enumerate(rows, 1):
        record = Record(
            saga_id=saga_id, saga=saga, saga_version=1, key=saga_id, digest="", application="shop", version=version,
            transition=f"{saga_id}-{version}", status="completed", state="{}", started_at=1.0, updated_at=at,
        )  # fmt: skip
        await store.commit([Transition(record, previous, history=history_of(*facts))])
        previous = record.transition


@asynccontextmanager
async def opened() -> AsyncIterator[MemoryStore]:
    store = MemoryStore()
    await store.open()
    yield store
    await store.close()


async def all_released(store: MemoryStore, since: float, **which: str) -> list[tuple[str, int]]:
    return [(f.stream, f.seq) async for facts in released(store, since, **which) for f in facts]


async def test_every_fact_since_then_comes_out_under_its_old_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(republishing, "PAGE", 2)
    async with opened() as store:
        facts = {f"s{n}": [fact(seq, f"s{n}") for seq in (1, 2, 3)] for n in range(5)}
        for saga_id, (one, two, three) in facts.items():
            await stored(store, saga_id, (100.0, [one]), (200.0, [two, three]))
        found = [f async for page in released(store, 100.0) for f in page]
        assert sorted(found, key=lambda f: (f.stream, f.seq)) == [f for three in facts.values() for f in three]
        for stream in facts:
            assert [f.seq for f in found if f.stream == stream] == [1, 2, 3]
        assert sorted(await all_released(store, 100.5)) == [(f"s{n}", seq) for n in range(5) for seq in (2, 3)]
        assert await all_released(store, 200.5) == []


async def test_one_saga_or_one_instance_only() -> None:
    async with opened() as store:
        await stored(store, "a", (5.0, [fact(1, "a")]))
        await stored(store, "b", (5.0, [fact(1, "b")]), saga="return")
        assert await all_released(store, 0.0, saga="return") == [("b", 1)]
        assert await all_released(store, 0.0, saga_id="a") == [("a", 1)]
        assert await all_released(store, 0.0, saga_id="nobody") == []


async def test_a_fact_before_a_change_by_a_clock_that_is_behind_is_found() -> None:
    async with opened() as store:
        await stored(store, "a", (1000.0, [fact(1, "a")]), (990.0, []))
        assert await all_released(store, 995.0) == [("a", 1)]


class Moody(MemoryTransport):
    """Takes what its list of moods says, then everything."""

    moods: list[Published]

    async def publish(self, facts: Sequence[Envelope]) -> Sequence[Published]:
        if not self.moods:
            return await super().publish(facts)
        taken = await super().publish(facts[:1])
        return [*taken, *[self.moods.pop()] * (len(facts) - 1)]


async def moody(*moods: Published, subscribers: Sequence[str] = ("one",)) -> tuple[MemoryBroker, Moody]:
    broker = MemoryBroker()
    transport = Moody(broker, "shop")
    transport.moods = list(moods)
    await transport.connect()
    await transport.declare(topology("shop", applications=["app"], subscribers=subscribers))
    return broker, transport


async def test_what_the_broker_does_not_take_is_published_again_in_order() -> None:
    broker, transport = await moody(Published.UNKNOWN, Published.NACKED)
    facts = [fact(seq, stream) for stream in "ab" for seq in (1, 2, 3)]
    assert await put_out(transport, facts) == Counter({Published.CONFIRMED: 6})
    assert [decode(wire) for wire in broker.waiting(NAMES.subscriber_queue("one"))] == facts


async def test_facts_that_no_queue_takes_are_counted() -> None:
    _, transport = await moody(subscribers=())
    assert await put_out(transport, [fact(1), fact(2)]) == Counter({Published.RETURNED: 2})


async def test_a_broker_that_takes_nothing_is_given_up_and_said_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(republishing, "full_jitter", lambda: iter([0.0] * 99))
    _, transport = await moody()
    await transport.close()
    with pytest.raises(BrokerUnreachable, match="did not take 2 facts"):
        await put_out(transport, [fact(1), fact(2)])


async def test_an_inbox_says_what_it_has_not_handled() -> None:
    database = MemoryDatabase()
    await database.open()
    facts = [fact(seq) for seq in range(1, 1203)]

    async def handle(transaction: Transaction) -> None:
        for one in facts[10:1200]:
            await transaction.write_row(Row(key=inbox_key("one", one), state="ok"))

    await database.run([handle])
    assert [f.seq for f in await not_handled(database, "one", facts)] == [*range(1, 11), 1201, 1202]


async def test_what_an_inbox_has_forgotten_is_not_called_missed(capsys: pytest.CaptureFixture[str]) -> None:
    database, now = MemoryDatabase(), time.time()
    await database.open()
    service = Service("late", facts=[Moved])
    async with opened() as store:
        await stored(store, "old", (now - 7200, [moved(1, "old", time=now - 7200)]))
        await stored(store, "new", (now - 60, [moved(1, "new", time=now - 60)]))
        assert len((await cli.facts._missed_by(service, database, partial(released, store, 0.0), 0.0))[2]) == 2
        heard = partial(remember, "late", moved(2, "old", time=now - 7200), ordered=False, now=now - 7200)
        await database.run([heard])
        assert await database.forget("facts", now - 3600) == 1
        assert len((await cli.facts._missed_by(service, database, partial(released, store, 0.0), 0.0))[2]) == 1
    assert "late has forgotten which facts it handled up to" in capsys.readouterr().err


async def test_a_fact_that_is_of_none_of_its_flows_is_not_missed() -> None:
    database = MemoryDatabase()
    await database.open()
    service, part = Service("late", facts=[Moved]), FlowPart(heard={Moved.type_name: frozenset({("order", 1)})})
    async with opened() as store:
        its = moved(2, "s2", flow="order", flow_version=1, flow_id="s2")
        await stored(store, "s1", (1.0, [moved(1, "s1"), its]))
        every = partial(released, store, 0.0)
        assert [row["stream"] for row in (await cli.facts._missed_by(service, database, every, 0.0, part))[2]] == ["s2"]
        assert len((await cli.facts._missed_by(service, database, every, 0.0))[2]) == 2


# --- the command ------------------------------------------------------------------------------------------------------

NEWS = """
from choros import App, Command, Done, Fact, Message, Pivot, Saga, Service, SqliteTransaction

class Trip(Message, name="facts.trip"):
    who: str

class Booked(Fact, name="facts.booked"):
    who: str

class Book(Command[Done], name="facts.book"):
    who: str

hotel, news = Service("hotel"), Service("news")

@hotel.handles(Book)
async def book(command: Book) -> Done:
    return Done()

@news.prepares
async def create(db: SqliteTransaction) -> None:
    await db.execute("CREATE TABLE IF NOT EXISTS told (who TEXT)")

@news.on(Booked)
async def tell(fact: Booked, db: SqliteTransaction) -> None:
    await db.execute("INSERT INTO told VALUES (?)", (fact.who,))

def book_it(trip: Trip) -> Book:
    return Book(who=trip.who)

def booked(trip: Trip) -> Booked:
    return Booked(who=trip.who)

trip_saga = Saga("trip", start=Trip, key=lambda t: t.who, steps=(Pivot(book_it, to="hotel"),), completed=booked)
app = App("newsroom", sagas=[trip_saga], services=[hotel, news])
"""
Choros = Callable[..., tuple[int, str, str]]


@pytest.fixture
def choros(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Choros:
    """Types a command in a folder with `newsroom.py`, in this process."""
    (tmp_path / "newsroom.py").write_text(NEWS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(cli.options, "log_apart", lambda: None)
    monkeypatch.delenv("CHOROS_NAMESPACE", raising=False)

    def type_(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["choros", *arguments])
        code: Any = 0
        capsys.readouterr()
        try:
            with capture_logs():
                cli.main()
        except SystemExit as ended:
            code = ended.code or 0
        finally:
            sys.modules.pop("newsroom", None)
        said = capsys.readouterr()
        return int(code), said.out, said.err

    return type_


STORE = ("--store", "sqlite:///sagas.db")
DATABASE = ("--database", "sqlite:///{service}.db")


@pytest.mark.parametrize("text", ["", "2", "yesterday", "2h ", "-2h", "2w", "1969-01-01"])
def test_what_is_no_time_is_said_to_be_none(text: str) -> None:
    with pytest.raises(UsageError, match="is no time"):
        moment(text, 1000.0)


def test_a_time_is_a_duration_or_a_date() -> None:
    assert moment("90s", 1000.0) == 910.0
    assert moment("1d2h", 1e6) == 1e6 - 93600
    assert moment("9999d", 1000.0) == 0.0
    assert moment("2026-11-22T12:00:00Z", 0.0) == 1795348800.0
    assert moment("2026-11-22T12:00", 0.0) == datetime(2026, 11, 22, 12).astimezone().timestamp()


def test_republish_wants_to_know_from_when_on(choros: Choros) -> None:
    assert "There is no store" in choros("facts", "republish", "newsroom", "--since", "1h", *STORE)[2]
    Path("sagas.db").touch()
    code, _, said = choros("facts", "republish", "newsroom", *STORE)
    assert (code, "From when on?" in said) == (2, True)
    both = ("--saga", "trip", "--saga-id", "x")
    assert "do not go together" in choros("facts", "republish", "newsroom", *STORE, *both)[2]


async def act(addresses: Addresses, *names: str, news: int = -1) -> None:
    """Run a saga for each name, without the subscriber; or run the subscriber until it has told so much."""
    newsroom = importlib.import_module("newsroom")
    async with AsyncExitStack() as stack:
        roles = ["subscriber:news"] if news >= 0 else ["orchestrator", "service:hotel"]
        parts = [part for role in roles for part in await open_role(newsroom.app, role, addresses, stack)]
        loops = asyncio.create_task(run_together(parts))
        if news >= 0:
            await until("news is told", lambda: told(news))
        else:
            client = await stack.enter_async_context(client_of(newsroom.app, addresses))
            for name in names:
                assert (await client.run(newsroom.trip_saga, newsroom.Trip(who=name))).status == "completed"
        await stop_all(parts)
        await loops


async def told(count: int) -> bool:
    with closing(sqlite3.connect("news.db")) as database:
        return bool(database.execute("SELECT count(*) FROM told").fetchone()[0] == count)


def test_after_an_emptied_broker_they_show_as_missed_until_they_are_put_out_again(choros: Choros) -> None:
    """Rule 20, as a person types it."""
    before, after = "memory://" + "before", "memory://" + "after"  # the second broker is the first one, emptied
    stores = ("sqlite:///sagas.db", "sqlite:///{service}.db")
    asyncio.run(act(Addresses(before, *stores), "Ada", "Bob"))
    asyncio.run(act(Addresses(before, *stores), news=2))
    asyncio.run(act(Addresses(before, *stores), "Cleo", "Dan", "Eve"))

    code, out, _ = choros("facts", "missed", "newsroom", "--since", "1h", *STORE, *DATABASE)
    assert (code, out.count("facts.booked.v1"), "news: 3 missed of 5 facts" in out) == (1, 3, True)
    republish = ("facts", "republish", "newsroom", "--since", "1h", "--broker", after, *STORE)
    assert "5 facts of 5 sagas were released since" in choros(*republish, "--dry-run")[1]
    code, out, err = choros(*republish)
    assert (code, "✔ 5 facts of 5 sagas put out again" in out, err) == (0, True, "")
    choros(*republish)  # and once more: it does no harm

    asyncio.run(act(Addresses(after, *stores), news=5))
    code, out, _ = choros("facts", "missed", "newsroom", "--since", "1h", *STORE, *DATABASE)
    assert (code, out) == (0, "news: 0 missed of 5 facts\n")
    with closing(sqlite3.connect("news.db")) as database:
        names = [name for (name,) in database.execute("SELECT who FROM told ORDER BY who")]
    assert names == ["Ada", "Bob", "Cleo", "Dan", "Eve"]


FOLLOWED = """
from choros import FactStart
from newsroom import App, Booked, Message, Pivot, Saga, Book, hotel, trip_saga

class Follow(Message, name="facts.follow"):
    who: str

def again(follow: Follow) -> Book:
    return Book(who=follow.who)

def follow(fact: Booked) -> Follow:
    return Follow(who=fact.who)

following = Saga("following", start=Follow, key=lambda f: f.who, steps=(Pivot(again, to="hotel"),))
begun = FactStart(following, on=Booked, start=follow)
app = App("newsroom", sagas=[trip_saga, following], services=[hotel], starts=[begun])
"""


def test_what_begins_no_saga_of_the_application_itself_is_missed_too(choros: Choros, tmp_path: Path) -> None:
    """The release that begins sagas by them has come later than the facts."""
    (tmp_path / "followed.py").write_text(FOLLOWED)
    addresses = Addresses("memory://followed", "sqlite:///sagas.db", "sqlite:///{service}.db")
    asyncio.run(act(addresses, "Ada", "Bob"))
    missed = ("facts", "missed", "followed", "--since", "1h", *STORE)
    code, out, _ = choros(*missed)
    assert (code, out.count("app.newsroom  facts.booked.v1"), out.splitlines()[-1]) == (
        1, 2, "app.newsroom: 2 missed of 2 facts"
    )  # fmt: skip
    for who in ("Ada", "Bob"):
        choros("saga", "start", "followed", "following", "-i", f'{{"who": "{who}"}}', "--broker", "memory://", *STORE)
    assert choros(*missed)[:2] == (0, "app.newsroom: 0 missed of 2 facts\n")
