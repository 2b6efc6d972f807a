"""The order in which a saga, or a part of it, is undone: newest first, by dependency, all at once."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from choros.errors import DeclarationError
from choros.messages import Done, Reply
from choros.saga.diagram import mermaid, outline
from choros.saga.difference import difference
from choros.saga.machine.inputs import CancelRequested
from choros.saga.nodes import Branch, Check, Existing, ForEach, Parallel, Repeat, Scope, Step, When
from choros.saga.nodes.beside import MOST_UNDONE
from choros.saga.policy import RetryPolicy
from choros.saga.saga import Saga
from choros.saga.undo_order import needed_by, order_between
from choros.testing import SagaTest
from choros.wire.command_key import CommandKey
from tests.saga.apart import Stored
from tests.saga.stand import (
    Furnish,
    Guest,
    Hire,
    Invite,
    Invited,
    Laid,
    LayPower,
    Measure,
    Measured,
    Open,
    Plan,
    Rent,
    Rented,
    StandOff,
    Undo,
    crew,
    drop_plan,
    furniture,
    greeting,
    guests,
    invitation,
    opening,
    plan_of,
    planned,
    power,
    space,
    stand_of,
    tape,
    told,
)

REPLIES: dict[str, Reply] = {
    "rent": Rented(), "measure": Measured(), "lay_power": Laid(), "invite": Invited(),
}  # fmt: skip


def measure_it(plan: Plan) -> Measure:
    return Measure(space=1)


def furnish_it(plan: Plan) -> Furnish:
    return Furnish(width=1)


def roll_up(plan: Plan) -> Undo:
    return Undo(what="tape")


tape_of_nothing = Step(measure_it, to="fair", compensation=roll_up, name="measure")
tape_of_nothing_reply = Check(measure_it, to="fair")
furniture_of_nothing = replace(furniture, action=furnish_it, name="furnish")


def done(saga: Saga[Plan], plan: Plan | None = None, *, last: str = "open_stand") -> SagaTest:
    """The saga, all of which was done before this step, which is under way."""
    test = SagaTest(saga)
    test.start(plan or Plan())
    while open_ := [send for send in test._commands if send.key.step != last]:
        command: Any = test._types[open_[0].type]
        sent = test.expect_command(command, at=open_[0].key.path)
        sent.reply(REPLIES.get(sent.key.step, Done()))
    return test


def undos(test: SagaTest) -> dict[str, Any]:
    """The undos that are under way and were not asked for yet, by what they undo."""
    sent = [test.expect_compensation(Undo) for _ in list(test._commands)]
    return {one.message.what: one for one in sent}


def test_at_once_every_undo_leaves_in_the_commit_that_turns_the_saga() -> None:
    test = done(stand_of(space, crew, power, opening, undo="at_once"))
    test.expect_command(Open).refuse("forbidden")
    sent = undos(test)
    assert list(sent) == ["power", "crew", "space"]
    for one in sent.values():
        one.reply()
    assert test.status == "compensated"


def test_by_dependency_an_undo_waits_for_those_that_had_its_reply_and_for_no_other() -> None:
    test = done(stand_of(space, crew, power, opening, undo="by_dependency"))
    test.expect_command(Open).refuse("forbidden")
    sent = undos(test)
    assert list(sent) == ["power", "crew"]
    sent["power"].reply()
    assert list(undos(test)) == ["space"]
    assert test.status == "compensating"


@pytest.mark.parametrize("order", ["by_dependency", "at_once"])
def test_rule_36_an_undo_that_parks_holds_only_what_depends_on_it(order: Any) -> None:
    once = replace(crew, undo_retry=RetryPolicy(attempts=1))
    test = done(stand_of(space, once, power, opening, undo=order))
    test.expect_command(Open).refuse("forbidden")
    sent = undos(test)
    sent["crew"].fail("ConnectionError")
    assert test.instance.status == "parked"
    sent["power"].reply()
    if order == "by_dependency":
        sent |= undos(test)
    sent["space"].reply()
    assert list(test.instance.parked_at) == ["hire"]
    sent["crew"].reply()
    assert test.status == "compensated"


def test_who_asked_what_a_check_had_made_of_a_reply_depends_on_that_too() -> None:
    test = done(stand_of(space, tape, furniture, opening, undo="by_dependency"))
    assert needed_by(test.saga.outline) == {"rent": ("furnish",), "measure": ("furnish",)}
    test.expect_command(Open).refuse("forbidden")
    sent = undos(test)
    assert list(sent) == ["furniture"]
    sent["furniture"].reply()
    assert list(undos(test)) == ["space"]


def is_wide(rent: Rented) -> bool:
    return rent.space > 5


def test_who_was_asked_for_because_of_a_reply_depends_on_that() -> None:
    test = done(stand_of(space, When(is_wide, then=crew), opening, undo="by_dependency"))
    test.expect_command(Open).refuse("forbidden")
    sent = undos(test)
    assert list(sent) == ["crew"]
    sent["crew"].reply()
    assert list(undos(test)) == ["space"]


def test_a_fact_is_taken_back_at_once_and_holds_what_it_was_made_of_only_where_that_fails() -> None:
    test = done(stand_of(space, power, told, opening, undo="by_dependency"))
    test.expect_command(Open).refuse("forbidden")
    assert list(undos(test)) == ["power"]
    assert test.instance.state("stand_planned").progress == "retracted"

    def broken(plan: Plan) -> StandOff:
        raise KeyError

    test = done(stand_of(space, power, replace(told, retraction=broken), crew, opening, undo="by_dependency"))
    test.expect_command(Open).refuse("forbidden")
    assert list(undos(test)) == ["crew"]
    assert test.instance.why_parked == "broken raised KeyError"


def test_what_was_there_before_is_taken_back_last_whatever_the_order() -> None:
    note = Existing(to="desk", compensation=drop_plan, name="note")
    test = done(stand_of(planned, note, space, crew, opening, undo="at_once"))
    test.expect_command(Open).refuse("forbidden")
    sent = undos(test)
    assert list(sent) == ["crew", "space"]
    sent["space"].reply()
    test.expect_nothing()
    sent["crew"].reply()
    for name in ("note", "drop_plan"):
        one = test.expect_compensation(Undo(what="plan"))
        assert one.key.path == name
        one.reply()
    assert test.status == "compensated"


def test_what_is_still_under_way_is_undone_with_the_others() -> None:
    test = SagaTest(stand_of(space, Parallel(crew, power, name="both"), opening, undo="at_once"))
    test.start(Plan())
    test.expect_command(Rent).reply(Rented())
    test.expect_command(Hire).refuse("busy")
    sent = undos_after(test, LayPower)
    assert list(sent) == ["power", "space"]
    for one in sent.values():
        one.reply()
    assert (test.status, test.instance.state("both.hire").progress) == ("compensated", "refused")


def undos_after(test: SagaTest, *open_: Any) -> dict[str, Any]:
    """The same, where these commands were under way, too."""
    for one in open_:
        test.expect_command(one)
    return undos(test)


# --- a part ---


def test_a_part_has_an_order_of_its_own() -> None:
    branch = Branch("inside", space, crew, power, undo="at_once")
    test = done(stand_of(tape_of_nothing, branch, furniture_of_nothing, opening))
    test.expect_command(Open).refuse("forbidden")
    furniture_sent = undos(test)
    assert list(furniture_sent) == ["furniture"]
    furniture_sent["furniture"].reply()
    sent = undos(test)
    assert list(sent) == ["power", "crew", "space"]
    sent["space"].reply()
    sent["crew"].reply()
    test.expect_nothing()
    sent["power"].reply()
    assert list(undos(test)) == ["tape"]


def test_a_part_may_be_stricter_than_what_it_stands_in() -> None:
    test = done(stand_of(tape_of_nothing, Scope(space, crew, undo="newest_first"), opening, undo="at_once"))
    test.expect_command(Open).refuse("forbidden")
    sent = undos(test)
    assert list(sent) == ["crew", "tape"]
    sent["crew"].reply()
    assert list(undos(test)) == ["space"]


def test_a_scope_is_undone_in_its_order_while_the_saga_goes_on() -> None:
    test = done(
        stand_of(Scope(space, crew, power, furniture_of_nothing, undo="by_dependency"), opening), last="furnish"
    )
    test.expect_command(Furnish).refuse("sold_out")
    sent = undos(test)
    assert list(sent) == ["power", "crew"]
    sent["crew"].reply()
    test.expect_nothing()
    sent["power"].reply()
    undos(test)["space"].reply()
    test.expect_command(Open)


def other_power(rent: Rented | None) -> LayPower:
    return LayPower(space=rent.space if rent else 0)


def test_what_goes_on_does_not_hold_what_is_undone_beside_it() -> None:
    race = Parallel(Branch("one", space, tape), crew, first=1, name="race")
    test = SagaTest(stand_of(race, replace(power, action=other_power), opening, undo="by_dependency"))
    test.start(Plan())
    test.expect_command(Rent).reply(Rented())
    test.expect_command(Hire).reply()
    assert list(undos_after(test, Measure, LayPower)) == ["space"]


def test_side_by_side_no_branch_waits_for_another_but_each_is_undone_newest_first() -> None:
    two = (Branch("one", space, power), Branch("two", crew, furniture_of_nothing))
    test = done(stand_of(Parallel(*two, undo="side_by_side"), opening))
    test.expect_command(Open).refuse("forbidden")
    sent = undos(test)
    assert list(sent) == ["power", "furniture"]
    sent["furniture"].reply()
    assert list(undos(test)) == ["crew"]


def test_parallels_that_stand_side_by_side_count_each_for_itself() -> None:
    """Else the one that is walked first would say of the other's leaves that they are undone."""
    inner = (Parallel(space, crew, name="one"), Parallel(tape_of_nothing, furniture_of_nothing, name="two"))
    test = done(stand_of(Parallel(*inner, undo="side_by_side"), opening))
    test.expect_command(Open).refuse("forbidden")
    first = undos(test)
    assert len(first) == 2
    for one in first.values():
        one.reply()
    second = undos(test)
    assert {*first, *second} == {"space", "crew", "tape", "furniture"}
    for one in second.values():
        one.reply()
    assert test.status == "compensated"


