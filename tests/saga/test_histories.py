"""Sagas with nodes in them, from their start to their end, on the ways that matter: what was noted and sent with each
decision, where the saga stood then, and at the end what is stored of each node. All of it as `histories.txt` has it.

After a change: `python -m tests.saga.test_histories`, and read what it changed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

from choros.messages import Done, Failure, Message, Reply
from choros.saga.diagram import mermaid, outline
from choros.saga.machine.inputs import (
    Answered,
    CancelRequested,
    Decision,
    Event,
    Input,
    PauseRequested,
    ResumeRequested,
    RetryRequested,
    Send,
    SignalRequested,
    SkipRequested,
    TerminateRequested,
    TimerFired,
)
from choros.saga.machine.instance import UNTOUCHED, NodeState
from choros.saga.machine.machine import begin, decide
from choros.saga.nodes import (
    Branch,
    Check,
    Existing,
    ForEach,
    Parallel,
    Pivot,
    Publish,
    Repeat,
    Retriable,
    Scope,
    Sleep,
    Step,
    When,
)
from choros.saga.saga import Saga
from choros_verify.simulation.invention import invent
from tests.saga import post
from tests.saga.loan import AskForLoan, Countersigned, Decided, loan_saga
from tests.saga.parcels import order_of, parcels
from tests.saga.refill import (
    Refill,
    as_it_was,
    close,
    is_full,
    notify,
    pallet,
    refill_saga,
    shelve,
)
from tests.saga.refill import saga_of as refills
from tests.saga.test_each import FOURS, nested
from tests.saga.test_race import quorum, race, scope
from tests.saga.trip import (
    BookCar,
    BookTrip,
    GiveBack,
    book_car,
    car,
    car_is_not_wanted,
    car_is_wanted,
    check_passport,
    flight,
    give_flight_back,
    hotel,
    send_ticket,
    send_voucher,
    trip_booked,
    trip_off,
    trip_saga,
    wants_car,
)

WORDS = Path(__file__).with_name("histories.txt")
DAY, HOUR = timedelta(days=1), 3_600.0


def trip_of(*steps: Any) -> Saga[BookTrip]:
    return Saga("trip", start=BookTrip, steps=steps, completed=trip_booked, compensated=trip_off)


def cars(trip: BookTrip) -> list[int]:
    return [7, 8, 9]


def book_numbered(trip: BookTrip, number: int) -> BookCar:
    return BookCar(trip=f"{trip.trip}-{number}")


def give_numbered_back(number: int) -> GiveBack:
    return GiveBack(what=f"car {number}")


def heard_enough(refill: Refill) -> bool:
    return False


numbered = Step(book_numbered, to="cars", compensation=give_numbered_back)
early = Publish(car_is_wanted, early=True, retraction=car_is_not_wanted)
garage = trip_of(
    flight,
    Scope(ForEach(cars, [Check(check_passport, to="office"), numbered], at_once=2), otherwise=hotel),
    Sleep(DAY, name="think"),
    Pivot(send_ticket, to="mail"),
    ForEach(cars, Retriable(send_voucher, to="mail"), name="vouchers", at_once=3),
)
patient = trip_of(
    Existing(to="office", compensation=give_flight_back),
    Parallel(Branch("nap", Sleep(DAY), early, car), Branch("stay", hotel, Sleep(2 * DAY, name="rest"))),
    When(wants_car, then=Pivot(book_car, to="cars", name="lease"), otherwise=Pivot(send_ticket, to="mail")),
)
apart = trip_of(
    Parallel(flight, Branch("stay", hotel, car), undo="side_by_side"),
    Scope(
        Scope(Step(book_car, to="cars", compensation=give_flight_back, name="again"), name="inner"),
        Check(check_passport, to="office"),
        name="outer",
    ),
)
stock = refills(
    Repeat([pallet, shelve], until=is_full, at_most=2), Pivot(close, to="store"),
    Repeat(Retriable(notify, to="mail"), until=heard_enough, at_most=2, name="tell"), compensated=as_it_was,
)  # fmt: skip


class Story(NamedTuple):
    """A saga, and what comes: then everything is answered with a yes, as long as it waits for anything."""

    saga: Saga[Any]
    start: Message
    comes: str = ""


TRIP, ON_FOOT = BookTrip(), BookTrip(car=False)
STORIES: Sequence[Story] = (
    Story(trip_saga, TRIP),
    Story(trip_saga, ON_FOOT, "yes, fail, time, no last"),
    Story(trip_saga, TRIP, "yes, yes, yes, yes, cancel, no"),
    Story(trip_saga, TRIP, "yes, yes, yes, yes, yes, yes last, terminate, yes"),
    Story(parcels, order_of(*"abc", gifts="b")),
    Story(parcels, order_of(*"abcd", gifts="bc"), "yes last, pause, yes, resume, no last"),
    Story(parcels, order_of(*"abc"), "yes, yes last, cancel"),
    Story(nested, FOURS),
    Story(nested, FOURS, "yes last, yes, yes last, yes, silence"),
    Story(refill_saga, Refill(wanted=1)),
    Story(stock, Refill(wanted=1), "yes, yes, yes, yes, yes, retry"),
    Story(stock, Refill(wanted=9)),
    Story(race, TRIP, "no, yes last"),
    Story(race, TRIP, "yes, silence, cancel"),
    Story(race, TRIP, "no, no, no"),
    Story(quorum, TRIP, "yes, no"),
    Story(quorum, TRIP, "no, yes last, no"),
    Story(quorum, TRIP, "no, terminate"),
    Story(scope, TRIP, "yes, yes, no"),
    Story(scope, TRIP, "yes, no, no"),
    Story(garage, TRIP),
    Story(garage, TRIP, "yes, yes, yes, no, yes, time"),
    Story(garage, TRIP, "yes, yes, yes, no, cancel"),
    Story(garage, TRIP, "yes, yes, yes, yes, yes, yes, yes, time, fail, silence, skip, yes, terminate"),
    Story(patient, TRIP),
    Story(patient, ON_FOOT, "yes, time, no"),
    Story(patient, TRIP, "yes, time, yes, cancel"),
    Story(patient, TRIP, "yes, time, yes, time, silence, retry, no"),
    Story(apart, TRIP, "yes, yes, yes, no"),
    Story(apart, TRIP, "yes, yes, yes, yes, no, cancel"),
    Story(apart, TRIP, "yes, yes, yes, yes, cancel"),
    Story(loan_saga, AskForLoan(), "yes, say decided, yes, time"),
    Story(loan_saga, AskForLoan(), "say decided, yes, yes, say countersigned, say decided"),
    Story(loan_saga, AskForLoan(), "yes, time, say decided, no"),
    Story(loan_saga, AskForLoan(), "yes, time, cancel, say decided"),
    Story(loan_saga, AskForLoan(), "yes, terminate, say decided"),
    Story(loan_saga, AskForLoan()),
    Story(post.SAGA, post.MAIL, "yes, yes, no"),
    Story(post.SAGA, post.LETTER, "silence"),
    Story(post.SAGA, post.EXPRESS),
)
ACTS: dict[str, Input] = {
    "cancel": CancelRequested("a cancel"),
    "pause": PauseRequested("a pause"),
    "resume": ResumeRequested("a resume"),
    "terminate": TerminateRequested("a terminate"),
}


class Told:
    """Tells one story."""

    def __init__(self, story: Story) -> None:
        self.saga, self.comes = story.saga, story.comes
        self.now = 0.0
        self.count = 0
        self.lines: list[str] = []
        self.sends: dict[str, Send] = {}
        self.take("start", begin(self.saga.tree, "s", story.start.to_json(), 0.0, cause="the start"))

    def tell(self) -> list[str]:
        """From its start to its end."""
        for one in filter(None, self.comes.split(", ")):
            self.come(one)
        while not self.instance.terminal and (self.under_way or self.instance.wake_at is not None):
            self.come("yes" if self.under_way else "time")
        return [*self.lines, *(f"  = {path} {_told(state)}" for path, state in self.instance.nodes.items())]

    @property
    def under_way(self) -> list[Send]:
        """The commands that wait for an answer, the oldest first."""
        return [send for path, send in self.sends.items() if (leg := self.instance.state(path).leg) and leg.due]

    def come(self, what: str) -> None:
        """One thing that happens."""
        self.now += 1.0
        if what in ACTS:
            self.give(what, ACTS[what])
        elif what.startswith("say "):
            step = what.removeprefix("say ")
            body = {"decided": Decided(), "countersigned": Countersigned()}[step].to_json()
            self.give(what, SignalRequested(f"a signal at {self.now:g}", step, body))
        elif what == "time":
            self.fire()
        elif what == "silence":  # for so long that nothing that is under way is tried again
            path, operation = self.under_way[0].key.path, self.under_way[0].key.operation
            while (leg := self.instance.state(path).leg) and leg.due and leg.operation == operation:
                self.now += HOUR
                self.give(what, TimerFired())
        elif what in ("retry", "skip"):
            path, state = next(iter(self.instance.parked_at.items()))
            retry = RetryRequested("a retry", path, state.round)
            self.give(f"{what} {path}", retry if what == "retry" else SkipRequested("a skip", path, state.round, "{}"))
        else:
            self.answer(self.under_way[-1 if what.endswith("last") else 0], what.split()[0])

    def fire(self) -> None:
        assert self.instance.wake_at is not None
        self.now = max(self.now, self.instance.wake_at)
        self.give("time", TimerFired())

    def answer(self, send: Send, said: str) -> None:
        leaf = self.saga.outline.commanded(send.key.path)
        assert leaf
        kinds = [one for some in leaf.commands.values() for one in some if one.type_name == send.type]
        kind = kinds[0].reply_type if kinds else Done  # of a close
        if send.key.operation != "do" or leaf.existing:
            said = said if said == "fail" else "yes"
        code = {"yes": "", "no": next(iter(leaf.refusals), "expired"), "fail": "ConnectionError"}[said]
        reply: Reply = _reply(kind, send.key.path) if said == "yes" else Failure(code=code, detail="why")
        outcome: Any = {"yes": "ok", "no": "refused", "fail": "failed"}[said]
        self.count += 1
        answer = Answered(
            f"reply {self.count}", send.key, send.attempt, outcome, reply.to_json(), code,
            undone=("a part",) if said == "no" else (),
            kind=kind if said == "yes" and send.key.operation == "do" else None,
        )  # fmt: skip
        self.give(f"{said} {send.key.path} {send.key.operation}", answer)

    def give(self, what: str, given: Input) -> None:
        self.take(what, decide(self.saga.tree, self.instance, [given], self.now))

    def take(self, what: str, decision: Decision) -> None:
        self.instance = decision.instance
        self.lines.append(f"{self.now:g}: {what}")
        self.lines += [f"    {_event(event)}" for event in decision.events]
        self.lines += [
            f"    > {send.type} to {send.to}, {send.key}#{send.attempt} {send.data}" for send in decision.sends
        ]
        self.lines += [f"    ! {fact.type} {fact.seq} {fact.step or 'at the end'}" for fact in decision.facts]
        self.lines.append(f"    {self.instance.status} at {self.saga.at_work(self.instance) or 'its end'}")
        for send in decision.sends:
            self.sends.pop(send.key.path, None)
            self.sends[send.key.path] = send


def _reply(kind: type[Reply], path: str) -> Reply:
    """One that says which step it comes from."""
    texts = {name: path for name, field in kind.model_fields.items() if field.annotation is str}
    return invent(kind).model_copy(update=texts)


def _event(event: Event) -> str:
    return " ".join(str(value) for one in fields(event) if (value := getattr(event, one.name)))


def _told(state: NodeState) -> str:
    """What differs from a node that the saga never came to."""
    names = [one.name for one in fields(state)]
    told = [(name, getattr(state, name)) for name in names if getattr(state, name) != getattr(UNTOUCHED, name)]
    return ", ".join(f"{name}={value}" for name, value in told)


def _declared_again(saga: Saga[Any]) -> Saga[Any]:
    """The same saga, checked and planned once more."""
    closing = (saga.outline.completed, saga.outline.compensated)
    completed, compensated = ([builder.function for builder in builders] for builders in closing)
    return Saga(saga.name, start=saga.start, steps=saga.steps, completed=completed, compensated=compensated)


def words() -> Iterator[str]:
    for declared in dict.fromkeys(story.saga for story in STORIES):
        saga = _declared_again(declared)
        yield from ("", f"# {saga.name}", "", *outline(saga), *mermaid(saga).splitlines())
        yield from saga.fingerprint.text.splitlines()
        for story in STORIES:
            if story.saga is declared:
                yield from ("", f"## {story.start.to_json()} {story.comes or 'yes'}")
                yield from Told(story._replace(saga=saga)).tell()


def test_every_history_is_told_in_these_words() -> None:
    assert list(words()) == WORDS.read_text().splitlines()


if __name__ == "__main__":
    WORDS.write_text("".join(f"{line}\n" for line in words()))
