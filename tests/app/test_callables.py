"""Handlers as people write them: each way works, or is refused by a sentence when it is declared."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from choros import Call, Command, DeclarationError, Done, Refused, Reply, Service
from choros.app.handler import refusal_in


class Charged(Reply):
    by: str = "nobody"


class Charge(Command[Charged], refusals=("declined", "closed")):
    amount: int = 1


class ChargeTwice(Charge):
    """A command that is derived from another one."""


async def plain(command: Charge, call: Call) -> Charged:
    return Charged(by=f"plain {call.key}")


async def by_place(command: Charge, call: Call, /) -> Charged:
    return Charged(by=f"by_place {call.key}")


async def by_place_and_name(command: Charge, /, *, call: Call) -> Charged:
    return Charged(by=f"by_place_and_name {call.key}")


async def of_a_bank(bank: str, command: Charge, call: Call) -> Charged:
    return Charged(by=f"{bank} {call.key}")


async def at_a_rate(command: Charge, rate: int, call: Call) -> Charged:
    return Charged(by=f"{rate} {call.key}")


def timed(function: Callable[..., Awaitable[Charged]]) -> Callable[..., Awaitable[Charged]]:
    @functools.wraps(function)
    async def around(*given: Any, **named: Any) -> Charged:
        return await function(*given, **named)

    return around


class Till:
    def __init__(self, name: str) -> None:
        self.name = name

    async def charge(self, command: Charge, call: Call) -> Charged:
        return Charged(by=f"{self.name} {call.key}")

    async def __call__(self, command: Charge, call: Call) -> Charged:
        return Charged(by=f"called {self.name} {call.key}")

    @staticmethod
    async def fixed(command: Charge, call: Call) -> Charged:
        return Charged(by=f"fixed {call.key}")


WAYS: dict[str, tuple[Any, str, str]] = {
    "a function": (plain, "plain", "plain"),
    "by place": (by_place, "by_place", "by_place"),
    "by place and name": (by_place_and_name, "by_place_and_name", "by_place_and_name"),
    "decorated": (timed(plain), "plain", "plain"),
    "a bound method": (Till("t1").charge, "charge", "t1"),
    "a static method": (Till.fixed, "fixed", "fixed"),
    "an object that is called": (Till("t2"), "Till", "called t2"),
    "a partial by place": (functools.partial(of_a_bank, "b1"), "of_a_bank", "b1"),
    "a partial by name": (functools.partial(at_a_rate, rate=7), "at_a_rate", "7"),
    "a partial of a partial": (functools.partial(functools.partial(of_a_bank, bank="b0"), bank="b"), "of_a_bank", "b"),
    "a partial of a method": (functools.partial(Till("t3").charge), "charge", "t3"),
    "a partial of an object": (functools.partial(Till("t4")), "Till", "called t4"),
}


@pytest.mark.parametrize("way", WAYS)
async def test_each_way_works(way: str) -> None:
    function, name, by = WAYS[way]
    service = Service("till")
    assert service.handles(Charge)(function) is function
    handler = service.handlers["charge.v1"]
    assert handler.name == name
    assert await handler(Charge(), None, Call(key="k", correlation_id="c")) == Charged(by=f"{by} k")


async def anything(*commands: Charge) -> Charged: ...  # type: ignore[empty-body]
async def any_name(**commands: Charge) -> Charged: ...  # type: ignore[empty-body]
async def yields(command: Charge) -> Any:
    yield Charged()


MISTAKES: list[tuple[Any, str]] = [
    (anything, "anything takes *commands, which says nothing of it. Try: name what it takes;"),
    (any_name, "any_name takes **commands, which says nothing of it."),
    (yields, "yields yields, so it returns nothing. Try: return what it comes to."),
    (Till, "Till'> is a class, not an object of it. Try: Till(...)."),
    (functools.partial(at_a_rate), "at_a_rate takes 'rate', which is neither Charge,"),
]


@pytest.mark.parametrize(("function", "sentence"), MISTAKES, ids=[sentence[:40] for _, sentence in MISTAKES])
def test_each_other_way_is_refused_by_a_sentence(function: Any, sentence: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        Service("till").handles(Charge)(function)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


# --- a command that is derived from another one -----------------------------------------------------------------------


def test_a_derived_command_has_the_reply_and_the_refusals_of_the_other() -> None:
    assert (ChargeTwice.reply_type, ChargeTwice.type_name) == (Charged, "charge-twice.v1")
    assert ChargeTwice.refusals == ("declined", "closed")

    class ChargeForSure(Charge, refusals=()):
        pass

    assert ChargeForSure.refusals == ()


def test_what_is_given_with_a_refusal_is_derived_with_it() -> None:
    class Why(Reply):
        limit: int

    class Order(Command[Done], refusals={"too_much": Why, "closed": None}):
        pass

    class Reorder(Order):
        pass

    class Preorder(Order, refusals=("closed",)):
        pass

    assert (Reorder.refusals, Reorder.refusal_data) == (("too_much", "closed"), {"too_much": Why})
    assert (Preorder.refusals, Preorder.refusal_data) == (("closed",), {})


def test_a_handler_of_the_one_may_be_the_handler_of_the_other() -> None:
    service = Service("till")
    service.handles(Charge)(plain)
    service.handles(ChargeTwice)(plain)
    assert list(service.handlers) == ["charge.v1", "charge-twice.v1"]


# --- refusals in groups -----------------------------------------------------------------------------------------------


async def refuses(code: str) -> None:
    raise Refused(code)


async def fails() -> None:
    raise ValueError


async def in_tasks(*asked: Awaitable[None]) -> None:
    async with asyncio.TaskGroup() as group:
        for one in asked:
            group.create_task(one)  # type: ignore[arg-type]


async def _raised(service: Service) -> BaseException:
    with pytest.raises(BaseException) as caught:  # noqa: PT011
        await service.handlers["charge.v1"](Charge(), None, Call(key="k", correlation_id="c"))
    return caught.value


def of(function: Callable[[], Awaitable[None]]) -> Service:
    service = Service("till")

    @service.handles(Charge)
    async def charge(command: Charge) -> Charged:
        await function()
        return Charged()

    return service


async def test_a_refusal_out_of_a_task_group_is_a_refusal() -> None:
    raised = await _raised(of(lambda: in_tasks(refuses("declined"), asyncio.sleep(60))))
    assert isinstance(raised, Refused)
    assert raised.code == "declined"


async def test_of_several_refusals_it_is_the_first() -> None:
    async def both() -> None:
        raise ExceptionGroup("", [ExceptionGroup("", [Refused("closed")]), Refused("declined")])

    raised = await _raised(of(both))
    assert isinstance(raised, Refused)
    assert raised.code == "closed"


async def test_beside_a_failure_a_refusal_is_a_failure() -> None:
    async def both() -> None:
        raise ExceptionGroup("", [Refused("closed"), ValueError()])

    assert isinstance(await _raised(of(both)), ExceptionGroup)
    assert isinstance(await _raised(of(lambda: in_tasks(fails()))), ExceptionGroup)
    assert refusal_in(ValueError()) is None
