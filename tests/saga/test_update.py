"""Updates: what is asked of a running saga is accepted as long as nothing that was sent has used it, or refused."""

# mypy: disable-error-code="arg-type"
from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from choros.errors import DeclarationError, Refused, UpdateRefused
from choros.messages import Done, Signal, Update
from choros.saga.diagram import mermaid, outline
from choros.saga.difference import difference, renamed, why_not_moved
from choros.saga.machine.inputs import CancelRequested, TerminateRequested, UpdateRequested
from choros.saga.machine.instance import Instance
from choros.saga.machine.updates import MOST_CHARACTERS, MOST_DETAIL, MOST_UPDATES
from choros.saga.nodes import ForEach, Pivot, Repeat, Sleep, Step, Wait, When
from choros.saga.saga import Saga
from choros.testing.dialogue import SagaTest
from tests.saga.delivery import (
    STEPS,
    AddGift,
    AddressChanged,
    ChangeAddress,
    Delivered,
    Order,
    Pack,
    Packed,
    PrintLabel,
    Ship,
    TearLabel,
    Thank,
    add_gift,
    change_address,
    delivered_to,
    delivery,
    delivery_of,
    pack,
    print_label,
    ship,
    unpack,
)
from tests.saga.driving import Run

ELM = ChangeAddress(street="2 Elm Road")


def begun(saga: Saga[Order] = delivery) -> SagaTest:
    test = SagaTest(saga)
    test.start(Order())
    return test


def refused(test: SagaTest, update: Update[Any]) -> tuple[str, str]:
    with pytest.raises(UpdateRefused) as no:
        test.update(update)
    return no.value.code, no.value.sentence


def test_what_is_built_from_now_on_sees_it() -> None:
    test = begun()
    assert test.update(ELM) == AddressChanged(extra=0)
    test.expect_command(Pack).reply(Packed())
    test.expect_command(PrintLabel(street="2 Elm Road")).reply()
    test.expect_command(Ship).reply()
    test.expect_facts(Delivered(street="2 Elm Road", gift=""))


def test_the_last_one_counts() -> None:
    test = begun()
    test.update(ChangeAddress(street="3 Ash Way"))
    test.update(ELM)
    assert test.instance.updated == (("change-address", ELM.to_json()),)
    test.expect_command(Pack).reply(Packed())
    test.expect_command(PrintLabel(street="2 Elm Road"))


def test_one_that_is_refused_changes_nothing() -> None:
    test = begun()
    test.update(ELM)
    assert refused(test, ChangeAddress(street="1 Oak Lane")) == (
        "same_address", "change-address was refused as same_address: it goes there already",
    )  # fmt: skip
    assert test.instance.updated == (("change-address", ELM.to_json()),)


def test_its_function_knows_what_is_known_by_then() -> None:
    test = begun(delivery_of(*STEPS[:1], Sleep(an_hour), *STEPS[1:]))
    assert test.update(ELM) == AddressChanged(extra=0)
    test.expect_command(Pack).reply(Packed(weight=7))
    assert test.update(ELM) == AddressChanged(extra=7)


def an_hour(order: Order) -> timedelta:
    return timedelta(hours=1)


def test_it_is_too_late_once_a_command_has_used_it() -> None:
    test = begun()
    test.expect_command(Pack).reply(Packed())
    label = test.expect_command(PrintLabel(street="1 Oak Lane"))
    assert refused(test, ELM) == ("too_late", "change-address was refused as too_late: print_label has begun")
    label.reply()
    test.expect_command(Ship).refuse("lost")
    test.expect_compensation(TearLabel(street="1 Oak Lane"))
    assert refused(test, ELM)[1].endswith("the saga is being undone")


def test_what_is_used_behind_the_pivot_may_change_until_then() -> None:
    test = begun()
    test.expect_command(Pack).reply(Packed())
    test.expect_command(PrintLabel).reply()
    test.update(AddGift(gift="a pen"))
    test.expect_command(Ship).reply()
    test.expect_command(Thank(gift="a pen")).reply()
    test.expect_facts(Delivered(street="1 Oak Lane", gift="a pen"))
    assert refused(test, AddGift(gift="a cup")) == ("too_late", "add-gift was refused as too_late: the saga is over")


def test_one_that_is_passed_over_has_used_it() -> None:
    test = begun(delivery_of(*STEPS, Sleep(an_hour)))
    test.expect_command(Pack).reply(Packed())
    test.expect_command(PrintLabel).reply()
    test.expect_command(Ship).reply()
    assert refused(test, AddGift(gift="a pen"))[1].endswith("thank has begun")


