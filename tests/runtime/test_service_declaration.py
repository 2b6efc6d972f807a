# mypy: disable-error-code="empty-body"
"""Every mistake in a service, an application or a command is one sentence, raised where it is written."""

from functools import partial
from typing import Any

import pytest

from choros.app.app import App
from choros.app.handler import Call
from choros.app.outbox import Outbox
from choros.app.program import Program
from choros.app.service import Service
from choros.callables import name_of
from choros.errors import DeclarationError
from choros.messages import Command, Done, Fact, Message, Reply, Signal
from choros.saga.nodes import Pivot
from choros.saga.saga import Saga
from choros.store.barrier import Transaction


class Trip(Message):
    trip_id: str


class Booked(Reply):
    booking: str


class BookedTwice(Booked):
    pass


class Lost(Reply):
    pass


class Book(Command[Booked]):
    trip_id: str


class Cancel(Command[Done]):
    trip_id: str


class TripBooked(Fact):
    trip_id: str


class TripLost(Fact):
    trip_id: str


class Said(Signal):
    by: str


def book(trip: Trip) -> Book: ...


bank = Service("bank", commands=[Book])
trip = Saga("trip", start=Trip, steps=(Pivot(book, to="bank"),))


async def booked(command: Book, db: Transaction) -> Booked: ...
async def perhaps(command: Book) -> Booked | None: ...
async def any_reply(command: Book) -> Reply: ...
async def anything(command: Book) -> Any: ...
async def silent(command: Book): ...  # type: ignore[no-untyped-def]
async def lost(command: Book, call: Call) -> Lost: ...
async def perhaps_lost(command: Book, call: Call) -> Lost | None: ...
async def too_special(command: Book) -> BookedTwice: ...
async def reacts(fact: TripBooked) -> None: ...
async def elsewhere(command: "Elsewhere") -> Booked: ...  # type: ignore[name-defined] # noqa: F821
async def no_type(command: "5 | None") -> Booked: ...  # type: ignore[valid-type]
async def object_of(command: object) -> Booked: ...
async def whatever(command: Any) -> Booked: ...
async def object_fact(fact: object) -> None: ...
async def any_message(command: Message) -> Booked: ...


async def tables(db: Transaction) -> None: ...
async def bare_tables(db): ...  # type: ignore[no-untyped-def]
async def no_argument() -> None: ...
async def with_more(db: Transaction, *, more: int) -> None: ...
async def two_arguments(db: Transaction, call: Call) -> None: ...
async def wrong_argument(db: str) -> None: ...
async def unknown_argument(db: "Elsewhere") -> None: ...  # type: ignore[name-defined] # noqa: F821
def sync_tables(db: Transaction) -> None: ...


CALLED_WITH = "prepares the service, so it is called with a Transaction and nothing else."


def service() -> Any:
    return Service("bank")


def app(**more: Any) -> App:
    return App("x", **more)


def answered_with(reply: Any) -> type[Command[Any]]:
    class Ask(Command[reply]):
        pass

    return Ask


