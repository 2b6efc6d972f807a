"""`choros saga rerun`: what it prints, what it refuses, and what `show` says of it afterwards."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from choros.roles.addresses import Addresses
from choros.roles.loading import load_app
from choros.roles.roles import running
from tests.captured import capture_logs
from tests.cli.test_cli import SERVERS, STORE, Choros, choros, started

__all__ = ["choros"]  # the fixture

VISITS = """
from choros import App, Command, Done, Message, Pivot, Refused, Saga, Service

class Visit(Message, name="visits.visit"):
    who: str

class Admit(Command[Done], refusals=("full",)):
    who: str

house = Service("house")

@house.handles(Admit)
async def admit(command: Admit) -> Done:
    raise Refused("full")

def admit_them(visit: Visit) -> Admit:
    return Admit(who=visit.who)

saga = Saga("visit", start=Visit, key=lambda visit: visit.who, steps=(Pivot(admit_them, to="house"),))
app = App("visits", sagas=[saga], services=[house])
"""


@pytest.fixture
def undone(choros: Choros, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """A saga that was undone, in the store."""
    (tmp_path / "visits.py").write_text(VISITS)
    sys.modules.pop("visits", None)
    app = load_app("visits")
    visit = sys.modules["visits"].Visit(who="Ada")

    async def run() -> str:
        addresses = Addresses("memory://", STORE[1], f"sqlite:///{tmp_path}/{{service}}.db")
        async with running(app, addresses) as client:
            outcome = await client.run(app.saga("visit"), visit)
            assert outcome.status == "compensated"
            return outcome.saga_id

    with capture_logs():
        saga_id = asyncio.run(run())
    capsys.readouterr()
    sys.modules.pop("visits", None)
    return saga_id


def test_it_prints_the_id_of_the_new_one_and_again_the_same(choros: Choros, undone: str) -> None:
    first = choros("saga", "rerun", "visits", undone, "--from", "admit_them", *SERVERS)
    again = choros("saga", "rerun", "visits", undone, "--from", "admit_them", *SERVERS)
    assert (first.code, first.err, first.out) == (0, "", again.out)
    assert first.out.strip() not in ("", undone)
    old = choros("saga", "show", "visits", undone, *STORE)
    assert f"run again from here, as: {first.out.strip()}" in old.out
    assert "running" in choros("saga", "show", "visits", first.out.strip(), *STORE).out


def test_what_it_does_not_do_it_says(choros: Choros, undone: str) -> None:
    nowhere = choros("saga", "rerun", "visits", undone, "--from", "nowhere", *SERVERS)
    assert (nowhere.code, "commands no step 'nowhere'" in nowhere.err) == (2, True)
    running_one = choros("saga", "rerun", "travel", started(choros), "--from", "book_it", *SERVERS)
    assert (running_one.code, "The saga is running; only one that has ended" in running_one.err) == (2, True)
    unknown = choros("saga", "rerun", "visits", "no-such-id", "--from", "admit_them", *SERVERS)
    assert (unknown.code, "choros saga list" in unknown.err) == (1, True)
