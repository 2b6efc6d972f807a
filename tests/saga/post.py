"""A saga in which functions choose: how a customer is told, whether there is a present, and what is announced."""

from datetime import timedelta

from choros.messages import Command, Done, Fact, Message, Reply
from choros.saga.nodes import Pivot, Publish, Step
from choros.saga.policy import RetryPolicy
from choros.saga.saga import Saga


class Order(Message):
    id: str
    mail: str = ""
    present: bool = False
    express: bool = False


class MailSent(Reply):
    mail_id: str


class LetterSent(Reply):
    stamp: str


class Wrapped(Reply):
    paper: str


class SendMail(Command[MailSent], refusals=("no_such_address",)):
    to: str


class SendLetter(Command[LetterSent], refusals=("no_such_street", "no_such_town")):
    id: str


class RecallMail(Command[Done]):
    mail_id: str


class RecallLetter(Command[Done]):
    id: str


class Wrap(Command[Wrapped], refusals=("no_paper",)):
    id: str


class Unwrap(Command[Done]):
    id: str


class Ship(Command[Done], refusals=("closed",)):
    id: str
    told: str
    paper: str


class ShipFast(Command[Done], refusals=("closed", "no_plane")):
    id: str


class Hurried(Fact):
    id: str


class Planned(Fact):
    id: str


class Presented(Fact):
    id: str


class Over(Fact):
    id: str


class OverByMail(Fact):
    id: str


class Undone(Fact):
    id: str


def notify(order: Order) -> SendMail | SendLetter:
    return SendMail(to=order.mail) if order.mail else SendLetter(id=order.id)


def recall(order: Order, sent: SendMail | SendLetter, mail: MailSent | None) -> RecallMail | RecallLetter | None:
    """Of a mail whose id is not known there is nothing to recall; a letter can always be."""
    if isinstance(sent, SendLetter):
        return RecallLetter(id=sent.id)
    return RecallMail(mail_id=mail.mail_id) if mail else None


def wrap(order: Order) -> Wrap | None:
    return Wrap(id=order.id) if order.present else None


def unwrap(order: Order) -> Unwrap:
    return Unwrap(id=order.id)


def announce(order: Order) -> Hurried | Planned:
    return Hurried(id=order.id) if order.express else Planned(id=order.id)


def presented(order: Order, wrapped: Wrapped | None) -> Presented | None:
    return Presented(id=order.id) if wrapped else None


def ship(order: Order, notified: MailSent | LetterSent, wrapped: Wrapped | None) -> Ship | ShipFast:
    if order.express:
        return ShipFast(id=order.id)
    told = notified.mail_id if isinstance(notified, MailSent) else notified.stamp
    return Ship(id=order.id, told=told, paper=wrapped.paper if wrapped else "")


def over(order: Order, mail: MailSent | None) -> Over | OverByMail:
    return OverByMail(id=order.id) if mail else Over(id=order.id)


def undone(order: Order) -> Undone | None:
    return None if order.express else Undone(id=order.id)


RETRY = RetryPolicy(attempts=2, jitter=0, total=timedelta(days=365))
STEPS = (
    Step(notify, to="post", compensation=recall, retry=RETRY, undo_retry=RETRY),
    Step(wrap, to="gifts", compensation=unwrap, retry=RETRY, undo_retry=RETRY),
    Publish(announce),
    Publish(presented),
    Pivot(ship, to="carrier", retry=RETRY),
)
SAGA = Saga("post", start=Order, key=lambda order: order.id, steps=STEPS, completed=over, compensated=undone)
LETTER = Order(id="o1")
MAIL = Order(id="o1", mail="a@b", present=True)
"""What leads each way."""
EXPRESS = Order(id="o1", express=True)
