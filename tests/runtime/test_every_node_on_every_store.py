"""Every kind of node on every real store: one saga in which all of them stand is left where it waits, found again, and
completed; another is refused at its pivot, and all of it is undone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from choros import (
    Addresses,
    App,
    Branch,
    Call,
    Check,
    Client,
    Command,
    Done,
    Existing,
    Fact,
    ForEach,
    Local,
    Message,
    Nested,
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
    running,
)
from choros.saga import nodes
from tests.patience import PATIENCE
from tests.runtime.stage import kinds
from tests.store.conftest import postgres_schema

__all__ = ["postgres_schema"]

Books = dict[str, set[str]]
"""The steps that stand, by place."""


class Plan(Message):
    place: str


class Taken(Reply):
    times: int


class Take(Command[Taken], refusals=("none_left",)):
    place: str


class GiveBack(Command[Done]):
    place: str


class CallOff(Command[Done]):
    place: str


class Ask(Command[Done], refusals=("no",)):
    number: int


class Sign(Command[Done], refusals=("not_allowed",)):
    place: str


class Tell(Command[Done]):
    place: str


class Agreed(Signal):
    by: str


class Told(Fact):
    place: str


class Held(Fact):
    place: str


class Off(Fact):
    place: str


def take(plan: Plan) -> Take:
    return Take(place=plan.place)


def take_one(plan: Plan, number: int) -> Take:
    return Take(place=plan.place)


def give_back(plan: Plan) -> GiveBack:
    return GiveBack(place=plan.place)


def call_off(plan: Plan) -> CallOff:
    return CallOff(place=plan.place)


def ask(number: int) -> Ask:
    return Ask(number=number)


def sign(plan: Plan, agreed: Agreed) -> Sign:
    return Sign(place=plan.place)


def tell(plan: Plan) -> Tell:
    return Tell(place=plan.place)


def told(plan: Plan) -> Told:
    return Told(place=plan.place)


def held(plan: Plan) -> Held:
    return Held(place=plan.place)


def off(plan: Plan) -> Off:
    return Off(place=plan.place)


def part_of(plan: Plan) -> Plan:
    return Plan(place=plan.place)


def is_open(plan: Plan) -> bool:
    return True


def rows(plan: Plan) -> list[int]:
    return [0, 1, 2]


def enough(crew: Taken) -> bool:
    return crew.times > 1


def step(name: str, action: Callable[..., Take] = take) -> Step:
    return Step(action, to="town", compensation=give_back, name=name)


A_MOMENT = timedelta(milliseconds=20)
part = Saga("part", start=Plan, steps=(step("shed"),), completed=told)
fair = Saga(
    "fair",
    start=Plan,
    key=lambda plan: plan.place,
    steps=(
        Existing(to="town", compensation=call_off, name="site"),
        When(is_open, then=Parallel(step("field"), Branch("food", Sleep(A_MOMENT, name="nap"), step("kitchen")))),
        ForEach(
            rows,
            Scope(
                step("stand", take_one),
                Check(ask, to="town", retry=RetryPolicy(attempts=1)),
                otherwise=Local(take_one, to="office", compensation=give_back, name="tent"),
            ),
            at_once=2,
        ),
        Repeat(step("crew"), until=enough, at_most=3),
        Nested(part, part_of),
        Parallel(step("band"), step("choir"), first=1, name="music"),
        Publish(told),
        Wait(Agreed, within=timedelta(days=90), reminders=(Reminder(timedelta(0), told),)),
        Pivot(sign, to="town"),
        Retriable(tell, to="town"),
    ),
    completed=held,
    compensated=off,
)  # fmt: skip
SEEN = {
    "chosen", "asleep", "woken", "listed", "repeated", "lost", "undone", "awaiting", "reminded", "signalled",
    "fact_held", "fact_published", "pivot_passed",
}  # fmt: skip
"""What only a saga has in its history that has come through its nodes."""


STANDS = {
    "is_open.parallel.field", "is_open.parallel.food.kitchen", "rows[0].scope.stand", "rows[1].scope.tent",
    "rows[2].scope.stand", "repeat[0].crew", "repeat[1].crew", "music.band", "shed",
}  # fmt: skip
"""What does when it waits: of the items one is tried in vain, and of the band and the choir one has won."""


def app_on(namespace: str, books: Books) -> App:
    """Its services, which keep these books."""
    town, office = Service("town"), Service("office")

    async def have(command: Take, call: Call) -> Taken:
        if call.step == "music.choir":
            await asyncio.sleep(0.1)  # the band wins
        books[command.place].add(call.step)
        return Taken(times=1 + call.step.count("repeat[1]"))

    async def give(command: GiveBack, call: Call) -> Done:
        books[command.place].discard(call.step)
        return Done()

    for service in (town, office):
        service.handles(Take)(have)
        service.handles(GiveBack)(give)

    @town.handles(CallOff)
    async def note(command: CallOff) -> Done:
        books[command.place].add("called off")
        return Done()

    @town.handles(Ask)
    async def answer(command: Ask) -> Done:
        if command.number == 1:
            raise Refused("no")
        return Done()

    @town.handles(Sign)
    async def decide(command: Sign) -> Done:
        if command.place == "moor":
            raise Refused("not_allowed")
        return Done()

    @town.handles(Tell)
    async def listen(command: Tell) -> Done:
        return Done()

    return App(namespace, sagas=(fair, part), services=(town, office))


@pytest.fixture(
    params=["sqlite", *(pytest.param(one, marks=pytest.mark.servers) for one in ("redis_url", "postgres_schema"))]
)
def addresses(request: pytest.FixtureRequest, namespace: str, tmp_path: Path) -> Addresses:
    at_a_server = request.param != "sqlite"
    store = request.getfixturevalue(request.param) if at_a_server else f"sqlite:///{tmp_path}/sagas.db"
    return Addresses(f"memory://{namespace}", store, f"sqlite:///{tmp_path}/{{service}}.db")


async def happened(client: Client, saga_id: str) -> set[str]:
    return {kind for row in (await client.show(saga_id)).history for kind in kinds(row)}


async def test_it_is_left_where_it_waits_found_again_and_ends(addresses: Addresses, namespace: str) -> None:
    books: Books = {"green": set(), "moor": set()}
    async with running(app_on(namespace, books), addresses) as client:
        green, moor = [await client.start(fair, Plan(place=place)) for place in books]
        async with asyncio.timeout(PATIENCE):
            while not all(["reminded" in await happened(client, one) for one in (green, moor)]):
                await asyncio.sleep(0.02)
    assert all(stand >= STANDS for stand in books.values())
    async with running(app_on(namespace, books), addresses) as client:
        assert {await client.signal(one, Agreed(by="mayor")) for one in (green, moor)} == {"signalled"}
        async with asyncio.timeout(PATIENCE):
            outcomes = [await client.wait(one) for one in (green, moor)]
        assert [one.status for one in outcomes] == ["completed", "compensated"]
        assert await happened(client, green) >= SEEN
        assert books == {"green": STANDS, "moor": {"called off"}}


def test_no_kind_of_node_is_left_out() -> None:
    """What is imported stands in a saga above, or it would be marked as unused."""
    assert set(nodes.__all__) <= globals().keys()