def test_what_an_undo_cannot_be_built_for_holds_no_other() -> None:
    def broken(plan: Plan) -> Undo:
        raise KeyError

    test = done(stand_of(planned, space, replace(crew, compensation=broken), power, opening, undo="at_once"))
    test.expect_command(Open).refuse("forbidden")
    sent = undos(test)
    assert list(sent) == ["power", "space"]
    assert test.instance.why_parked == "broken raised KeyError"
    for one in sent.values():
        one.reply()
    test.expect_nothing()  # what was there before waits for all of them
    assert test.status == "parked"


# --- loops ---

TWO = plan_of("ann", "bob")


@pytest.mark.parametrize(
    ("order", "first", "second"),
    [
        ("newest_first", ["greeting of bob"], ["invitation of bob"]),
        ("side_by_side", ["greeting of bob", "greeting of ann"], ["invitation of bob"]),
        ("by_dependency", ["greeting of bob", "greeting of ann"], ["invitation of bob"]),
        ("at_once", ["greeting of bob", "invitation of bob", "greeting of ann", "invitation of ann"], []),
    ],
)
def test_each_item_is_undone_by_itself(order: Any, first: Sequence[str], second: Sequence[str]) -> None:
    test = done(stand_of(ForEach(guests, [invitation, greeting], undo=order), opening), TWO)
    test.expect_command(Open).refuse("forbidden")
    sent = undos(test)
    assert list(sent) == first
    sent["greeting of bob"].reply()
    more = undos(test)
    assert list(more) == second
    for one in [*list(sent.values())[1:], *more.values()]:
        one.reply()
    for one in undos(test).values():
        one.reply()
    while test.status != "compensated":
        for one in undos(test).values():
            one.reply()


