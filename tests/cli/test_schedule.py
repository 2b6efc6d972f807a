"""`choros schedule`: what the clock starts, and what a person does with that."""

import asyncio
import json
import sys
from pathlib import Path

import pytest

from choros.roles.addresses import Addresses
from choros.roles.loading import load_app
from choros.roles.roles import running
from tests.cli.test_cli import STORE, Choros, choros

__all__ = ["choros"]

NIGHT = """
from datetime import datetime, timedelta

from choros import App, Command, Done, Message, Pivot, Saga, Schedule, Service

class Settle(Message):
    day: str

class Collect(Command[Done]):
    day: str

def collect(night: Settle) -> Collect:
    return Collect(day=night.day)

def settle(moment: datetime) -> Settle:
    return Settle(day=str(moment.date()))

saga = Saga("settlement", start=Settle, steps=(Pivot(collect, to="bank"),))
nightly = Schedule("nightly", saga, start=settle, cron="0 2 * * *", tz="Europe/Berlin")
app = App("night", sagas=[saga], services=[Service("bank", commands=(Collect,))], schedules=[nightly])
without = App("night", sagas=[saga], services=[Service("bank", commands=(Collect,))])
"""


@pytest.fixture
def night(choros: Choros, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Choros:
    """With a store on which its orchestrator has been once."""
    (tmp_path / "night.py").write_text(NIGHT)
    monkeypatch.delitem(sys.modules, "night", raising=False)
    work()
    return choros


def work() -> None:
    """An orchestrator has begun, and started what was wanted."""

    async def a_moment() -> None:
        addresses = Addresses("memory://", STORE[1], "memory://")
        async with running(load_app("night:app"), addresses) as client:
            while True:
                shown = (await client.schedules.show("nightly")).agenda
                if shown and not (shown.wanted or shown.backfills):
                    return
                await asyncio.sleep(0.05)

    asyncio.run(a_moment())


def told(said: Choros, *words: str) -> dict[str, object]:
    found = json.loads(said("schedule", *words, *STORE, "-o", "json").out)
    assert isinstance(found, dict)
    return found


def test_a_person_pauses_resumes_and_reads_who_did(night: Choros) -> None:
    who = ("--by", "Ann", "--reason", "the bank is closed")
    said = night("schedule", "pause", "night:app", "nightly", *who, *STORE)
    assert (said.code, said.err) == (0, "")
    assert said.out == "paused: the clock starts nothing more until it is resumed\n"
    said = night("schedule", "pause", "night:app", "nightly", *STORE)
    assert (said.code, said.out) == (1, "too_late: it is paused already\n")
    shown = night("schedule", "show", "night:app", "nightly", *STORE).out
    assert "nightly: 0 2 * * * Europe/Berlin, starts settlement; paused" in shown
    assert "paused Ann the bank is closed" in shown
    assert "next:" not in shown
    assert told(night, "resume", "night:app", "nightly") == {
        "schedule": "nightly",
        "act": "resume",
        "answer": "resumed",
    }
    assert night("schedule", "show", "night:app", "nightly", *STORE).out.count("next: ") == 5
    said = night("schedule", "resume", "night:app", "nightly", *STORE)
    assert (said.code, said.out) == (1, "too_late: it is not paused\n")


def test_a_person_starts_it_now_and_for_nights_that_were(night: Choros) -> None:
    one = told(night, "trigger", "night:app", "nightly", "--id", "t1")
    assert one == {"schedule": "nightly", "act": "trigger", "answer": "triggered", "saga_id": one["saga_id"]}
    said = night("schedule", "trigger", "night:app", "nightly", "--id", "t1", *STORE)
    assert said.out == f"triggered {one['saga_id']}: an orchestrator starts it within a second or so\n"
    span = ("--from", "2026-01-01T00:00:00Z", "--to", "2026-01-03T12:00:00Z")
    said = night("schedule", "backfill", "night:app", "nightly", *span, *STORE)
    assert said.out == "backfilled 3: an orchestrator starts what of these was not started yet\n"
    work()
    row = told(night, "show", "night:app", "nightly")
    ticks = row["ticks"]
    assert isinstance(ticks, list)
    assert [tick["why"] for tick in ticks] == ["trigger", "backfill", "backfill", "backfill"]
    assert [tick["at"] for tick in ticks[1:]] == [f"2026-01-0{day}T01:00:00Z" for day in (1, 2, 3)]
    saga = json.loads(night("saga", "show", "night:app", str(one["saga_id"]), *STORE, "-o", "json").out)
    assert saga["key"] == "nightly:trigger:t1"
    assert night("saga", "list", *STORE, "-o", "json").code == 0  # schedules are no application of their own


def test_a_list_says_how_each_is(night: Choros) -> None:
    line = night("schedule", "list", "night:app", *STORE).out
    assert line.split("\t")[:4] == ["nightly", "0 2 * * * Europe/Berlin", "settlement", "on"]
    line = night("schedule", "list", "night:without", *STORE).out
    assert line.split("\t")[:4] == ["nightly", "0 2 * * * Europe/Berlin", "", "not declared any more"]


def test_check_says_what_is_declared(night: Choros) -> None:
    said = night("check", "night:app").out
    assert "schedule nightly: 0 2 * * * Europe/Berlin starts settlement; of what is missed: once\n" in said
    declared = json.loads(night("check", "night:app", "-o", "json").out)["schedules"]
    assert [one["schedule"] for one in declared] == ["nightly"]
    assert "schedules" not in json.loads(night("check", "night:without", "-o", "json").out)


def test_what_is_not_there_is_said(night: Choros) -> None:
    for verb in ("pause", "show", "trigger"):
        said = night("schedule", verb, "night:app", "nihgtly", *STORE)
        assert (said.code, said.out) == (2, "")
        assert "There is no schedule 'nihgtly' in this application. Did you mean 'nightly'?" in said.err
    said = night("schedule", "backfill", "night:app", "nightly", "--from", "soon", "--to", "1d", *STORE)
    assert "--from 'soon' is no time." in said.err
