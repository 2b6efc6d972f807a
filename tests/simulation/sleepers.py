"""An application whose saga sleeps for months, before its pivot and behind it, and whose start says for how long."""

from __future__ import annotations

from datetime import timedelta

from choros import App, Command, Done, Fact, Message, Pivot, Publish, Retriable, Saga, Service, Sleep, Step


class Subscribe(Message):
    name: str
    months: int


class GiveAccess(Command[Done], refusals=("has_access",)):
    name: str


class TakeAccess(Command[Done]):
    name: str


class ChargeYear(Command[Done], refusals=("card_declined",)):
    name: str


class SendReminder(Command[Done]):
    name: str


class Renewed(Fact):
    name: str


class TrialBegun(Fact):
    name: str


def give_access(wanted: Subscribe) -> GiveAccess:
    return GiveAccess(name=wanted.name)


def take_access(wanted: Subscribe) -> TakeAccess:
    return TakeAccess(name=wanted.name)


def trial_begun(wanted: Subscribe) -> TrialBegun:
    return TrialBegun(name=wanted.name)


def trial(wanted: Subscribe) -> timedelta:
    return timedelta(days=30 * wanted.months)


def charge_year(wanted: Subscribe) -> ChargeYear:
    return ChargeYear(name=wanted.name)


def send_reminder(wanted: Subscribe) -> SendReminder:
    return SendReminder(name=wanted.name)


def renewed(wanted: Subscribe) -> Renewed:
    return Renewed(name=wanted.name)


subscription = Saga(
    "subscription",
    start=Subscribe,
    steps=(
        Sleep(timedelta(seconds=20), name="think_twice"),
        Step(give_access, to="access", compensation=take_access),
        Publish(trial_begun),
        Sleep(trial),
        Pivot(charge_year, to="payment"),
        Sleep(timedelta(days=358), name="year"),
        Retriable(send_reminder, to="mail"),
    ),
    completed=renewed,
)
app = App(
    "subscriptions",
    sagas=[subscription],
    services=[
        Service("access", commands=(GiveAccess, TakeAccess)),
        Service("payment", commands=(ChargeYear,)),
        Service("mail", commands=(SendReminder,)),
        Service("news", facts=(TrialBegun, Renewed)),
    ],
)
STARTS = [(subscription, Subscribe(name="emma", months=2)), (subscription, Subscribe(name="noah", months=5))]
