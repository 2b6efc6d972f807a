"""A saga that has its ground to itself, may be asked for changes, and waits for what others finish later. It stands in
`every_node`'s application, beside others that lock the same ground."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from choros import (
    Command,
    Done,
    Fact,
    Lock,
    Message,
    Parallel,
    Pivot,
    Refused,
    Reply,
    Retriable,
    RetryPolicy,
    Saga,
    Service,
    Step,
    Update,
)

SOON = RetryPolicy(initial=timedelta(seconds=1), max=timedelta(seconds=8), total=timedelta(seconds=40))
ONCE = RetryPolicy(attempts=2, initial=timedelta(seconds=1))
TIMEOUT = timedelta(seconds=10)
BOUND = timedelta(seconds=25)
"""How long a step may take that is finished later; some words come behind that."""


class OpenTender(Message):
    place: str


class Stamped(Reply):
    number: int


class Stamp(Command[Stamped], refusals=("not_allowed",)):
    place: str


class Tear(Command[Done]):
    place: str


class Reserve(Command[Done], refusals=("none_left",)):
    place: str
    colour: str


class Release(Command[Done]):
    place: str


class Award(Command[Done], refusals=("no_offer",)):
    place: str


class File(Command[Stamped]):
    place: str
    colour: str


class Paint(Update[Done]):
    colour: str


class Enlarge(Update[Done]):
    metres: int


class Awarded(Fact):
    place: str


class NotAwarded(Fact):
    place: str


def stamp(tender: OpenTender) -> Stamp:
    return Stamp(place=tender.place)


def tear(tender: OpenTender) -> Tear:
    return Tear(place=tender.place)


def reserve(tender: OpenTender, paint: Paint | None, larger: Enlarge | None) -> Reserve:
    return Reserve(place=tender.place, colour=paint.colour if paint else "")


def release(tender: OpenTender) -> Release:
    return Release(place=tender.place)


def award(tender: OpenTender) -> Award:
    return Award(place=tender.place)


def file(tender: OpenTender, paint: Paint | None) -> File:
    return File(place=tender.place, colour=paint.colour if paint else "")


def awarded(tender: OpenTender) -> Awarded:
    return Awarded(place=tender.place)


def not_awarded(tender: OpenTender) -> NotAwarded:
    return NotAwarded(place=tender.place)


def paint(paint: Paint) -> Done:
    return Done()


def enlarge(larger: Enlarge) -> Done:
    raise Refused("no_room")


def ground(tender: Message) -> str:
    """Of whoever plans anything at a place."""
    return f"{getattr(tender, 'place')}"  # noqa: B009 (of every start message that has one)


def stamped(name: str, retry: RetryPolicy) -> Step:
    given: Any = {"timeout": TIMEOUT, "retry": retry, "undo_retry": SOON, "finished_within": BOUND}
    return Step(stamp, "registry", tear, name=name, **given)


GROUND = Lock("ground", key=ground, within=timedelta(minutes=3))
tenders = Saga(
    "tenders",
    start=OpenTender,
    lock=GROUND,
    updates=(paint, enlarge),
    steps=(
        Step(
            stamp, "registry", tear, name="permit", timeout=TIMEOUT, retry=SOON, undo_retry=SOON, finished_within=BOUND
        ),
        Parallel(
            Step(
                stamp,
                "registry",
                tear,
                name="noise",
                timeout=TIMEOUT,
                retry=ONCE,
                undo_retry=SOON,
                finished_within=BOUND,
            ),
            Step(reserve, "registry", release, name="stand", timeout=TIMEOUT, retry=SOON, undo_retry=SOON),
            name="papers",
        ),
        Pivot(award, "registry", timeout=TIMEOUT, retry=SOON),
        Retriable(file, "registry", timeout=TIMEOUT, retry=SOON, finished_within=BOUND),
    ),
    completed=awarded,
    compensated=not_awarded,
)
registry = Service("registry", commands=(Stamp, Tear, Reserve, Release, Award, File))