def cards(invited: list[Invited]) -> Hire:
    return Hire(stand=f"{len(invited)} cards")


def test_by_dependency_a_loop_counts_as_one_for_what_stands_outside() -> None:
    loop = ForEach(guests, [invitation, greeting])
    test = done(stand_of(loop, replace(crew, action=cards, name="print_cards"), opening, undo="by_dependency"), TWO)
    assert needed_by(test.saga.outline) == {"guests[].invite": ("guests[].greet", "print_cards")}
    test.expect_command(Open).refuse("forbidden")
    sent = undos(test)
    assert list(sent) == ["crew", "greeting of bob", "greeting of ann"]
    sent["greeting of ann"].reply()
    test.expect_nothing()
    sent["crew"].reply()
    assert list(undos(test)) == ["invitation of ann"]


def invite_to(guest: Guest, rent: Rented) -> Invite:
    return Invite(name=f"{guest.name} to {rent.space}")


def test_by_dependency_what_a_loop_was_made_of_waits_for_all_of_it() -> None:
    loop = ForEach(guests, replace(invitation, action=invite_to, name="invite"))
    test = done(stand_of(space, loop, opening, undo="by_dependency"), TWO)
    assert needed_by(test.saga.outline) == {"rent": ("guests",)}
    test.expect_command(Open).refuse("forbidden")
    sent = undos(test)
    sent["invitation of bob"].reply()
    test.expect_nothing()
    sent["invitation of ann"].reply()
    assert list(undos(test)) == ["space"]