MISTAKES: list[tuple[Any, str]] = [
    (lambda: service().handles(booked), "service 'bank': handles is given booked, which is no Command."),
    (lambda: service().provider(booked), "service 'bank': provider is given booked, which is no Command."),
    (lambda: service().on(reacts), "service 'bank': on is given reacts, which is no Fact."),
    (lambda: service().on(), "service 'bank': on is given nothing, which is no Fact."),
    (lambda: service().on(Book), f"service 'bank': on is given {Book!r}, which is no Fact."),
    (lambda: service().handles("Book"), "service 'bank': handles is given 'Book', which is no Command."),
    (lambda: service().handles(Book)(5), "service 'bank': 5 is no function."),
    (lambda: service().prepares(partial(two_arguments)), f"service 'bank': two_arguments {CALLED_WITH}"),
    (lambda: service().handles(Book)(elsewhere), "elsewhere is annotated with Elsewhere, which is not known."),
    (lambda: service().handles(Book)(no_type), "service 'bank': no_type has an annotation that is no type."),
    (lambda: service().handles(Book)(lost), "service 'bank': lost returns Lost, but Book is answered with Booked."),
    (lambda: service().provider(Book)(lost), "lost returns Lost, but Book is answered with Booked."),
    (lambda: service().provider(Book, ask=perhaps_lost)(lost), "perhaps_lost returns Lost, but Book is answered with"),
    (lambda: service().handles(Book)(too_special), "too_special returns BookedTwice, but Book is answered with Booked"),
    (lambda: service().handles(Book)(object_of), "object_of takes 'command', which is neither Book, a Transaction"),
    (lambda: service().handles(Book)(whatever), "whatever takes 'command', which is neither Book, a Transaction"),
    (lambda: service().on(TripBooked)(object_fact), "object_fact takes 'fact', which is neither TripBooked, a"),
    (lambda: service().handles(Command), f"service 'bank': handles is given {Command!r}, which is no Command."),
    (lambda: service().on(Fact), f"service 'bank': on is given {Fact!r}, which is no Fact."),
    (lambda: Service("bank", facts=[Fact]), f"service 'bank': facts holds {Fact!r}, which is no Fact."),
    (lambda: service().prepares(sync_tables), "service 'bank': sync_tables is not async."),
    (lambda: service().prepares(no_argument), f"service 'bank': no_argument {CALLED_WITH}"),
    (lambda: service().prepares(two_arguments), f"service 'bank': two_arguments {CALLED_WITH}"),
    (lambda: service().prepares(wrong_argument), f"service 'bank': wrong_argument {CALLED_WITH}"),
    (lambda: service().prepares(unknown_argument), "unknown_argument is annotated with Elsewhere, which is not known."),
    (lambda: service().prepares("tables"), "service 'bank': 'tables' is no function."),
    (lambda: Service(5), "5 is no name for a service."),  # type: ignore[arg-type]
    (lambda: Service("bank", commands=Book), f"service 'bank': commands={Book!r} is no sequence."),  # type: ignore[arg-type]
    (lambda: Service("bank", commands=["book"]), "service 'bank': commands holds 'book', which is no Command."),  # type: ignore[list-item]
    (lambda: Service("bank", facts=[Book]), f"service 'bank': facts holds {Book!r}, which is no Fact."),  # type: ignore[list-item]
    (lambda: app(sagas=trip), "sagas=Saga('trip', version=1) is no sequence."),
    (lambda: app(services=bank), "services=Service('bank') is no sequence."),
    (lambda: app(services="bank"), "services='bank' is no sequence."),
    (lambda: app(services=["bank"]), "services holds 'bank', which is no Service."),
    (lambda: app(sagas=[bank]), "sagas holds Service('bank'), which is no Saga."),
    (lambda: App(5), "5 is no name for namespace."),  # type: ignore[arg-type]
    (lambda: answered_with(str), "Ask is a Command[str], which is no reply type."),
    (lambda: answered_with(TripBooked), "Ask is a Command[TripBooked], which is no reply type."),
    (lambda: answered_with(Booked | None), f"Ask is a Command[{Booked | None}], which is no reply type."),
    (lambda: answered_with("Later"), "which is no reply type."),
    (lambda: answered_with(None), "which is no reply type."),
]


@pytest.mark.parametrize(("mistake", "sentence"), MISTAKES, ids=[sentence[:60] for _, sentence in MISTAKES])
def test_a_mistake_is_a_sentence(mistake: Any, sentence: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        mistake()
    assert sentence in caught.value.sentence
    assert caught.value.sentence.endswith(".")
    assert caught.value.hint
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "function", [booked, perhaps, any_reply, anything, silent, any_message], ids=lambda f: str(f.__name__)
)
def test_a_handler_may_say_less_than_it_returns(function: Any) -> None:
    assert service().handles(Book)(function) is function


@pytest.mark.parametrize("function", [tables, bare_tables, partial(tables), partial(with_more, more=1)], ids=name_of)
def test_a_preparation_takes_a_transaction(function: Any) -> None:
    given = service()
    assert given.prepares(function) is function
    assert given.preparations == [function]


def test_a_reaction_may_return_what_it_likes() -> None:
    given = service()
    given.on(TripBooked)(reacts)
    assert given.facts == (TripBooked,)