# --- what it may be beside --------------------------------------------------------------------------------------------


def asked(update: Update[Any] = ELM, id: str = "u1") -> UpdateRequested:
    name = update.type_name.rpartition(".v")[0]
    return UpdateRequested(id, name, update.to_json())


def test_beside_the_answer_that_lets_it_be_used_it_is_in_time() -> None:
    run = Run(delivery, start=Order())
    decision = run.give(asked(), run.answer("ok", Packed()))
    assert (run.sent.type, run.sent.data) == ("print-label.v1", '{"street":"2 Elm Road"}')
    assert [(one.id, one.body, one.refused) for one in decision.answers] == [("u1", '{"extra":3}', False)]


@pytest.mark.parametrize(
    ("act", "said"),
    [
        (CancelRequested("c"), "the saga is being undone"),
        (TerminateRequested("t"), "the saga is being terminated"),
    ],
)
def test_beside_what_ends_the_saga(act: Any, said: str) -> None:
    run = Run(delivery, start=Order())
    decision = run.give(act, asked())
    assert [one.refused for one in decision.answers] == [True]
    assert said in decision.answers[0].body
    run = Run(delivery, start=Order())
    run.give(asked(), act)
    assert [event.kind for event in run.events if "update" in event.kind] == ["updated"]


def noted(run: Run) -> list[tuple[str, str, str]]:
    """What the last decision wrote into the history."""
    return [(event.kind, event.step, event.code) for event in run.last.events]


def test_what_came_of_one_is_noted_and_answered_under_its_id() -> None:
    run = Run(delivery, start=Order())
    (accepted,) = run.give(asked()).answers
    assert (accepted.id, noted(run)) == ("u1", [("updated", "change-address", "")])
    (no,) = run.give(asked(ChangeAddress(street="1 Oak Lane"), "u2")).answers
    assert (no.id, no.refused) == ("u2", True)
    assert noted(run) == [("update_refused", "change-address", "same_address")]
    for number in range(2, MOST_UPDATES):
        run.give(asked(id=f"more {number}"))
    assert run.give(asked(id="one more")).answers == ()
    assert noted(run) == [("update_refused", "change-address", "too_many")]


def test_a_pause_does_not_hold_it_back() -> None:
    run = Run(delivery, start=Order())
    run.pause()
    run.give(asked())
    assert run.kinds == ["updated"]
    run.ok(Packed())
    run.resume()
    assert run.sent.data == '{"street":"2 Elm Road"}'


def test_what_could_not_be_built_may_be_built_of_what_it_is_told_now() -> None:
    def picky(order: Order, change: ChangeAddress | None) -> PrintLabel:
        if change is None:
            raise LookupError
        return PrintLabel(street=change.street)

    steps = STEPS[0], Step(picky, to="store", compensation=unpack), STEPS[2]
    run = Run(delivery_of(*steps, updates=(change_address,), completed=()), start=Order())
    run.ok(Packed())
    assert run.status == "parked"
    run.give(asked())
    assert (run.kinds, run.status) == (["updated"], "parked")
    run.retry("picky")
    assert run.sent.data == '{"street":"2 Elm Road"}'


def test_one_that_moves_nothing_is_not_the_cause_of_what_follows() -> None:
    run = Run(delivery, start=Order())
    run.give(asked(ChangeAddress(street="1 Oak Lane"), "no"))
    assert (run.instance.cause, run.instance.updates) == ("start", 1)
    run.give(asked(id="yes"))
    assert (run.instance.cause, run.instance.updates) == ("yes", 2)


# --- until when -------------------------------------------------------------------------------------------------------


def lines(order: Order) -> list[str]:
    return ["a", "b"]


def many_lines(order: Order, change: ChangeAddress | None) -> list[str]:
    return ["a"] if change else ["a", "b"]


def far(order: Order, change: ChangeAddress | None) -> bool:
    return change is not None


def of_each(line: str) -> Thank:
    return Thank(gift=line)


def always(order: Order) -> bool:
    return True


def enough(order: Order, change: ChangeAddress | None) -> bool:
    return True


def as_long(order: Order, change: ChangeAddress | None) -> timedelta:
    return timedelta(hours=1 if change else 2)


def of_line(line: str, change: ChangeAddress | None) -> Pack:
    return Pack(order=line)


def wrap(order: Order) -> Thank:
    return Thank(gift=order.order)


class Called(Signal):
    yes: bool = True


def agreed(called: Called, change: ChangeAddress | None) -> bool:
    return called.yes


LABEL = Step(print_label, to="store", compensation=unpack)
WRAP = Step(wrap, to="store", compensation=unpack)
PACK = Step(pack, to="store", compensation=unpack)