def test_a_loop_of_which_nothing_was_begun_holds_nothing() -> None:
    loop = ForEach(guests, replace(invitation, action=invite_to, name="invite"))
    test = done(stand_of(space, loop, opening, undo="by_dependency"))
    test.expect_command(Open).refuse("forbidden")
    assert list(undos(test)) == ["space"]


def is_open(measured: Measured) -> bool:
    return measured.width > 5


@pytest.mark.parametrize(("order", "first"), [("at_once", 2), ("by_dependency", 1)])
def test_times_are_undone_newest_first_but_for_at_once(order: Any, first: int) -> None:
    test = SagaTest(stand_of(Repeat([crew, tape_of_nothing_reply], until=is_open, at_most=2), undo=order))
    test.start(Plan())
    for _ in range(2):
        test.expect_command(Hire).reply()
        test.expect_command(Measure).reply(Measured())
    sent = [test.expect_compensation(Undo) for _ in list(test._commands)]
    assert [one.key.path for one in sent] == ["repeat[1].hire", "repeat[0].hire"][:first]
    sent[0].reply()
    sent += [test.expect_compensation(Undo) for _ in list(test._commands)]
    sent[1].reply()
    assert test.status == "compensated"


@pytest.mark.nightly
@pytest.mark.parametrize("order", ["at_once", "newest_first"])
def test_of_a_long_list_so_many_items_are_undone_at_a_time(order: Any) -> None:
    """And what is over costs nothing: however many are undone, an answer loads and writes as much."""
    count = MOST_UNDONE + 150
    both = Parallel(ForEach(guests, [invitation, greeting], undo=order), crew, undo="side_by_side")
    run = Stored(stand_of(both, opening), plan_of(*(f"{index:04}" for index in range(count))))
    answered = 0

    def answer_all(end: str) -> None:
        nonlocal answered
        while answered < len(run.sent) and not run.sent[answered].endswith(end):
            key = CommandKey.parse(run.sent[answered])
            run.answer(run.sent[answered], REPLIES.get(key.step, Done()) if key.operation == "do" else Done())
            answered += 1

    answer_all("open_stand:1:do")
    run.refuse(run.sent[answered], "forbidden")
    answered += 1
    open_ = len(run.instance.under_way)
    assert open_ == (1 + 2 * MOST_UNDONE if order == "at_once" else 2)
    answer_all("never")
    assert run.instance.status == "compensated"
    assert len({key for key in run.sent if key.endswith("undo")}) == 1 + 2 * count
    assert max(run.loaded[-count:]) <= 100


