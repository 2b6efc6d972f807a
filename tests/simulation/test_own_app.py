"""The simulated world on applications of users: with played services, with their own handlers, from the shell."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field, field_validator
from typer.testing import CliRunner

from choros import App, Command, Done, Message, Pivot, Reply, Saga, Service
from choros.errors import UsageError
from choros.store.sqlite.barrier import SqliteTransaction
from choros_verify import Fault, PersonAct, RunPlan, Scene, ScriptLine, campaign, simulate
from choros_verify.commands.sim import app as command_line
from choros_verify.simulation.invention import invent
from choros_verify.simulation.report import summary
from tests.simulation import library, trip
from tests.simulation.planted import no_dedupe

LIBRARY = "tests.simulation.library"


def test_one_call_simulates_an_application() -> None:
    result = simulate(library.app, seed=7)
    assert result.violations == () and result.story


def test_start_messages_can_be_given() -> None:
    result = simulate(library.app, seed=1, starts=[(library.lending, library.Borrow(title="Emma"))])
    assert result.violations == ()


def test_a_services_own_handlers_run_and_change_its_own_tables() -> None:
    scene = Scene(library.app, own=["shelf"])
    world = scene.world(RunPlan(seed=1, starts=(0.0, 0.0, 0.0, 0.0, 0.0)))
    try:
        assert world.run(scene.horizon)
        assert world.databases["shelf"].items["a1"] == 3
        statuses = sorted(record.status for record in world.store.records().values())
        assert statuses == ["compensated"] * 2 + ["completed"] * 3
    finally:
        world.end()


@pytest.mark.long
def test_own_handlers_break_no_promise_either() -> None:
    tally = campaign(Scene(library.app, own=["shelf", "desk"]), range(1, 41))
    assert [result.violations for result in tally.failures] == []


def test_a_service_that_does_not_exist_cannot_be_its_own() -> None:
    with pytest.raises(UsageError, match="There is no service"):
        Scene(library.app, own=["nobody"])


def test_a_handler_for_another_database_is_refused() -> None:
    shelf = Service("shelf")

    @shelf.handles(library.TakeBook)
    async def take_book(command: library.TakeBook, db: SqliteTransaction) -> Done:
        return Done()

    @shelf.handles(library.PutBookBack)
    async def put_book_back(command: library.PutBookBack) -> Done:
        return Done()

    with pytest.raises(UsageError, match="take_book of shelf takes a SqliteTransaction"):
        Scene(App("library", sagas=[library.lending], services=[shelf, library.desk]), own=["shelf"], store="redis")


def test_a_service_whose_handlers_are_elsewhere_cannot_be_its_own() -> None:
    from reference_services.order.app import app

    with pytest.raises(UsageError, match="payment has no handlers here"):
        Scene(app, own=["payment"])


def test_the_reference_order_saga_can_be_simulated() -> None:
    from reference_services.order.app import app

    tally = campaign(Scene(app), range(1, 16))
    assert [result.violations for result in tally.failures] == []


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        (RunPlan(seed=1, script=(ScriptLine(0, "takke", "do", "slow"),)), "step 'takke' is not known"),
        (RunPlan(seed=1, script=(ScriptLine(0, "take", "do", "slowly"),)), "outcome 'slowly'"),  # type: ignore[arg-type]
        (RunPlan(seed=1, script=(ScriptLine(0, "take", "do", "refused", code="away"),)), "code 'away'"),
        (RunPlan(seed=1, script=(ScriptLine(1, "take", "do", "slow"),)), "this plan starts 1 sagas"),
        (RunPlan(seed=1, faults=(Fault("crash", "service:shell", 1),)), "target 'service:shell'"),
        (RunPlan(seed=1, faults=(Fault("emptied", "broker", 1),)), "kind of fault 'emptied'"),  # type: ignore[arg-type]
    ],
)
def test_a_plan_of_what_is_not_there_is_refused(plan: RunPlan, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Scene(library.app).examine(plan)


# --- messages made up -------------------------------------------------------------------------------------------------


class Everything(Message):
    name: str
    short: Annotated[str, Field(max_length=2)]
    day: date
    kind: Literal["a", "b"]
    number: Annotated[int, Field(ge=100)]
    maybe: int | None
    several: Annotated[tuple[str, ...], Field(min_length=1)]
    given: int = 3


class Impossible(Message):
    code: Annotated[str, Field(pattern="^Q{7}$")]


def test_messages_are_made_up_from_their_fields() -> None:
    made = invent(Everything, 2)
    assert made == Everything.from_json(made.to_json())
    assert invent(Everything, 3).name != made.name


def test_what_cannot_be_made_up_is_said() -> None:
    with pytest.raises(UsageError, match=r"Impossible\.code"):
        invent(Impossible)


class Numbered(Reply):
    number: str

    @field_validator("number")
    @classmethod
    def of_the_bank(cls, value: str) -> str:
        if not value.startswith("BNK-"):
            raise ValueError("a number of the bank starts with BNK-")
        return value


class Hold(Command[Numbered]):
    deposit: str


class Ask(Message):
    deposit: str


def hold(asked: Ask) -> Hold:
    return Hold(deposit=asked.deposit)


deposit = Saga("deposit", start=Ask, key=lambda asked: asked.deposit, steps=(Pivot(hold, to="bank"),))
vault = App("vault", sagas=[deposit], services=[Service("bank", commands=(Hold,))])


def test_a_reply_that_a_validator_refuses_is_asked_for_before_anything_runs() -> None:
    with pytest.raises(UsageError, match=r"Numbered\.number comes to mind: a number of the bank starts with BNK-"):
        Scene(vault)


@pytest.mark.long
def test_a_campaign_in_which_nothing_is_ever_completed_says_so() -> None:
    def fails(_: Hold) -> Numbered:
        raise KeyError("number")

    scene = Scene(vault, replies={Numbered: fails})
    assert any("no saga was completed in any run" in line for line in summary(campaign(scene, range(3)), scene, 1.0))


def test_a_reply_where_a_function_is_wanted_is_refused() -> None:
    given: Any = {Numbered: Numbered(number="BNK-1")}
    with pytest.raises(UsageError, match="The reply given for Numbered is no function"):
        Scene(vault, replies=given)


def test_whoever_skips_a_step_goes_on_with_the_reply_that_was_given() -> None:
    stuck = RunPlan(seed=1, script=(ScriptLine(0, "hold", "do", "stuck"),), acts=(PersonAct(1.0, 0, "skip"),))
    result = Scene(vault, replies={Numbered: lambda _: Numbered(number="BNK-1")}).examine(stuck, story=True)
    assert not result.violations, "\n".join(result.story)
    assert result.statuses == {"completed": 1}


# --- from the shell ---------------------------------------------------------------------------------------------------


def test_the_command_runs_a_campaign(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    ran = CliRunner().invoke(command_line, ["run", LIBRARY, "--campaigns", "20", "--json", str(report)])
    assert ran.exit_code == 0, ran.output
    assert "20 runs" in ran.output and '"failed": 0' in report.read_text()


def test_messages_that_nobody_can_make_up_are_given_to_the_command() -> None:
    arguments = ["replay", "5", "tests.simulation.test_own_app:vault"]
    assert isinstance(CliRunner().invoke(command_line, arguments).exception, UsageError)
    given = ["--start", '{"deposit": "d-77"}', "--reply", 'numbered.v1={"number": "BNK-1"}']
    ran = CliRunner().invoke(command_line, [*arguments, *given])
    assert ran.exit_code == 0 and "do hold replied" in ran.output


@pytest.mark.parametrize(("text", "words"), [("other={}", "is for no saga"), ("{}", "deposit: missing")])
def test_a_start_message_that_means_nothing_is_refused(text: str, words: str) -> None:
    ran = CliRunner().invoke(command_line, ["run", "tests.simulation.test_own_app:vault", "--start", text])
    assert isinstance(ran.exception, UsageError) and words in ran.exception.sentence


def test_the_command_replays_a_seed() -> None:
    first, again = (CliRunner().invoke(command_line, ["replay", "5", LIBRARY]) for _ in range(2))
    assert first.exit_code == 0 and first.output == again.output
    assert "trace " in first.output and "started" in first.output


@pytest.mark.long
def test_a_violation_is_told_with_its_seed_and_fails_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    no_dedupe(monkeypatch)
    ran = CliRunner().invoke(command_line, ["run", LIBRARY, "--campaigns", "25", "--workers", "1"])
    assert ran.exit_code == 1
    assert "is 2." in ran.output and "choros sim replay" in ran.output and "faults" in ran.output


def test_an_application_without_a_saga_is_refused() -> None:
    ran = CliRunner().invoke(command_line, ["run", "tests.simulation.no_saga"])
    assert isinstance(ran.exception, UsageError)


def test_the_example_of_the_page_works() -> None:
    plan = RunPlan(
        seed=1, faults=(Fault("empty", "broker", 1, 2.0),), script=(ScriptLine(0, "hold_room", "do", "slow", 5.0),)
    )
    result = Scene(trip.app).examine(plan, story=True)
    assert not result.violations, "\n".join(result.story)
    assert result.statuses == {"completed": 1}