@pytest.mark.parametrize(
    ("steps", "users"),
    [
        ([PACK, ForEach(many_lines, Step(pack, to="store", compensation=unpack, name="one"), name="each")], ["each"]),
        ([PACK, ForEach(lines, Step(of_line, to="store", compensation=unpack), name="each")], ["each"]),
        ([PACK, Repeat(LABEL, until=always, at_most=2, name="again")], ["again"]),
        ([PACK, Repeat(WRAP, until=enough, at_most=2)], ["repeat"]),
        ([PACK, When(far, then=LABEL)], ["far", "far.print_label"]),
        ([PACK, Sleep(as_long)], ["as_long"]),
        ([PACK, Wait(Called, within=as_long)], ["called"]),
        ([PACK, Wait(Called, within=timedelta(days=1), accept=agreed)], ["called"]),
    ],
)  # fmt: skip
def test_every_function_that_asks_for_it_ends_it(steps: list[Any], users: list[str]) -> None:
    saga = delivery_of(*steps, Pivot(ship, to="carrier"), updates=(change_address,), completed=())
    assert list(saga.outline.updates["change-address"].users) == users
    test = begun(saga)
    test.update(ELM)
    test.expect_command(Pack).reply(Packed())
    assert refused(test, ELM)[1].endswith(f"{users[0]} has begun")


def test_on_a_way_that_is_not_taken_nobody_uses_it() -> None:
    elsewhere = When(always, then=WRAP, otherwise=[LABEL])
    saga = delivery_of(elsewhere, PACK, Pivot(ship, to="carrier"), updates=(change_address,), completed=())
    test = begun(saga)
    test.update(ELM)
    test.expect_command(Thank).reply()
    assert refused(test, ELM)[1].endswith("the saga has gone past always.print_label")


def test_what_it_ends_with_sees_it_to_the_last() -> None:
    test = begun(delivery_of(PACK, Pivot(ship, to="carrier"), updates=(change_address,), completed=delivered_to))
    test.expect_command(Pack).reply(Packed())
    ship_now = test.expect_command(Ship)
    test.update(ELM)
    ship_now.reply()
    test.expect_facts(Delivered(street="2 Elm Road", gift=""))


def street_in_the_end(change: ChangeAddress | None) -> Packed:
    return Packed(weight=len(change.street) if change else 0)


def test_and_so_does_what_it_comes_to() -> None:
    saga = delivery_of(
        PACK, Pivot(ship, to="carrier"), updates=(change_address,), completed=(), result=street_in_the_end
    )
    test = begun(saga)
    test.update(ELM)
    test.expect_command(Pack).reply(Packed())
    test.expect_command(Ship).reply()
    assert test.result == Packed(weight=10)


# --- bounds -----------------------------------------------------------------------------------------------------------


def test_a_saga_answers_so_many_and_no_more() -> None:
    test = begun()
    for _ in range(MOST_UPDATES):
        test.update(ELM)
    before = test.instance
    assert refused(test, ELM)[0] == "too_many"
    assert test.instance == before


def test_a_saga_keeps_so_much_and_no_more() -> None:
    test = begun()
    test.update(ELM)
    assert refused(test, ChangeAddress(street="x" * MOST_CHARACTERS)) == (
        "too_large", "change-address was refused as too_large: the saga would keep too much",
    )  # fmt: skip
    test.update(AddGift(gift="x" * (MOST_CHARACTERS - 1_000)))
    assert refused(test, ChangeAddress(street="x" * 1_000))[0] == "too_large"
    assert dict(test.instance.updated)["change-address"] == ELM.to_json()


def test_a_function_that_fails_has_refused_it() -> None:
    test = begun()
    assert refused(test, ChangeAddress(street="?")) == (
        "failed", "change-address was refused as failed: change_address raised LookupError",
    )  # fmt: skip
    assert (test.status, test.instance.updated) == ("running", ())


def test_what_is_said_of_a_refusal_has_a_bound() -> None:
    def says_much(change: ChangeAddress) -> AddressChanged:
        raise Refused("no", "x" * (MOST_DETAIL + 1))

    run = Run(delivery_of(updates=(says_much, add_gift)), start=Order())
    assert len(run.give(asked()).answers[0].body) < MOST_DETAIL + 100


def test_a_record_without_them_is_as_it_was() -> None:
    test = begun()
    assert "update" not in test.instance.dumps(), "an older choros reads what has none"
    test.update(ELM)
    assert Instance.loads(test.instance.dumps()) == test.instance


