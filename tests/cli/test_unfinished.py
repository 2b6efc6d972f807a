"""`choros unfinished`: what a service has taken, to be finished from outside, and finishing it by hand."""

import asyncio
import json
import re
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from choros import Addresses, Client, running, unfinished_of
from choros.roles.loading import load_app
from choros.runtime.host.vitals import Vitals
from choros.transport.port import Health
from tests.cli.test_cli import STORE, Choros, choros

__all__ = ["choros"]

POST = """
from datetime import timedelta

from choros import App, Command, Later, Message, Pivot, Reply, Saga, Service

class Send(Message):
    parcel: str

class Delivered(Reply):
    to: str

class Deliver(Command[Delivered], refusals=("moved",)):
    parcel: str

def deliver(send: Send) -> Deliver:
    return Deliver(parcel=send.parcel)

carrier = Service("carrier")

@carrier.handles(Deliver)
async def carry(command: Deliver) -> Delivered | Later:
    return Later(f"tour of {command.parcel}")

pivot = Pivot(deliver, to="carrier", finished_within=timedelta(days=9))
saga = Saga("parcel", start=Send, key=lambda send: send.parcel, steps=(pivot,))
app = App("post", sagas=[saga], services=[carrier])
"""
DATABASE = ("--database", "sqlite:///{service}.db")
ADDRESSES = Addresses("memory://", STORE[1], DATABASE[1])


@pytest.fixture
def post(choros: Choros, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Choros:
    """Two parcels are on their tour."""
    (tmp_path / "post.py").write_text(POST)
    monkeypatch.delitem(sys.modules, "post", raising=False)

    async def work() -> None:
        app = load_app("post:app")
        async with running(app, ADDRESSES) as client, unfinished_of(app, "carrier", ADDRESSES) as unfinished:
            saga = app.saga("parcel")
            for count, parcel in enumerate(("p1", "p2"), 1):
                saga_id = await client.start(saga, saga.start(parcel=parcel))
                while len(await unfinished.list()) < count or not await said_so(client, saga_id):
                    await asyncio.sleep(0.01)

    asyncio.run(work())
    return choros


async def said_so(client: Client, saga_id: str) -> bool:
    """Whether the saga knows."""
    history = await client._store.history(saga_id)
    return any("unfinished" in row.events for row in history)


def ended() -> str:
    """How the first parcel's saga is once the service runs again."""

    async def work() -> str:
        app = load_app("post:app")
        async with running(app, ADDRESSES) as client:
            saga = app.saga("parcel")
            return (await client.run(saga, saga.start(parcel="p1"), timeout=timedelta(seconds=30))).status

    return asyncio.run(work())


def test_a_person_lists_them_and_finishes_one(post: Choros) -> None:
    lines = post("unfinished", "list", "post:app", "carrier", *DATABASE).out.splitlines()
    assert [line.split("\t")[:4] for line in lines] == [
        ["tour of p1", "deliver.v1", "parcel", "p1"],
        ["tour of p2", "deliver.v1", "parcel", "p2"],
    ]
    where = ("post:app", "carrier", "tour of p1")
    said = post("unfinished", "complete", *where, "-i", '{"to": "a neighbour"}', *DATABASE)
    assert (said.code, said.out) == (0, "finished: the service's own process sends the answer\n")
    said = post("unfinished", "complete", *where, "-i", '{"to": "a neighbour"}', *DATABASE, "-o", "json")
    assert json.loads(said.out) == {"token": "tour of p1", "answer": "repeated"}
    (row,) = json.loads(post("unfinished", "list", "post:app", "carrier", *DATABASE, "-o", "json").out)
    assert (row["token"], row["saga"], row["subject"]) == ("tour of p2", "parcel", "p2")
    assert ended() == "completed"


def test_what_a_person_may_not_say_is_said(post: Choros) -> None:
    where = ("post:app", "carrier", "tour of p1")
    said = post("unfinished", "complete", *where, "-i", '{"wrong": 1}', *DATABASE)
    assert (said.code, "The body is no delivered.v1" in said.err) == (1, True)
    said = post("unfinished", "refuse", *where, "lost", *DATABASE)
    assert (said.code, "Deliver declares no refusal 'lost'. Try: one of: moved." in said.err) == (2, True)
    assert post("unfinished", "refuse", *where, "moved", *DATABASE).code == 0
    said = post("unfinished", "fail", *where, "Rain", *DATABASE)
    assert (said.code, "answered otherwise before (refused)" in said.err) == (1, True)
    assert post("unfinished", "fail", "post:app", "carrier", "tour of p2", "Rain", *DATABASE).code == 0
    said = post("unfinished", "complete", "post:app", "carrier", "tour of p9", *DATABASE)
    assert (said.code, "No command is to be finished under this token" in said.err) == (1, True)


def test_a_saga_says_that_it_is_finished_outside(post: Choros) -> None:
    shown = post("saga", "show", "post:app", "p1", *STORE).out
    assert "taken, finished outside within 9 days" in shown
    assert re.search(r"taken, and finished from outside; (asked again in \d+s, )?it gives up in 8d", shown), shown
    assert "choros unfinished list APP carrier says under which token" in shown


async def test_health_says_how_old_the_oldest_is(tmp_path: Path, post: Choros) -> None:
    vitals = Vitals("service:carrier", path=tmp_path / "health.json")
    vitals.broker = lambda: Health("connected", 0.0)
    vitals._store.note("connected")
    vitals.unfinished["carrier"] = vitals.report().at - 7200
    vitals._write()
    said = post("health", str(tmp_path / "health.json"))
    assert "carrier has commands that are finished from outside, the oldest taken 2h ago" in said.out
