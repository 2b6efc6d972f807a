"""A user's own handlers with what they need: a database that is no toy, and a client that is handed in."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from choros import Done, Service
from choros.errors import UsageError
from choros.store.memory.barrier import MemoryTransaction
from choros_verify import RunPlan, Scene, ScriptLine, campaign
from choros_verify.commands.sim import app as command_line
from tests.simulation import theatre

THEATRE = "tests.simulation.theatre"
OWN = ["--own", "office", "--own", f"till={THEATRE}:till_of_paper"]


@pytest.fixture
def banks(monkeypatch: pytest.MonkeyPatch) -> list[theatre.BankOfPaper]:
    """Every bank that a run has been given."""
    made: list[theatre.BankOfPaper] = []

    class Noted(theatre.BankOfPaper):
        def __init__(self) -> None:
            super().__init__()
            made.append(self)

    monkeypatch.setattr(theatre, "BankOfPaper", Noted)
    return made


def scene() -> Scene:
    return Scene(theatre.app, own={"office": lambda: theatre.office, "till": theatre.till_of_paper})


def test_handlers_for_redis_run_on_redis_and_sell_no_seat_twice(banks: list[theatre.BankOfPaper]) -> None:
    result = scene().examine(RunPlan(seed=1, starts=(0.0, 0.0, 0.0), store="redis"))
    assert result.violations == ()
    assert result.statuses == {"completed": 2, "compensated": 1}
    assert len(banks[-1].books) == 2


def test_each_run_has_resources_of_its_own(banks: list[theatre.BankOfPaper]) -> None:
    prepared = scene()
    before = len(banks)
    for _ in range(2):
        prepared.examine(RunPlan(seed=1, store="redis"))
    assert [len(bank.books) for bank in banks[before:]] == [1, 1]


def test_what_a_provider_has_done_is_counted_once_whatever_is_tried_again(banks: list[theatre.BankOfPaper]) -> None:
    script = (ScriptLine(0, "pay", "do", "transient", 2),)
    result = scene().examine(RunPlan(seed=1, script=script, store="redis"))
    assert result.violations == () and result.statuses == {"completed": 1}
    assert len(banks[-1].books) == 1


@pytest.mark.nightly
def test_no_promise_is_broken_with_them() -> None:
    tally = campaign(scene(), range(1, 16))
    assert [result.violations for result in tally.failures] == []


@pytest.mark.slow
def test_the_command_takes_them_too() -> None:
    ran = CliRunner().invoke(command_line, ["run", THEATRE, *OWN, "--campaigns", "3", "--workers", "1"])
    assert ran.exit_code == 0, ran.output
    assert "3 runs" in ran.output


@pytest.mark.slow
def test_frames_and_stores_that_are_no_toys_go_together() -> None:
    arguments = ["replay", "5", THEATRE, *OWN, "--frames", "--whole"]
    ran = CliRunner().invoke(command_line, arguments)
    assert ran.exit_code == 0, ran.output
    assert "do pay replied" in ran.output


def in_memory() -> Service:
    service = Service("till")

    @service.handles(theatre.Charge)
    async def charge(command: theatre.Charge, db: MemoryTransaction) -> Done:
        return Done()

    return service


@pytest.mark.parametrize(
    ("own", "words"),
    [
        ({"till": lambda: Service("tills")}, "no service of that name"),
        ({"till": lambda: Service("till")}, "no handlers here for Charge"),
        ({"office": lambda: theatre.office, "till": in_memory}, "take_seat of office takes a RedisTransaction"),
    ],
)
def test_what_does_not_fit_is_refused(own: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Scene(theatre.app, own=own)


def test_handlers_for_redis_are_not_run_in_memory() -> None:
    with pytest.raises(UsageError, match="no such database here with memory"):
        Scene(theatre.app, own=["office"], store="memory")


@pytest.mark.parametrize(
    ("given", "words"), [("till=nowhere:make", "cannot be loaded"), (f"till={THEATRE}:app", "is no")]
)
def test_a_function_that_is_not_there_is_named(given: str, words: str) -> None:
    ran = CliRunner().invoke(command_line, ["run", THEATRE, "--own", given])
    assert isinstance(ran.exception, UsageError) and words in ran.exception.sentence
