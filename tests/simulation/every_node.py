"""Sagas in which every kind of node stands, nested in the others. What each of them takes, it gives back.

A fair is planned. Its services hand out places and people and take them back; `north` is a provider's, the others keep
books of their own. To have another kind of node drawn by all campaigns, put it into one of these sagas.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from choros import (
    App,
    Branch,
    Call,
    Check,
    Command,
    Done,
    Existing,
    Fact,
    ForEach,
    Local,
    LocalUndo,
    Lock,
    Message,
    Parallel,
    Pivot,
    Publish,
    Refused,
    Reminder,
    Repeat,
    Reply,
    Retriable,
    RetryPolicy,
    Saga,
    Scope,
    Service,
    Signal,
    Sleep,
    Step,
    Wait,
    When,
)
from choros.saga.paths import around, index_of, item_around
from choros.store.barrier import Transaction
from tests.simulation.tenders import Awarded, NotAwarded, ground, registry, tenders

SOON = RetryPolicy(initial=timedelta(seconds=1), max=timedelta(seconds=8), total=timedelta(seconds=40))
ONCE = RetryPolicy(attempts=2, initial=timedelta(seconds=1))
TIMEOUT = timedelta(seconds=10)


class PlanFair(Message):
    place: str


class Taken(Reply):
    number: int


class Take(Command[Taken], refusals=("none_left",)):
    what: str


class Borrow(Command[Done], refusals=("none_left", "not_lent")):
    what: str


class GiveBack(Command[Done]):
    what: str


class Ask(Command[Done], refusals=("no",)):
    what: str


class Sign(Command[Done], refusals=("not_allowed",)):
    place: str


class Tell(Command[Done]):
    what: str


class CallOff(Command[Done]):
    place: str


class Announced(Fact):
    what: str


class Denied(Fact):
    what: str


class Promised(Fact):
    what: str


class Agreed(Signal):
    yes: bool = True


class Wanted(Fact):
    what: str


class Held(Fact):
    place: str


class Off(Fact):
    place: str


def call_off(fair: PlanFair) -> CallOff:
    return CallOff(place=fair.place)


def take(fair: PlanFair) -> Take:
    return Take(what=fair.place)


def take_one(fair: PlanFair, number: int) -> Take:
    return Take(what=f"{fair.place} {number}")


def take_for(fair: PlanFair, guide: Taken) -> Take:
    return Take(what=f"{fair.place} for {guide.number}")


def take_with(fair: PlanFair, tickets: Taken) -> Take:
    return Take(what=f"{fair.place} with {tickets.number}")


def take_seat(fair: PlanFair, benches: int, seats: int) -> Take:
    return Take(what=f"{fair.place} {benches} {seats}")


def take_or_borrow(fair: PlanFair, number: int) -> Take | Borrow | None:
    return (Take(what=fair.place), Borrow(what=fair.place), None)[number % 3]


def give_back(fair: PlanFair) -> GiveBack:
    return GiveBack(what=fair.place)


def ask(fair: PlanFair) -> Ask:
    return Ask(what=fair.place)


def sign(fair: PlanFair) -> Sign:
    return Sign(place=fair.place)


def tell(fair: PlanFair) -> Tell:
    return Tell(what=fair.place)


def tell_one(fair: PlanFair, number: int) -> Tell:
    return Tell(what=f"{fair.place} {number}")


def announced(fair: PlanFair) -> Announced:
    return Announced(what=fair.place)


def denied(fair: PlanFair) -> Denied:
    return Denied(what=fair.place)


def promised(fair: PlanFair) -> Promised:
    return Promised(what=fair.place)


def held(fair: PlanFair) -> Held:
    return Held(place=fair.place)


def off(fair: PlanFair) -> Off:
    return Off(place=fair.place)


def wanted(fair: PlanFair) -> Wanted:
    return Wanted(what=fair.place)


def agrees(agreed: Agreed) -> bool:
    return agreed.yes


def stands(fair: PlanFair) -> list[int]:
    return [0, 1, 2]


def rows(fair: PlanFair) -> list[int]:
    return [0, 1]


def is_large(fair: PlanFair) -> bool:
    return True


def is_first(fair: PlanFair, number: int) -> bool:
    return number == 0


def enough(counted: Taken) -> bool:
    return counted.number > 1


def rehearsed(rehearsal: Taken) -> bool:
    return rehearsal.number > 1


def step(name: str, to: str = "south", **more: Any) -> Step:
    return Step(take, to, give_back, name=name, timeout=TIMEOUT, retry=SOON, undo_retry=SOON, **more)


def here(name: str) -> Local:
    return Local(take, "office", give_back, name=name, timeout=TIMEOUT, retry=SOON, undo_retry=SOON)


def try_step(name: str, to: str = "south") -> Step:
    return Step(take, to, give_back, name=name, timeout=TIMEOUT, retry=ONCE, undo_retry=SOON)


def one(name: str, to: str = "south", action: Any = take_one) -> Step:
    return Step(action, to, give_back, name=name, timeout=TIMEOUT, retry=SOON, undo_retry=SOON)


def telling(name: str, action: Any = tell) -> Retriable:
    return Retriable(action, "west", name=name, timeout=TIMEOUT, retry=SOON)


def word(name: str, **more: Any) -> Wait:
    """Whether anybody says something or not, the saga goes on."""
    given = {"within": timedelta(seconds=40), "otherwise": "go_on", **more}
    return Wait(Agreed, name=name, **given)


REMINDERS = (Reminder(timedelta(0), wanted), Reminder(timedelta(seconds=10), wanted))
signing = Pivot(sign, "north", timeout=TIMEOUT, retry=SOON)
asking = Check(ask, "west", timeout=TIMEOUT, retry=ONCE)

choices = Saga(
    "choices",
    start=PlanFair,
    deadline=timedelta(minutes=4),
    steps=(
        Existing(to="west", compensation=call_off, name="fair"),
        When(
            is_large,
            then=Parallel(
                step("field", "north"),
                Branch(
                    "food",
                    step("kitchen"),
                    Publish(promised),
                    Sleep(timedelta(seconds=15), name="wait"),
                    asking,
                    word("taste"),
                ),
                name="both",
            ),
            otherwise=step("hall"),
        ),
        ForEach(
            stands,
            [
                one("stand"),
                word("wish", within=timedelta(seconds=25)),
                When(is_first, then=one("lamp", "west"), otherwise=Scope(one("tent"), otherwise=one("table"))),
                Publish(announced, early=True, retraction=denied),
            ],
            at_once=2,
        ),
        signing,
        word("thanks", reminders=REMINDERS),
        Parallel(
            telling("press"),
            ForEach(rows, telling("neighbours", tell_one)),
            Local(tell, "office", name="file", timeout=TIMEOUT, retry=SOON),
            name="news",
        ),
    ),
    completed=held,
    compensated=off,
)  # fmt: skip
"""A choice, both ways through another one in a list, and what follows the pivot side by side."""

races = Saga(
    "races",
    start=PlanFair,
    steps=(
        step("permit"),
        Parallel(
            Branch("near", try_step("ground", "north"), here("fence")),
            Branch("far", Scope(try_step("meadow"), asking, otherwise=here("yard"), name="grounds"), Publish(promised)),
            ForEach(rows, try_step("street"), name="streets"),
            first=1,
            name="place",
        ),
        Parallel(
            *(try_step("band"), try_step("choir", "north"), try_step("circus", "west"), try_step("theatre")),
            at_least=2,
            name="music",
        ),
        word("mayor", by="mayor", accept=agrees, reminders=REMINDERS),
        step("stage", taken_within=timedelta(seconds=20)),
        signing,
        telling("press"),
    ),
    completed=held,
    compensated=off,
)  # fmt: skip
"""The first to answer wins; of others so many have to succeed. Who loses is undone beside what follows."""

loops = Saga(
    "loops",
    start=PlanFair,
    steps=(
        Parallel(
            ForEach(stands, one("pick", action=take_or_borrow), at_once=3),
            Branch("crew", step("boss"), Repeat(try_step("counted", "west"), until=enough, at_most=4)),
            undo="side_by_side",
            name="hands",
        ),
        Scope(
            Repeat(
                [
                    step("rehearsal", "west"),
                    word("applause", carry=True),
                    Parallel(try_step("sound"), try_step("light"), first=1, name="show"),
                ],
                until=rehearsed,
                at_most=3,
                name="evenings",
            ),
            asking,
            otherwise=ForEach(rows, ForEach(stands, one("seat", action=take_seat), name="seats"), name="benches"),
            name="party",
        ),
        Sleep(timedelta(days=40)),
        Publish(promised),
    ),
    completed=held,
    compensated=off,
)  # fmt: skip
"""Loops in loops, and one that is tried. There is no pivot."""

tours = Saga(
    "tours",
    start=PlanFair,
    lock=Lock("ground", key=ground, when_taken="refuse"),
    undo="by_dependency",
    steps=(
        Existing(to="west", compensation=call_off, name="tour"),
        step("guide", "west"),
        step("coach"),
        Step(take_for, "south", give_back, name="tickets", timeout=TIMEOUT, retry=SOON, undo_retry=SOON),
        Parallel(
            step("bread"),
            Branch("drinks", step("water", "west"), step("wine", "north"), undo="newest_first"),
            Scope(try_step("music"), asking, otherwise=here("radio"), name="tunes"),
            undo="at_once",
            name="lunch",
        ),
        ForEach(rows, [one("bed"), one("key", "west")], at_once=2, undo="side_by_side"),
        Step(take_with, "north", give_back, name="museum", timeout=TIMEOUT, retry=SOON, undo_retry=SOON),
        signing,
        telling("press"),
    ),
    completed=held,
    compensated=off,
)  # fmt: skip
"""What is undone waits for what needs it, and for nothing else; lunch all at once, each room by itself. Where somebody
else has the ground it does not take place."""


# --- services ---------------------------------------------------------------------------------------------------------

south, west, north = Service("south", commands=(Take, Borrow, GiveBack)), Service("west"), Service("north")
office = Service("office", commands=(Take, GiveBack, Tell))


async def nothing() -> None: ...


@west.handles(Take)
async def take_in_the_west(command: Take, call: Call, db: Transaction, undo: LocalUndo) -> Taken:
    """Counts the times of a loop. No fair gets a circus, and that is seen when it is half there."""
    if call.step == "music.circus":
        undo.add("half a circus", nothing)
        raise Refused("none_left")
    return Taken(number=1 + (index_of(around(item_around(call.step)), item_around(call.step)) or 0))


@west.handles(GiveBack)
async def give_back_in_the_west(command: GiveBack) -> Done:
    return Done()


@west.handles(Ask)
async def answer(command: Ask) -> Done:
    return Done()


@west.handles(Tell)
async def listen(command: Tell) -> Done:
    return Done()


@west.handles(CallOff)
async def take_note(command: CallOff) -> Done:
    return Done()


@north.provider(Take)
async def at_the_owners(command: Take, call: Call) -> Taken:
    return Taken(number=1)


@north.provider(GiveBack)
async def to_the_owners(command: GiveBack, call: Call) -> Done:
    return Done()


@north.provider(Sign)
async def at_the_council(command: Sign, call: Call) -> Done:
    return Done()


papers = Service("papers", facts=(Announced, Denied, Promised, Wanted, Held, Off, Awarded, NotAwarded))
app = App(
    "fair", sagas=[choices, races, loops, tours, tenders], services=[south, west, north, office, papers, registry]
)
