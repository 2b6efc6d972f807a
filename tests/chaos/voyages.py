"""The sagas under chaos. A voyage: book the fare, hold the cabin, set sail (there is no way back), credit the miles. A
cruise, by the same services, has nodes in its nodes: two cabins race, decks are held in a loop, a dinner is tried. An
expedition is spoken to: it has its guide to itself, its permit is finished from outside, it waits for the word to
depart, and its tent may be changed. By each tenth voyage that is done a souvenir is begun."""

from __future__ import annotations

from datetime import timedelta

from choros import (
    App,
    Branch,
    Command,
    Done,
    Fact,
    FactStart,
    Failure,
    ForEach,
    Lock,
    Message,
    Parallel,
    Pivot,
    Publish,
    Retriable,
    RetryPolicy,
    Saga,
    Scope,
    Service,
    Signal,
    Step,
    Update,
    Wait,
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

# --- an expedition ----------------------------------------------------------------------------------------------------

GUIDES = 40
LONG = timedelta(hours=4)
SMALL, LARGE = "tent-small", "tent-large"
"""What of an expedition a tent is; the small one is what it has unless it is asked for the other."""
SOUVENIRS = 10
"""A souvenir for each voyage of such a number."""


class AskPermit(Order, refusals=("not_allowed",)):
    """Finished later, by whoever decides on permits."""


class DropPermit(Order):
    """Undoes AskPermit."""


class ChangeTent(Update[Done]):
    """May be asked until the tent is held."""

    tent: str


class Depart(Signal):
    """The word that an expedition waits for."""


class SendSouvenir(Message):
    """Starts a souvenir."""

    number: int


def ask_permit(start: Embark) -> AskPermit:
    return AskPermit(number=start.number, script=start.script)


def drop_permit(start: Embark) -> DropPermit:
    return DropPermit(number=start.number, script=start.script)


def token_of(number: int) -> str:
    """Under what the permit of an expedition is finished."""
    return f"permit-{number}"


def change_tent(change: ChangeTent) -> Done:
    return Done()


def hold_tent(start: Embark, change: ChangeTent | None) -> HoldCabin:
    return HoldCabin(number=start.number, script=start.script, part=change.tent if change else SMALL)


def free_tent(start: Embark, change: ChangeTent | None) -> FreeCabin:
    return FreeCabin(number=start.number, script=start.script, part=change.tent if change else SMALL)


def pack_souvenir(start: SendSouvenir) -> CreditMiles:
    return CreditMiles(number=start.number, script="", part="souvenir")


def souvenir_of(done: VoyageDone) -> SendSouvenir | None:
    return None if done.number % SOUVENIRS else SendSouvenir(number=done.number)


expedition = Saga(
    "expedition",
    version=1,
    start=Embark,
    key=lambda start: f"voyage-{start.number}",
    lock=Lock("guide", key=lambda start: str(start.number % GUIDES), within=LONG, most=1000),
    updates=(change_tent,),
    steps=(
        Step(
            ask_permit,
            "fares",
            drop_permit,
            timeout=_TIMEOUT,
            retry=_PATIENT,
            undo_retry=_PATIENT,
            finished_within=LONG,
        ),
        Wait(Depart, name="departure", within=LONG),
        Step(hold_tent, "cabins", free_tent, timeout=_TIMEOUT, retry=_PATIENT, undo_retry=_PATIENT),
        Publish(voyage_held),
        Pivot(set_sail, "harbour", timeout=_TIMEOUT, retry=_PATIENT),
        Retriable(credit_miles, "fares", timeout=_TIMEOUT, retry=_PATIENT),
    ),
    completed=voyage_done,
    compensated=voyage_off,
)
souvenir = Saga(
    "souvenir",
    version=1,
    start=SendSouvenir,
    key=lambda start: f"souvenir-{start.number}",
    steps=(Pivot(pack_souvenir, "fares", timeout=_TIMEOUT, retry=_PATIENT),),
)

app = App(
    NAMESPACE,
    sagas=(voyage, cruise, expedition, souvenir),
    starts=(FactStart(souvenir, on=VoyageDone, start=souvenir_of),),
    services=(
        Service("fares", commands=(BookFare, RefundFare, CreditMiles, AskPermit, DropPermit)),
        Service("cabins", commands=(HoldCabin, FreeCabin)),
        Service("harbour", commands=(SetSail,)),
        Service("journal", facts=(VoyageHeld, VoyageDone, VoyageOff)),
        Service("gazette", facts=(VoyageHeld, VoyageDone, VoyageOff)),
    ),
)