def test_the_dialogue_says_what_is_not_answered() -> None:
    with pytest.raises(AssertionError, match="The saga answers change-address, add-gift, not SomethingElse"):
        begun().update(SomethingElse())
    with pytest.raises(AssertionError, match="The saga answers no updates, not ChangeAddress"):
        begun(delivery_of(PACK, updates=(), completed=())).update(ELM)


class SomethingElse(Update[Done]):
    pass


# --- the declaration --------------------------------------------------------------------------------------------------


def takes_none(order: Order) -> Done:
    return Done()


def takes_two(change: ChangeAddress, gift: AddGift) -> Done:
    return Done()


def says_nothing(change: ChangeAddress) -> None:
    return None


def says_another(change: ChangeAddress) -> Packed:
    return Packed()


def of_nobody(one: SomethingElse) -> Done:
    return Done()


def certain_of_it(change: ChangeAddress) -> PrintLabel:
    return PrintLabel(street=change.street)


def certain_of_packed(change: ChangeAddress, packed: Packed) -> AddressChanged:
    return AddressChanged(extra=packed.weight)


def twice(change: ChangeAddress) -> AddressChanged:
    return AddressChanged(extra=0)


def of_another(one: SomethingElse | None) -> Pack:
    return Pack(order="")


MISTAKES: tuple[Callable[[], object], ...] = (
    lambda: delivery_of(updates=change_address),
    lambda: delivery_of(updates=("change_address",)),
    lambda: delivery_of(updates=(takes_none,)),
    lambda: delivery_of(updates=(takes_two,)),
    lambda: delivery_of(updates=(says_nothing,)),
    lambda: delivery_of(updates=(says_another,)),
    lambda: delivery_of(updates=(change_address, add_gift, of_nobody)),
    lambda: delivery_of(updates=(change_address, add_gift, twice)),
    lambda: delivery_of(updates=(certain_of_packed, add_gift)),
    lambda: delivery_of(PACK, Step(certain_of_it, to="store", compensation=unpack), STEPS[2]),
    lambda: delivery_of(Step(of_another, to="store", compensation=unpack), STEPS[2]),
    lambda: type("Wrong", (Update[Signal],), {}),  # type: ignore[type-var]
)


@pytest.mark.parametrize("mistake", MISTAKES)
def test_what_cannot_work_is_refused_when_it_is_declared(mistake: Callable[[], object]) -> None:
    with pytest.raises(DeclarationError):
        mistake()


def test_it_is_in_the_fingerprint_only_where_there_is_one() -> None:
    text = delivery.fingerprint.text
    assert "update add-gift, answered by choros.done\nupdate change-address, answered by address-changed\n" in text
    assert "do print-label(order, updated: change-address or none) to store" in text
    other = text.replace("by choros.done\n", "by gift-added\n", 1)
    assert difference(text, other) == (
        "updates update add-gift, answered by choros.done, update change-address, answered by address-changed here,"
        " update add-gift, answered by gift-added, update change-address, answered by address-changed in the record"
    )
    assert renamed(text, other) == {}


def test_it_may_be_moved_to_where_there_are_more_of_them_and_not_to_where_one_is_missing() -> None:
    run = Run(delivery, start=Order())
    here, other = delivery.fingerprint.text, delivery.fingerprint.text.replace("by choros.done\n", "by thanks\n", 1)
    assert why_not_moved(run.instance, other, here) == ""
    run.give(asked(AddGift(gift="a pen")))
    assert why_not_moved(run.instance, other, here) == (
        "it has accepted the update add-gift, answered by choros.done, and the other version has no such update"
    )
    more = here.replace("update change", "update call, answered by choros.done\nupdate change")
    assert why_not_moved(run.instance, more, here) == ""


def test_pictures_and_words_tell_what_it_may_change() -> None:
    lines = outline(delivery)
    at = lines.index("may be asked, while it runs:")
    assert lines[at + 1 : at + 3] == [
        "  ChangeAddress (change_address), answered with AddressChanged, until print_label has begun",
        "  AddGift (add_gift), answered with Done, until thank has begun",
    ]
    told = outline(delivery_of(*STEPS[:1], STEPS[2], updates=(change_address,), completed=delivered_to))
    assert "  ChangeAddress (change_address), answered with AddressChanged, until the end" in told
    picture = mermaid(delivery)
    assert 'u0[/"ChangeAddress"/]' in picture
    assert "u0 -.-> s1" in picture
    assert "u1 -.-> completed" in picture
    assert not any("asked" in line for line in outline(delivery_of(*STEPS[:1], STEPS[2], updates=(), completed=())))
