"""Flows that nobody orchestrates, in the simulated world: the services' own reactions, barrier, outbox and relay, under
faults of every kind; and each rule that they go by, taken out, is found by the plan that stands beside it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from choros.errors import UsageError
from choros.runtime.host.service_outbox import ServiceOutbox
from choros.runtime.subscriber import reactions
from choros.runtime.subscriber.closing import Closing
from choros.runtime.subscriber.effect_rows import EffectRows
from choros.store.memory.barrier import MemoryTransaction
from choros.values import replace
from choros_verify import Fault, RunPlan, Scene, campaign, plan_for
from choros_verify.simulation.report import failure, summary
from choros_verify.simulation.script import FlowLine
from tests.simulation import flows

Plant = Callable[[pytest.MonkeyPatch], None]
OWN = flows.SERVICES


@pytest.fixture(scope="module")
def scene() -> Scene:
    return Scene(flows.app, own=OWN)


@pytest.fixture(scope="module")
def played() -> Scene:
    """With handlers that go on whatever they are given: the rules are to be kept by the runtime."""
    return Scene(flows.app)


def no(who: str, fact: str) -> FlowLine:
    return FlowLine(0, who, "refused", code=f"{fact}.v1")


def plan(*lines: FlowLine, faults: tuple[Fault, ...] = ()) -> RunPlan:
    return RunPlan(seed=1, starts=(), orchestrators=0, flows=(1.0,), reactions=lines, faults=faults)


# --- as it is -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("own", [(), OWN])
def test_no_promise_is_broken_in_flows(own: tuple[str, ...]) -> None:
    tally = campaign(Scene(flows.app, own=own), range(1, 9))
    assert ["\n".join(failure(result)) for result in tally.failures] == []
    assert tally.acts["flow ended well"] and tally.acts["flow ended badly"]


@pytest.mark.long
def test_nor_where_processes_reach_the_broker_by_frames() -> None:
    tally = campaign(Scene(flows.app, own=OWN, frames=True), range(1001, 1003))
    assert ["\n".join(failure(result)) for result in tally.failures] == []


@pytest.mark.long
@pytest.mark.parametrize(("frames", "runs"), [(False, 150), (True, 20)])
def test_nor_in_many_runs(frames: bool, runs: int) -> None:
    tally = campaign(Scene(flows.app, own=OWN, frames=frames), range(5001, 5001 + runs), workers=2)
    assert ["\n".join(failure(result)) for result in tally.failures] == []


def test_the_same_seed_is_the_same_run(scene: Scene) -> None:
    once, again = (scene.examine(plan_for(7, scene.setting), story=True) for _ in range(2))
    assert (once.digest, once.acts) == (again.digest, again.acts)


def test_what_one_gives_up_the_others_take_back(scene: Scene) -> None:
    result = scene.examine(plan(FlowLine(0, "house.take_seat", "stuck")), story=True)
    assert (result.violations, result.acts["flow ended badly"]) == ((), 1)


def test_what_fails_for_good_waits_for_a_person(scene: Scene) -> None:
    result = scene.examine(plan(FlowLine(0, "office.sell", "stuck")))
    assert (result.violations, result.acts["flow parked"]) == ((), 1)


def test_a_flow_is_begun_once_a_queue_has_its_first_fact(scene: Scene) -> None:
    """Rule 38: a fact that no queue takes counts as sent, but the one that begins a flow does not."""
    result = scene.examine(plan(faults=(Fault("return", "client", 1),)))
    assert (result.violations, result.acts["flow ended well"]) == ((), 1)


def test_a_campaign_counts_flows(scene: Scene) -> None:
    said = "\n".join(summary(campaign(scene, range(1, 3)), scene, 1.0))
    assert " flows, " in said and "bounds the share of bad flows" in said


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (FlowLine(1, "money.pay", "slow"), "this plan begins 1 flows"),
        (FlowLine(0, "money.payy", "slow"), "reaction 'money.payy' is not known"),
        (FlowLine(0, "money.pay", "later"), "outcome 'later' is not known"),
        (FlowLine(0, "money.pay", "refused", code="paid.v1"), "no 'paid.v1' is not known"),
    ],
)
def test_a_line_about_what_there_is_not_is_refused(scene: Scene, line: FlowLine, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        scene.examine(plan(line))


# --- with a rule taken out ----------------------------------------------------------------------------------------


def undo_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    """What takes something back passes it over, and says that it has."""
    admit = EffectRows._undo

    async def passes_over(self: EffectRows, effect: Any) -> Any:
        admitted = await admit(self, effect)
        self.stands = False
        return admitted

    patch.setattr(EffectRows, "_undo", passes_over)


def no_tombstone(patch: pytest.MonkeyPatch) -> None:
    """An undo that overtakes what it undoes leaves nothing behind."""
    write = EffectRows._write

    async def unless_dead(self: EffectRows, effect: Any, state: Any, content: str = "") -> None:
        if state != "tombstone" and effect.operation == "do":
            await write(self, effect, state, content)

    patch.setattr(EffectRows, "_write", unless_dead)


def joins_with_one(patch: pytest.MonkeyPatch) -> None:
    """What waits for several facts begins with the first."""
    named = EffectRows._named

    async def hasty(self: EffectRows, effect: Any) -> Any:
        done = await named(self, effect)
        return "yes" if done == "joined" else done

    patch.setattr(EffectRows, "_named", hasty)


def no_inbox(patch: pytest.MonkeyPatch) -> None:
    """A fact that comes again is handled again."""
    patch.setattr(reactions, "is_repeated", lambda *_: False)
    handled = reactions.Reaction._admit

    async def forgetful(self: Any, heard: Any, known: Any, *more: Any) -> Any:
        return await handled(self, heard, None, *more)

    patch.setattr(reactions.Reaction, "_admit", forgetful)


def a_no_keeps_no_row(patch: pytest.MonkeyPatch) -> None:
    """Of what was not done, nobody knows that."""

    async def nothing(self: EffectRows, state: Any) -> None: ...

    patch.setattr(EffectRows, "leave", nothing)


def no_without_rollback(patch: pytest.MonkeyPatch) -> None:
    """What said no leaves its effect."""

    class Kept:
        async def __aenter__(self) -> None: ...
        async def __aexit__(self, *_: object) -> None: ...

    patch.setattr(MemoryTransaction, "savepoint", lambda self: Kept())


def no_row_of_the_closer(patch: pytest.MonkeyPatch) -> None:
    """Every end that the closer comes to is told."""

    async def anything(self: Closing, said: str) -> None: ...

    patch.setattr(Closing, "check", anything)


def published_outside(patch: pytest.MonkeyPatch) -> None:
    """A reaction's fact leaves before its transaction has committed."""
    given = ServiceOutbox.open_for

    def opened(self: ServiceOutbox, *about: Any) -> Any:
        outbox = given(self, *about)
        put = outbox.put

        async def put_and_send(fact: Any) -> None:
            await put(fact)
            self.dispatch([replace(outbox._written[-1], after="")])

        outbox.put = put_and_send  # type: ignore[method-assign] # the rule is taken out of this one
        return outbox

    patch.setattr(ServiceOutbox, "open_for", opened)


