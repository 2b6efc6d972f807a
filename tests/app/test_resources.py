"""Resources: made by a lifespan, opened before the first message, found by type, and handed in by tests."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import Any, NewType

import pytest
from typer.testing import CliRunner

from choros import (
    Addresses,
    App,
    Call,
    Command,
    DeclarationError,
    Done,
    Message,
    Misconfigured,
    Pivot,
    Saga,
    Service,
    UsageError,
    running,
)  # fmt: skip
from choros.cli import app as cli
from choros.cli import application
from choros_verify import Scene, campaign
from tests.captured import capture_logs


class Gateway:
    """What one asks over the network, and a test plays."""

    def __init__(self, name: str = "real") -> None:
        self.name = name
        self.asked: list[str] = []
        self.open = True


Rates = NewType("Rates", dict[str, int])


class Order(Message):
    order_id: str


class Ship(Command[Done]):
    order_id: str


def ship(order: Order) -> Ship:
    return Ship(order_id=order.order_id)


saga = Saga("order", start=Order, key=lambda order: order.order_id, steps=(Pivot(ship, to="shipping"),))
MEMORY = Addresses("memory://", "memory://", "memory://")


class World:
    """What was opened and closed, in that order."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.gateways: list[Gateway] = []

    def service(self) -> Service:
        shipping = Service("shipping")

        @shipping.lifespan
        async def rates() -> AsyncIterator[Rates]:
            self.log.append("rates open")
            yield Rates({"GB": 3})
            self.log.append("rates closed")

        @shipping.lifespan
        @asynccontextmanager
        async def gateway() -> AsyncIterator[Gateway]:
            made = Gateway()
            self.gateways.append(made)
            self.log.append("gateway open")
            try:
                yield made
            finally:
                made.open = False
                self.log.append("gateway closed")

        @shipping.handles(Ship)
        async def ship(command: Ship, gateway: Gateway, call: Call, rates: Rates) -> Done:
            assert gateway.open
            gateway.asked.append(f"{command.order_id} {rates['GB']} {call.step}")
            self.log.append(f"shipped by {gateway.name}")
            return Done()

        return shipping


def app_of(service: Service) -> App:
    return App("shop", sagas=[saga], services=[service])


async def test_they_are_open_for_the_first_message_and_closed_after_the_last() -> None:
    world = World()
    async with running(app_of(world.service()), MEMORY) as client:
        assert world.log == ["rates open", "gateway open"]
        await client.run(saga, Order(order_id="o1"))
    assert world.log == ["rates open", "gateway open", "shipped by real", "gateway closed", "rates closed"]
    assert world.gateways[0].asked == ["o1 3 ship"]


async def test_a_test_hands_in_its_own() -> None:
    world, fake = World(), Gateway("fake")
    app = app_of(world.service())
    async with running(app.using({Gateway: fake}), MEMORY) as client:
        await client.run(saga, Order(order_id="o1"))
    assert world.log == ["rates open", "shipped by fake", "rates closed"]
    assert fake.open
    async with running(app, MEMORY):
        pass
    assert "gateway open" in world.log, "the declared application is as it was"


def test_what_nobody_asks_for_cannot_be_handed_in() -> None:
    with pytest.raises(UsageError) as caught:
        app_of(World().service()).using({Rates: {}, Order: 3})
    assert str(caught.value) == "No handler asks for a Order. Try: one of: Gateway, Rates."


@pytest.mark.parametrize("how", ["raises", "yields nothing"])
async def test_one_that_does_not_open_is_one_line_and_the_others_are_closed(how: str) -> None:
    world = World()
    service = world.service()

    @service.lifespan
    async def broken() -> AsyncIterator[World]:
        if how == "raises":
            raise ConnectionError("no route to\nhttp://ada:secret@host.")
        for _ in range(0):
            yield world

    with pytest.raises(Misconfigured) as caught:
        async with running(app_of(service), MEMORY):
            raise AssertionError
    said = str(caught.value)
    assert said.startswith("service 'shipping': broken did not open its resource (")
    assert "secret" not in said
    assert "\n" not in said
    assert world.log == ["rates open", "gateway open", "gateway closed", "rates closed"]


async def test_one_that_does_not_close_keeps_no_other_from_it() -> None:
    world = World()
    service = world.service()

    @service.lifespan
    async def stuck() -> AsyncIterator[World]:
        yield world
        raise ConnectionError

    with capture_logs() as entries:
        async with running(app_of(service), MEMORY) as client:
            await client.run(saga, Order(order_id="o1"))
    assert world.log[-2:] == ["gateway closed", "rates closed"]
    assert [one["resource"] for one in entries if one["event"] == "choros.resource.not_closed"] == [
        "service 'shipping': stuck"
    ]


# --- in the simulation ------------------------------------------------------------------------------------------------


def test_the_simulation_opens_nothing_and_says_what_is_missing() -> None:
    world = World()
    with pytest.raises(UsageError, match="The service shipping asks for a Gateway, Rates, and nothing real is opened"):
        Scene(app_of(world.service()), own=["shipping"])
    assert not world.log