def test_a_cancel_while_a_list_is_under_way_undoes_what_was_begun() -> None:
    saga = stand_of(ForEach(guests, [invitation, greeting], at_once=2, undo="at_once"))
    run = Stored(saga, plan_of("a", "b", "c", "d"))
    run.answer("s:guests[0].invite:1:do", Invited())
    run.answer("s:guests[0].greet:1:do", Done())
    run.give(CancelRequested("c"))
    assert {key for key in run.sent if key.endswith("undo")} == {
        "s:guests[0].invite:1:undo", "s:guests[0].greet:1:undo", "s:guests[1].invite:1:undo",
        "s:guests[2].invite:1:undo",
    }  # fmt: skip


# --- what it says ---

FAST: Any = "fast"


@pytest.mark.parametrize(
    ("made", "sentence"),
    [
        (lambda: stand_of(space, opening, undo="side_by_side"), "saga 'stand' has undo='side_by_side', which means"),
        (lambda: stand_of(space, opening, undo="fast"), "write 'newest_first', 'by_dependency' or 'at_once'."),
        (lambda: stand_of(Branch("b", space, undo=FAST)), "saga 'stand': b has undo='fast'"),
        (lambda: stand_of(Scope(space, undo="side_by_side")), "saga 'stand': scope has undo='side_by_side'"),
        (lambda: stand_of(Parallel(space, crew, undo=FAST)), "'side_by_side', 'by_dependency' or 'at_once'"),
        (
            lambda: stand_of(ForEach(guests, invitation, undo=FAST)),
            "ForEach(guests) has undo='fast', which",
        ),
        (
            lambda: stand_of(Parallel(space, Branch("b", crew, undo="at_once"), name="both")),
            "both.b has undo='at_once', but all in both is undone newest first",
        ),
        (
            lambda: stand_of(ForEach(guests, Branch("b", invitation, undo="at_once"))),
            "guests[].b has undo='at_once', but all in guests is undone newest first",
        ),
        (
            lambda: stand_of(Repeat(Branch("b", crew, undo="at_once"), until=never, at_most=2)),
            "repeat[].b has undo='at_once', but all in repeat is undone newest first",
        ),
    ],
)
def test_a_word_that_means_nothing_is_told(made: Any, sentence: str) -> None:
    with pytest.raises(DeclarationError) as told_:
        made()
    assert sentence in str(told_.value) + str(told_.value.hint)


def never(plan: Plan) -> bool:
    return False


def test_in_a_list_whose_items_go_back_by_themselves_each_may_have_an_order_of_its_own() -> None:
    saga = stand_of(ForEach(guests, Branch("b", invitation, greeting, undo="at_once"), undo="side_by_side"))
    assert order_between(saga.outline, "guests[].b.invite", "guests[].b.greet") == "at_once"


def test_the_order_is_part_of_the_fingerprint_only_where_it_is_said() -> None:
    def text(**more: Any) -> str:
        return stand_of(space, Branch("inside", crew, power), opening, **more).fingerprint.text

    assert "undone" not in text()
    assert text(undo="newest_first") == text()
    assert text(undo="at_once").splitlines()[2] == "undone at_once"
    part = stand_of(space, Branch("inside", crew, power, undo="at_once"), opening).fingerprint.text
    assert "inside: branch\n  undone at_once\n" in part
    assert difference(text(undo="at_once"), text()) == "it is: undone at_once here, nothing in the record"


def test_outline_and_picture_say_it() -> None:
    saga = stand_of(space, Branch("inside", crew, power, undo="newest_first"), opening, undo="at_once")
    assert outline(saga)[0] == "saga 'stand', version 1, starts with Plan, undone all at once"
    assert "  inside (branch, undone newest first):" in outline(saga)
    picture = mermaid(saga)
    assert 'compensated(["compensated<br/>undone all at once"])' in picture
    assert [line.strip() for line in picture.splitlines() if "undo: " in line] == [
        's0 -->|"undo: Undo"| compensated', 's2 -->|"undo: Undo"| compensated', 's3 -->|"undo: Undo"| s2',
    ]  # fmt: skip