def never_looked_for(patch: pytest.MonkeyPatch) -> None:
    """Nobody sends what a process has left that died behind its commit."""

    async def only_mark(self: ServiceOutbox) -> None:
        await self._facts.run(scan=False)

    patch.setattr(ServiceOutbox, "run", only_mark)


JAM = plan(no("printer.print_it", "paper-jam"))
DECLINED, GIVES_UP = no("money.pay", "card-declined"), FlowLine(0, "house.take_seat", "stuck")
SLOW_HOUSE = FlowLine(0, "house.take_seat", "transient", 2)
FOUND_BY: list[tuple[Plant, RunPlan, str]] = [
    (undo_is_forgotten, JAM, "30:"),
    (no_tombstone, plan(DECLINED, SLOW_HOUSE), "30:"),
    (joins_with_one, plan(SLOW_HOUSE), "39:"),
    (no_inbox, plan(faults=(Fault("cut_after", "client", 1),)), "1:"),
    (a_no_keeps_no_row, plan(DECLINED), "1:"),
    (no_without_rollback, JAM, "30:"),
    (no_row_of_the_closer, plan(DECLINED, GIVES_UP, faults=(Fault("delay", "subscriber:office", 1, 900.0),)), "31:"),
    (published_outside, plan(faults=(Fault("refuse", "money database", 3),)), "28:"),
    (never_looked_for, plan(faults=(Fault("crash", "subscriber:money", 40, 2.0),)), "5:"),
]


@pytest.mark.parametrize(("plant", "found_by", "number"), FOUND_BY)
def test_a_rule_that_is_taken_out_is_found(
    played: Scene, plant: Plant, found_by: RunPlan, number: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = played.examine(found_by)
    plant(monkeypatch)
    broken = played.examine(found_by)
    assert (sound.violations, [one for one in broken.violations if one.startswith(number)] != []) == ((), True), broken
