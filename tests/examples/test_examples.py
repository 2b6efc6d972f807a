"""Every program in examples/ runs as it stands, and prints this."""

from __future__ import annotations

import asyncio
import logging
import runpy
from collections.abc import Coroutine, Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from tests.virtual_time import VirtualTimeLoop

pytestmark = pytest.mark.slow
EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
PRINTED = {
    "first_saga": """
        Delphi: a seat is booked
        Delphi: a room is booked
        Delphi: completed
        Ithaca: a seat is booked
        Ithaca: the seat is free again
        Ithaca: compensated (full)
        """,
    "pivot": """
        T1: money is held
        T1: paid out
        T1: no paper
        T1: no paper
        T1: the receipt is printed
        T1: completed
        T2: money is held
        T2: money is released
        T2: compensated
        """,
    "provider": """
        o1: attempt 1
        o1: attempt 2
        o1: completed; the bank was called 2 times, and has charged 4200
        """,
    "local_undo": """
        o1: the book says apples +2, pears +2
        o1: completed
        o2: the book says apples +2, pears +2, apples -1, pears -1
        o2: compensated
        o3: the book says apples +2, pears +2, apples -1, pears -1, apples -1, pears -1, pears +1, apples +1
        o3: completed
        """,
    "late_subscriber": """
        o1 completed
        o2 completed
        o3 completed
        o4 completed
        statistics: 1 sent, the last was o1
        statistics: 2 sent, the last was o2
        statistics: 3 sent, the last was o3
        statistics: 4 sent, the last was o4
        """,
    "ordered_subscriber": """
        B: Loaded
        B: OnTheWay
        B: Delivered
        A: Loaded
        A: OnTheWay
        A: Delivered
        """,
    "undone_reaction": """
        Penelope: completed
        kitchen: dinner for Penelope
        Sisyphus: compensated
        kitchen: dinner for Sisyphus
        kitchen: no dinner for Sisyphus
        """,
    "three_ways": """
        all commanded: o1 OrderCompleted
        all commanded: o2 OrderFailed
        hybrid: o1 OrderCompleted
        hybrid: o2 OrderFailed
        all choreographed: o1 OrderCompleted
        all choreographed: o2 OrderFailed
        saga 'order' and choreography 'order-flow': compared in 45 ways of coming out
        ℹ not compared: a cancel of the saga; choreography 'order-flow': nothing takes it back
        ✔ at parity: the same effects, ends, facts heard, and what is parked
        """,
    "saga_test": """
        a reader with an old card gets nothing
        a desk that does not answer is asked again
        """,
}
WITH_A_BROKER = {
    "foreign_publisher": """
        the shop has sold o1
        the register has sold r1
        """,
}


def in_virtual_time(main: Coroutine[Any, Any, None]) -> None:
    """`asyncio.run`, where nobody waits for a second to pass."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(main)


@pytest.fixture(autouse=True)
def as_a_program(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a program of its own would take with it when it ends."""
    monkeypatch.setattr(asyncio, "run", in_virtual_time)
    log = logging.getLogger("choros")
    level = log.level
    yield
    log.setLevel(level)


def run(name: str) -> None:
    runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")


@pytest.mark.parametrize("name", PRINTED)
def test_it_prints(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    run(name)
    assert capsys.readouterr().out == dedent(PRINTED[name]).lstrip()


@pytest.mark.servers
@pytest.mark.parametrize("name", WITH_A_BROKER)
def test_it_prints_where_there_is_a_broker(
    name: str, amqp_url: str, namespace: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AMQP_URL", amqp_url)
    monkeypatch.setenv("CHOROS_NAMESPACE", namespace)
    run(name)
    assert capsys.readouterr().out == dedent(WITH_A_BROKER[name]).lstrip()


def test_each_has_its_line() -> None:
    files = {file.name for file in EXAMPLES.glob("*.py")}
    assert files == {f"{name}.py" for name in PRINTED | WITH_A_BROKER}
    page = (EXAMPLES / "README.md").read_text()
    assert files == {name for name in files if f"| [`{name}`]({name}) |" in page}
