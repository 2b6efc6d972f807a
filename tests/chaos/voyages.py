"""The sagas under chaos. A voyage: book the fare, hold the cabin, set sail (there is no way back), credit the miles. A
cruise, by the same services, has nodes in its nodes: two cabins race, decks are held in a loop, a dinner is tried."""

from __future__ import annotations

from datetime import timedelta

from choros import (
    App,
    Branch,
    Command,
    Done,
    Fact,
    Failure,
    ForEach,
    Message,
    Parallel,
    Pivot,
    Publish,
    Retriable,
    RetryPolicy,
    Saga,
    Scope,
    Service,
    Step,
)

NAMESPACE = "chaos"
_PATIENT = RetryPolicy(
    initial=timedelta(milliseconds=300),
    max=timedelta(seconds=5),
    total=timedelta(hours=4),  # no fault may be the end of a saga: the scripts alone decide
    non_retryable=("Hopeless",),
)
_TIMEOUT = timedelta(seconds=10)


class Embark(Message):
    """Starts a voyage."""

    number: int
    script: str


class Order(Command[Done]):
    """Every command names the voyage, and how it is to go."""

    number: int
    script: str
    part: str = ""
    """What of a cruise it is for; as it stands in the book."""


class BookFare(Order, refusals=("no_money",)):
    """Take the money."""


class RefundFare(Order):
    """Undoes BookFare."""


class HoldCabin(Order, refusals=("fully_booked",)):
    """Keep a cabin."""


class FreeCabin(Order):
    """Undoes HoldCabin."""


class SetSail(Order, refusals=("storm",)):
    """The go/no-go."""


class CreditMiles(Order):
    """Cannot be refused."""


class VoyageHeld(Fact):
    """Held back until the ship has sailed."""

    number: int


class VoyageDone(Fact):
    """The ship has sailed and all is done."""

    number: int


class VoyageOff(Fact):
    """It did not happen, and all is undone."""

    number: int
    code: str


def book_fare(start: Embark) -> BookFare:
    return BookFare(number=start.number, script=start.script)


def refund_fare(start: Embark) -> RefundFare:
    return RefundFare(number=start.number, script=start.script)


def hold_cabin(start: Embark) -> HoldCabin:
    return HoldCabin(number=start.number, script=start.script)


def free_cabin(start: Embark) -> FreeCabin:
    return FreeCabin(number=start.number, script=start.script)


def voyage_held(start: Embark) -> VoyageHeld:
    return VoyageHeld(number=start.number)


def set_sail(start: Embark) -> SetSail:
    return SetSail(number=start.number, script=start.script)


def credit_miles(start: Embark) -> CreditMiles:
    return CreditMiles(number=start.number, script=start.script)


def voyage_done(start: Embark) -> VoyageDone:
    return VoyageDone(number=start.number)


def voyage_off(start: Embark, failure: Failure) -> VoyageOff:
    return VoyageOff(number=start.number, code=failure.code)


voyage = Saga(
    "voyage",
    version=1,
    start=Embark,
    key=lambda start: f"voyage-{start.number}",
    steps=(
        Step(book_fare, "fares", refund_fare, timeout=_TIMEOUT, retry=_PATIENT, undo_retry=_PATIENT),
        Step(hold_cabin, "cabins", free_cabin, timeout=_TIMEOUT, retry=_PATIENT, undo_retry=_PATIENT),
        Publish(voyage_held),
        Pivot(set_sail, "harbour", timeout=_TIMEOUT, retry=_PATIENT),
        Retriable(credit_miles, "fares", timeout=_TIMEOUT, retry=_PATIENT),
    ),
    completed=voyage_done,
    compensated=voyage_off,
)


# --- a cruise ---------------------------------------------------------------------------------------------------------

DECKS = (0, 1, 2)


def _fare(part: str) -> Step:
    def book(start: Embark) -> BookFare:
        return BookFare(number=start.number, script=start.script, part=part)

    def refund(start: Embark) -> RefundFare:
        return RefundFare(number=start.number, script=start.script, part=part)

    return Step(book, "fares", refund, name=part, timeout=_TIMEOUT, retry=_PATIENT, undo_retry=_PATIENT)


def _cabin(part: str) -> Step:
    def hold(start: Embark) -> HoldCabin:
        return HoldCabin(number=start.number, script=start.script, part=part)

    def free(start: Embark) -> FreeCabin:
        return FreeCabin(number=start.number, script=start.script, part=part)

    return Step(hold, "cabins", free, name=part, timeout=_TIMEOUT, retry=_PATIENT, undo_retry=_PATIENT)


def _credit(part: str) -> Retriable:
    def credit(start: Embark) -> CreditMiles:
        return CreditMiles(number=start.number, script=start.script, part=part)

    return Retriable(credit, "fares", name=part, timeout=_TIMEOUT, retry=_PATIENT)


def decks(start: Embark) -> list[int]:
    return list(DECKS)


def hold_deck(start: Embark, deck: int) -> HoldCabin:
    return HoldCabin(number=start.number, script=start.script, part=f"deck-{deck}")


def free_deck(start: Embark, deck: int) -> FreeCabin:
    return FreeCabin(number=start.number, script=start.script, part=f"deck-{deck}")


cruise = Saga(
    "cruise",
    version=1,
    start=Embark,
    key=lambda start: f"voyage-{start.number}",
    steps=(
        Parallel(_fare("fare"), Branch("tour", _fare("guide"), _cabin("bus")), name="both"),
        Parallel(_cabin("port"), _cabin("starboard"), first=1, name="side"),
        ForEach(
            decks,
            Step(hold_deck, "cabins", free_deck, timeout=_TIMEOUT, retry=_PATIENT, undo_retry=_PATIENT),
            at_once=2,
        ),
        Scope(_cabin("table"), _fare("dinner"), otherwise=_fare("buffet"), name="evening"),
        Publish(voyage_held),
        Pivot(set_sail, "harbour", timeout=_TIMEOUT, retry=_PATIENT),
        Parallel(_credit("points"), _credit("miles"), name="bonus"),
    ),
    completed=voyage_done,
    compensated=voyage_off,
)  # fmt: skip

app = App(
    NAMESPACE,
    sagas=(voyage, cruise),
    services=(
        Service("fares", commands=(BookFare, RefundFare, CreditMiles)),
        Service("cabins", commands=(HoldCabin, FreeCabin)),
        Service("harbour", commands=(SetSail,)),
        Service("journal", facts=(VoyageHeld, VoyageDone, VoyageOff)),
        Service("gazette", facts=(VoyageHeld, VoyageDone, VoyageOff)),
    ),
)
