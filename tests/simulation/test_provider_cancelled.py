"""Providers that can cancel, played and a user's own: what is called off there never happens, whatever hangs."""

from __future__ import annotations

import pytest

from choros import App, Call, Command, Done, Message, RetryPolicy, Saga, Service, Step
from choros.app.handler import Handler
from choros_verify import RunPlan, Scene, ScriptLine, campaign
from choros_verify.simulation.outside_world import OutsideWorld

ONCE = RetryPolicy(attempts=1)


class Order(Message):
    number: str


class Charge(Command[Done], refusals=("declined",)):
    number: str


class Refund(Command[Done]):
    number: str


class Bank:
    """It lives outside, and outlives every process."""

    def __init__(self) -> None:
        self.charged: set[str] = set()
        self.cancelled: set[str] = set()

    def cancel(self, key: str) -> bool:
        """Whether it came in time."""
        if key not in self.charged:
            self.cancelled.add(key)
        return key in self.cancelled

    def charge(self, key: str) -> None:
        if key in self.cancelled:
            raise ConnectionRefusedError
        self.charged.add(key)


def till(bank: Bank | None = None) -> Service:
    service, at = Service("till"), bank or Bank()

    async def ask(command: Charge, call: Call) -> Done | None:
        return Done() if call.key in at.charged else None

    async def cancel(command: Charge, call: Call) -> Done | None:
        return None if at.cancel(call.key) else Done()

    @service.provider(Charge, ask=ask, cancel=cancel)
    async def charge(command: Charge, call: Call) -> Done:
        at.charge(call.key)
        return Done()

    @service.provider(Refund)
    async def refund(command: Refund, call: Call) -> Done:
        at.charge(call.key)
        return Done()

    return service


def charge(order: Order) -> Charge:
    return Charge(number=order.number)


def refund(order: Order) -> Refund:
    return Refund(number=order.number)


SAGA = Saga("sale", start=Order, steps=(Step(charge, to="till", compensation=refund, retry=ONCE),))
APP = App("shop", sagas=[SAGA], services=[till()])
FAILS = RunPlan(seed=1, script=(ScriptLine(0, "charge", "do", "stuck"),))


def test_what_a_played_provider_has_not_done_is_called_off(monkeypatch: pytest.MonkeyPatch) -> None:
    called_off: list[str] = []
    call_off = OutsideWorld.call_off

    def noted(self: OutsideWorld, call: Call) -> bool:
        called_off.append(call.step)
        return call_off(self, call)

    monkeypatch.setattr(OutsideWorld, "call_off", noted)
    result = Scene(APP).examine(FAILS)
    assert (result.violations, result.statuses, called_off) == ((), {"compensated": 1}, ["charge"])


def test_a_user_s_own_cancellation_is_called() -> None:
    made: list[Bank] = []

    def with_a_bank() -> Service:
        made.append(Bank())
        return till(made[-1])

    result = Scene(APP, own={"till": with_a_bank}).examine(FAILS)
    assert (result.violations, result.statuses) == ((), {"compensated": 1})
    assert (len(made[-1].cancelled), made[-1].charged) == (1, set())


@pytest.mark.slow
def test_no_promise_is_broken_with_them() -> None:
    assert [result.violations for result in campaign(Scene(APP), range(1, 16)).failures] == []


STRAYS = RunPlan(seed=1, script=(ScriptLine(0, "charge", "do", "strays", 7),))


def test_what_strays_does_not_land_once_it_is_called_off() -> None:
    result = Scene(APP).examine(STRAYS)
    assert (result.violations, result.statuses) == ((), {"compensated": 1})
    assert result.seconds > 7


def test_who_takes_unknown_for_never_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A participant that calls nothing what its provider does not know, without a cancellation there."""

    def looking_only(self: Handler, *, wanted: bool) -> tuple[Handler, ...]:
        return (self.ask, self) if wanted and self.ask else (self.ask or self,)

    monkeypatch.setattr(Handler, "settling", looking_only)
    found = Scene(APP).examine(STRAYS).violations
    assert "26: saga 0 was compensated, and then had the do of charge." in found
