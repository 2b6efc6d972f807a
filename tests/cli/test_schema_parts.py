"""`choros schema` knows all that an application keeps: also its schedules, locks and the facts that it waits for."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest
from redis.asyncio import Redis

from choros.cli.schema import _parts
from choros.roles.addresses import store_at
from choros.roles.loading import load_app
from choros.testing.conformance.records import creation, stored
from tests.cli.test_cli import Choros, choros

__all__ = ["choros"]

SETTLING = """
from datetime import datetime, timedelta

from choros import App, Command, Done, Fact, FactStart, Lock, Message, Pivot, Saga, Schedule, Service, Wait

class Settle(Message):
    day: str

class Collect(Command[Done]):
    day: str

class Counted(Fact):
    day: str

class Opened(Fact):
    day: str

def collect(night: Settle) -> Collect:
    return Collect(day=night.day)

def settle(moment: datetime) -> Settle:
    return Settle(day=str(moment.date()))

def settle_it(fact: Opened) -> Settle:
    return Settle(day=fact.day)

def opened(night: Settle) -> Opened:
    return Opened(day=night.day)

def counted(night: Settle) -> str:
    return night.day

saga = Saga(
    "settlement", start=Settle, key=lambda night: night.day, completed=opened,
    lock=Lock("bank", key=lambda night: "it", within=timedelta(hours=1)),
    steps=(
        Wait(Counted, key=counted, of=lambda fact: fact.day, within=timedelta(days=1), otherwise="go_on", name="count"),
        Pivot(collect, to="bank"),
    ),
)
nightly = Schedule("nightly", saga, start=settle, cron="0 2 * * *", tz="Europe/Berlin")
app = App(
    "settling", sagas=[saga], services=[Service("bank", commands=(Collect,))], schedules=[nightly],
    starts=[FactStart(saga, on=Opened, start=settle_it)],
)
"""
PARTS = ["saga store", "store of schedules", "store of locks", "store of awaited facts"]
SQLITE = ("--store", "sqlite:///sagas.db")


@pytest.fixture
def settling(choros: Choros, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Choros:
    """Under the namespace of the test, where it has one."""
    name = request.getfixturevalue("namespace") if "redis_url" in request.fixturenames else "settling"
    (tmp_path / "settling.py").write_text(SETTLING.replace('"settling"', f'"{name}"'))
    monkeypatch.delitem(sys.modules, "settling", raising=False)
    return choros


async def old_redis(url: str) -> None:
    """Each part holds a record, laid out as schema version 2 was."""
    async with Redis.from_url(url) as client:
        for part in _parts(load_app("settling:app")):
            store = store_at(url, part.scope)
            await store.open()
            await stored(store, creation("s1"))
            await store.close()
            await client.set(f"{{{part.scope}}}:schema", 2)


@pytest.mark.servers
def test_every_part_of_a_redis_is_shown_and_brought_up(settling: Choros, redis_url: str) -> None:
    asyncio.run(old_redis(redis_url))
    where = ("settling", "--store", redis_url)
    rows = json.loads(settling("schema", "show", *where, "-o", "json").out)
    assert [(row["what"], row["schema_version"]) for row in rows] == [(what, 2) for what in PARTS]
    told = settling("schema", "upgrade", *where).out.splitlines()
    brought = zip(PARTS, ("sagas", "schedules", "records", "facts"), strict=True)
    assert told == [f"{what}: 1 {many} brought from schema version 2 to 3" for what, many in brought]
    assert settling("schema", "upgrade", *where).out.count("has schema version 3 already") == len(PARTS)


def test_what_an_application_does_not_declare_is_not_looked_for(choros: Choros) -> None:
    assert choros("schema", "upgrade", "travel", *SQLITE).err.count("there is none") == 1
    asyncio.run(store_at("sqlite:///sagas.db", "travel.travel").open())
    assert choros("schema", "show", "travel", *SQLITE).out.splitlines() == ["saga store: schema version 3"]


@pytest.mark.parametrize("verb", ["show", "upgrade"])
@pytest.mark.parametrize("what", ["--store", "--database"])
def test_a_server_that_is_away_is_one_line(
    choros: Choros, verb: str, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    ended = choros("schema", verb, "travel", what, "postgresql://choros@127.0.0.1:9/away")
    (line,) = ended.err.splitlines()
    assert "does not answer" in line
    assert caplog.records == []