def test_an_application_may_be_empty_and_a_command_may_have_no_reply_type() -> None:
    class Shout(Command):  # type: ignore[type-arg]
        pass

    assert (App("x").sagas, App("x").services) == ({}, {})
    assert Shout.reply_type is Done
    assert list(app(sagas=iter([trip]), services={bank}).services) == ["bank"]


def test_a_typo_in_a_destination_says_which_service_was_meant() -> None:
    mistyped = Saga("trip", start=Trip, steps=(Pivot(book, to="bnak"),))
    with pytest.raises(DeclarationError) as caught:
        app(sagas=[mistyped], services=[bank])
    sentence = "saga 'trip': book goes to 'bnak', which no service is called. Did you mean 'bank'?"
    assert str(caught.value) == sentence, "and not: declare it"
    elsewhere = Saga("trip", start=Trip, steps=(Pivot(book, to="hotel"),))
    with pytest.raises(DeclarationError, match=r"Try: declare Service\('hotel'\)"):
        app(sagas=[elsewhere], services=[bank])


no_fact: Any = Book


async def told(fact: TripBooked, db: Transaction) -> TripBooked: ...
async def told_outside(fact: TripBooked) -> TripBooked: ...
async def with_outbox(command: Book, db: Transaction, outbox: Outbox) -> Booked: ...
async def outbox_alone(command: Book, outbox: Outbox) -> Booked: ...
async def reacts_with_outbox(fact: TripBooked, db: Transaction, outbox: Outbox) -> None: ...


@pytest.mark.parametrize(
    ("declare", "sentence"),
    [
        (lambda: Service("bank").on(TripBooked)(told), "returns TripBooked, which it is not declared to publish"),
        (lambda: Service("bank").on(TripBooked, publishes=TripBooked)(told_outside), "but takes no Transaction"),
        (lambda: Service("bank").on(TripBooked, publishes=no_fact)(told), "publishes .*Book.*, which is no Fact"),
        (
            lambda: Service("bank").on(TripBooked)(reacts_with_outbox),
            "takes an Outbox, but is declared to publish noth",
        ),
        (lambda: Service("bank").handles(Book)(with_outbox), "takes an Outbox, but is declared to publish nothing"),
        (lambda: Service("bank").handles(Book, publishes=TripBooked)(outbox_alone), "but takes no Transaction"),
        (lambda: Service("bank", signals=(Said,)).handles(Book)(outbox_alone), "takes an Outbox, but no Transaction"),
        (lambda: Service("bank").handles(Book, publishes=TripBooked)(booked), "but takes no Outbox to do so"),
        (lambda: Service("bank", publishes=(no_fact,)), "publishes .*Book.*, which is no Fact"),
        (
            lambda: App("trips", services=[Service("trips", publishes=(TripBooked,))]),
            "service 'trips' publishes facts, and the application is called 'trips' too",
        ),
        (
            lambda: App(
                "trips",
                services=[Service("bank", publishes=[TripBooked])],
                programs=[Program("bank", publishes=TripBooked)],
            ),
            "program 'bank' publishes facts, and a service is called 'bank' too",
        ),
        (lambda: Program("bank", publishes=no_fact), "program 'bank' publishes .*Book.*, which is no Fact"),
        (lambda: Program("The bank", publishes=TripBooked), "'The bank' is no name for a program"),
    ],
)
def test_what_a_handler_publishes_is_declared_and_leaves_with_its_effect(declare: Any, sentence: str) -> None:
    with pytest.raises(DeclarationError, match=sentence):
        declare()


def test_a_service_knows_what_its_handlers_publish() -> None:
    service = Service("bank", publishes=(TripBooked,), signals=(Said,))
    assert (service.publishes, service.leaves) == ((TripBooked,), False)
    service.handles(Book)(with_outbox)
    service.on(TripBooked, publishes=(TripBooked, TripLost))(told)
    assert (service.publishes, service.leaves) == ((TripBooked, TripLost), True)
    assert (service.reactions[TripBooked.type_name].silent, service.handlers[Book.type_name].silent) == (False, False)
