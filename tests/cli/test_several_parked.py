"""`choros saga retry` and `skip` where a saga is parked at several nodes: what a person sees, and has to say."""

from __future__ import annotations

import asyncio
import shlex
import sys
from pathlib import Path

import pytest

from choros.roles.addresses import Addresses
from choros.roles.loading import load_app
from choros.roles.roles import running
from tests.captured import capture_logs
from tests.cli.test_cli import SERVERS, STORE, Choros, choros
from tests.end_to_end.shop import until

__all__ = ["choros"]  # the fixture

PARADE = """
from choros import (
    App, Command, Done, ForEach, Message, Parallel, Retriable, RetryPolicy, Saga, Service, Sleep, Step
)

class Parade(Message, name="parades.parade"):
    town: str

class March(Command[Done]):
    town: str

street = Service("street")

@street.handles(March)
async def march(command: March) -> Done:
    raise ConnectionError

def go(parade: Parade) -> March:
    return March(town=parade.town)

def go_in_row(parade: Parade, row: int) -> March:
    return March(town=parade.town)

def rows(parade: Parade) -> list[int]:
    return [1, 2]

once = RetryPolicy(attempts=1, exhausted="park")
steps = Parallel(
    Step(go, to="street", compensation=go, name="band", retry=once),
    ForEach(rows, Step(go_in_row, to="street", compensation=go, retry=once), at_once=2),
    name="both",
)
saga = Saga("parade", start=Parade, key=lambda parade: parade.town, steps=(steps,))
app = App("parades", sagas=[saga], services=[street])
"""
BAND, FIRST, SECOND = "both.band", "both.rows[0].go_in_row", "both.rows[1].go_in_row"


@pytest.fixture
def parked(choros: Choros, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """A saga that is parked at three steps, in the store."""
    (tmp_path / "parades.py").write_text(PARADE)
    sys.modules.pop("parades", None)
    app = load_app("parades")
    parade = sys.modules["parades"].Parade(town="Ulm")

    async def run() -> str:
        async with running(app, Addresses("memory://", STORE[1], f"sqlite:///{tmp_path}/{{service}}.db")) as client:
            saga_id = await client.start(app.saga("parade"), parade)

            async def all_parked() -> bool:
                return len((await client.show(saga_id)).instance.parked_at) == 3

            await until("all are parked", all_parked)
            return saga_id

    with capture_logs():
        saga_id = asyncio.run(run())
    capsys.readouterr()
    sys.modules.pop("parades", None)
    return saga_id


def test_show_names_each_of_them(choros: Choros, parked: str) -> None:
    shown = choros("saga", "show", "parades", parked, *SERVERS).out
    waiting = shown[shown.index("\nwaits for a person") :].split("waits for a person: ")[1:]
    for told, path in zip(waiting, (BAND, FIRST, SECOND), strict=True):
        assert told.startswith(f"{path} (do) is in doubt")
        assert f"Try: choros saga retry parades Ulm --step {shlex.quote(path)} --store" in told


@pytest.mark.parametrize("verb", ["retry", "skip"])
def test_without_a_name_nothing_is_done_and_all_are_named(choros: Choros, parked: str, verb: str) -> None:
    said = choros("saga", verb, "parades", parked, *SERVERS)
    assert said.code == 2
    assert "is parked at several steps" in said.err
    assert f"--step, one of {BAND}, '{FIRST}', '{SECOND}'." in said.err, "quoted where a shell would read it otherwise"


def test_one_that_is_not_parked_is_refused_with_those_that_are(choros: Choros, parked: str) -> None:
    said = choros("saga", "retry", "parades", parked, "--step", "both.rows[7].go_in_row", *SERVERS)
    assert said.code == 2
    assert f"is parked at {BAND}, {FIRST}, {SECOND}, not at both.rows[7].go_in_row" in said.err
    assert f"--step, one of {BAND}, '{FIRST}', '{SECOND}'." in said.err


def test_each_is_looked_after_by_its_name_and_the_last_one_without(choros: Choros, parked: str) -> None:
    again = choros("saga", "retry", "parades", parked, "--step", SECOND, *SERVERS)
    assert (again.code, again.out.strip()) == (0, f"unparked: it goes on with {SECOND}")
    assert "parked" in choros("saga", "list", "parades", *STORE).out, "two others still are"
    skipped = choros("saga", "skip", "parades", parked, "--step", BAND, "-i", "{}", *SERVERS)
    assert (skipped.code, skipped.out.strip()) == (
        0,
        "unparked: the step's command is closed first, then it goes on",
    )
    twice = choros("saga", "retry", "parades", parked, "--step", SECOND, *SERVERS)
    assert (twice.code, f"is parked at {FIRST}, not at {SECOND}" in twice.err) == (2, True)
    last = choros("saga", "retry", "parades", parked, *SERVERS)
    assert (last.code, last.out.strip()) == (0, f"unparked: it goes on with {FIRST}")
    assert "running" in choros("saga", "list", "parades", *STORE).out
