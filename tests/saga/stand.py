"""A saga to test the orders of undoing with: a stand at a fair. Its power needs the space, the crew nothing."""

from typing import Any

from pydantic import BaseModel, Field

from choros.messages import Command, Done, Fact, Message, Reply
from choros.saga.nodes import Check, Existing, Pivot, Publish, Step
from choros.saga.saga import Saga


class Guest(BaseModel):
    name: str


class Plan(Message):
    stand: str = "s1"
    guests: list[Guest] = Field(default_factory=list)


class Rented(Reply):
    space: int = 7


class Measured(Reply):
    width: int = 3


class Laid(Reply):
    cable: int = 1


class Invited(Reply):
    badge: str = "b"


class Rent(Command[Rented], refusals=("taken",)):
    stand: str


class Hire(Command[Done], refusals=("busy",)):
    stand: str


class LayPower(Command[Laid], refusals=("too_far",)):
    space: int


class Measure(Command[Measured], refusals=("locked",)):
    space: int


class Furnish(Command[Done], refusals=("sold_out",)):
    width: int


class Invite(Command[Invited], refusals=("ill",)):
    name: str


class Greet(Command[Done], refusals=("gone",)):
    badge: str


class Open(Command[Done], refusals=("forbidden",)):
    stand: str


class Undo(Command[Done]):
    what: str


class StandPlanned(Fact):
    stand: str


class StandOff(Fact):
    stand: str


def rent(plan: Plan) -> Rent:
    return Rent(stand=plan.stand)


def leave(plan: Plan, rent: Rented | None) -> Undo:
    return Undo(what="space")


def hire(plan: Plan) -> Hire:
    return Hire(stand=plan.stand)


def dismiss(plan: Plan) -> Undo:
    return Undo(what="crew")


def lay_power(rent: Rented) -> LayPower:
    return LayPower(space=rent.space)


def cut_power(plan: Plan) -> Undo:
    return Undo(what="power")


def measure(rent: Rented) -> Measure:
    return Measure(space=rent.space)


def furnish(measured: Measured) -> Furnish:
    return Furnish(width=measured.width)


def clear(plan: Plan) -> Undo:
    return Undo(what="furniture")


def drop_plan(plan: Plan) -> Undo:
    return Undo(what="plan")


def guests(plan: Plan) -> list[Guest]:
    return plan.guests


def invite(guest: Guest) -> Invite:
    return Invite(name=guest.name)


def uninvite(guest: Guest) -> Undo:
    return Undo(what=f"invitation of {guest.name}")


def greet(invited: Invited) -> Greet:
    return Greet(badge=invited.badge)


def excuse(guest: Guest) -> Undo:
    return Undo(what=f"greeting of {guest.name}")


def open_stand(plan: Plan) -> Open:
    return Open(stand=plan.stand)


def stand_planned(plan: Plan, laid: Laid) -> StandPlanned:
    return StandPlanned(stand=plan.stand)


def stand_off(plan: Plan) -> StandOff:
    return StandOff(stand=plan.stand)


planned = Existing(to="office", compensation=drop_plan)
space = Step(rent, to="fair", compensation=leave)
crew = Step(hire, to="agency", compensation=dismiss)
power = Step(lay_power, to="fair", compensation=cut_power)
tape = Check(measure, to="fair")
furniture = Step(furnish, to="shop", compensation=clear)
invitation = Step(invite, to="post", compensation=uninvite)
greeting = Step(greet, to="desk", compensation=excuse)
opening = Pivot(open_stand, to="fair")
told = Publish(stand_planned, early=True, retraction=stand_off)


def stand_of(*steps: Any, **more: Any) -> Saga[Plan]:
    return Saga("stand", start=Plan, key=lambda plan: plan.stand, steps=steps, **more)


def plan_of(*names: str) -> Plan:
    return Plan(guests=[Guest(name=name) for name in names])