def test_the_simulation_uses_what_is_handed_in() -> None:
    world, made = World(), []

    def make() -> Service:
        made.append(Gateway("simulated"))
        return world.service().using({Gateway: made[-1], Rates: {"GB": 1}})

    tally = campaign(Scene(app_of(world.service()), own={"shipping": make}), range(1, 4), workers=1)
    assert [result.story for result in tally.failures] == []
    assert set(world.log) == {"shipped by simulated"}
    assert made[-1].asked


# --- parts of a service -----------------------------------------------------------------------------------------------


class Pack(Command[Done]):
    order_id: str


async def test_a_service_includes_what_its_other_modules_have() -> None:
    world = World()
    whole, part = Service("shipping"), world.service()

    @part.prepares
    async def tables(db: object) -> None:
        world.log.append("tables")

    @whole.handles(Pack)
    async def pack(command: Pack) -> Done:
        return Done()

    whole.include(part)
    assert {one.__name__ for one in whole.commands} == {"Pack", "Ship"}
    async with running(app_of(whole), MEMORY) as client:
        assert (await client.run(saga, Order(order_id="o1"))).status == "completed"
    assert world.log[:3] == ["tables", "rates open", "gateway open"]


def other() -> Service:
    return World().service()


PARTS: list[tuple[Callable[[], object], str]] = [
    (lambda: other().include(Service("billing")), "includes Service('billing'), which is no other part of it. Try: in"),
    (lambda: other().include("shop.charging"), "includes 'shop.charging', which is no other part of it."),  # type: ignore[arg-type]
    (lambda: (one := other()).include(one), "includes Service('shipping'), which is no other part of it."),
    (lambda: other().include(Service("shipping", ordered=True)), "includes a part that is to hear facts otherwise."),
    (lambda: other().include(other()), "service 'shipping' handles Ship twice, in ship and ship."),
    (lambda: Service("shipping").include(*_same_resource()), "rates and rates make the same type of resource."),
]


def _same_resource() -> tuple[Service, Service]:
    first, second = other(), other()
    first.handlers.clear()
    return first, second


@pytest.mark.parametrize(("mistake", "sentence"), PARTS, ids=[sentence[:40] for _, sentence in PARTS])
def test_what_is_no_part_is_refused(mistake: Callable[[], object], sentence: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        mistake()
    assert sentence in str(caught.value)


# --- mistakes ---------------------------------------------------------------------------------------------------------


def http() -> Gateway:
    return Gateway()


async def bare() -> Gateway:
    return Gateway()


async def unsaid() -> Any:
    yield Gateway()


async def asks(order: Order) -> AsyncIterator[Gateway]:
    yield Gateway()


async def a_text() -> AsyncIterator[str]:
    yield ""


async def a_message() -> AsyncIterator[Order]:
    yield Order(order_id="")


async def a_session() -> AsyncIterator[sqlite3.Connection]:
    yield sqlite3.connect(":memory:")


def a_context() -> AbstractAsyncContextManager[Gateway]:
    return nullcontext(Gateway())


LIFESPANS: list[tuple[Any, str]] = [
    (http, "http is no lifespan. Try: async def http() -> AsyncIterator[Client]"),
    (bare, "bare is no lifespan."),
    (unsaid, "unsaid is no lifespan."),
    (5, "int is no lifespan."),
    (asks, "asks makes a resource, so it is called with nothing."),
    (a_text, "a_text makes a str, which no handler can ask for by its type."),
    (a_message, "a_message makes a Order, which no handler can ask for by its type."),
    (a_session, "a_session makes a Connection: what a handler writes to a database through it would not be committed"),
]


@pytest.mark.parametrize(("function", "sentence"), LIFESPANS, ids=[sentence[:30] for _, sentence in LIFESPANS])
def test_what_is_no_lifespan_is_refused(function: Any, sentence: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        Service("shipping").lifespan(function)
    assert f"service 'shipping': {sentence}" in str(caught.value)
    assert caught.value.hint


async def test_a_function_may_return_a_context_manager() -> None:
    service = Service("shipping")
    assert service.lifespan(a_context) is a_context
    async with service.resources[Gateway].open() as made:
        assert isinstance(made, Gateway)


async def test_a_handler_asks_for_what_nobody_makes(monkeypatch: pytest.MonkeyPatch) -> None:
    service = Service("shipping")

    @service.handles(Ship)
    async def ship(command: Ship, gateway: Gateway) -> Done:
        return Done()

    with pytest.raises(DeclarationError) as caught:
        async with running(app_of(service), MEMORY):
            raise AssertionError
    assert str(caught.value).startswith("service 'shipping': ship takes a Gateway, which nobody makes. Try: ")
    monkeypatch.setattr(application, "load_app", lambda _: app_of(service))
    checked = CliRunner().invoke(cli, ["check", "shop"])
    assert isinstance(checked.exception, DeclarationError)
