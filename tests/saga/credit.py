"""A saga with another one in it: an order holds stock, then has a customer's credit reserved by a saga of its own."""

from choros.messages import Command, Done, Fact, Failure, Message, Reply
from choros.saga.nodes import Nested, Pivot, Publish, Step
from choros.saga.saga import Saga


class PlaceOrder(Message):
    order: str = "o1"
    total: int = 10


class ReserveCredit(Message):
    customer: str = "c1"
    total: int = 10


class CreditReserved(Message):
    credit: str = "k1"


class Held(Reply):
    hold: str = "h1"


class Noted(Reply):
    note: str = "n1"


class HoldStock(Command[Held], refusals=("sold_out",)):
    order: str


class GiveStockBack(Command[Done]):
    order: str


class HoldCredit(Command[Held], refusals=("too_much",)):
    customer: str


class GiveCreditBack(Command[Done]):
    customer: str


class NoteCredit(Command[Noted], refusals=("no_book",)):
    customer: str


class StrikeNote(Command[Done]):
    customer: str


class Ship(Command[Done], refusals=("no_lorry",)):
    order: str
    credit: str


class CreditTaken(Fact):
    customer: str


class CreditClosed(Fact):
    customer: str


class CreditDenied(Fact):
    customer: str
    code: str


class OrderDone(Fact):
    order: str


class OrderOff(Fact):
    order: str
    code: str


def hold_stock(order: PlaceOrder) -> HoldStock:
    return HoldStock(order=order.order)


def give_stock_back(order: PlaceOrder) -> GiveStockBack:
    return GiveStockBack(order=order.order)


def hold_credit(start: ReserveCredit) -> HoldCredit:
    return HoldCredit(customer=start.customer)


def give_credit_back(start: ReserveCredit) -> GiveCreditBack:
    return GiveCreditBack(customer=start.customer)


def note_credit(start: ReserveCredit) -> NoteCredit:
    return NoteCredit(customer=start.customer)


def strike_note(start: ReserveCredit) -> StrikeNote:
    return StrikeNote(customer=start.customer)


def credit_taken(start: ReserveCredit) -> CreditTaken:
    return CreditTaken(customer=start.customer)


def credit_closed(start: ReserveCredit) -> CreditClosed:
    return CreditClosed(customer=start.customer)


def credit_denied(start: ReserveCredit, failure: Failure) -> CreditDenied:
    return CreditDenied(customer=start.customer, code=failure.code)


def reserved(start: ReserveCredit, held: Held) -> CreditReserved:
    return CreditReserved(credit=f"k-{held.hold}")


def reserve_credit(order: PlaceOrder) -> ReserveCredit:
    return ReserveCredit(total=order.total)


def ship(order: PlaceOrder, credit: CreditReserved) -> Ship:
    return Ship(order=order.order, credit=credit.credit)


def order_done(order: PlaceOrder) -> OrderDone:
    return OrderDone(order=order.order)


def order_off(order: PlaceOrder, failure: Failure) -> OrderOff:
    return OrderOff(order=order.order, code=failure.code)


HELD = Step(hold_stock, to="stock", compensation=give_stock_back)
credit_saga = Saga(
    "credit",
    start=ReserveCredit,
    key=lambda start: start.customer,
    steps=(
        Step(hold_credit, to="bank", compensation=give_credit_back),
        Publish(credit_taken),
        Step(note_credit, to="books", compensation=strike_note),
    ),
    completed=credit_closed,
    compensated=credit_denied,
    result=reserved,
)
"""Without a pivot: what it has done can be undone as long as the order can."""
final_credit_saga = Saga(
    "final-credit",
    start=ReserveCredit,
    key=lambda start: start.customer,
    steps=(
        Step(hold_credit, to="bank", compensation=give_credit_back),
        Publish(credit_taken),
        Pivot(note_credit, to="books"),
    ),
    completed=credit_closed,
    compensated=credit_denied,
)


def order_of(*steps: object, **more: object) -> Saga[PlaceOrder]:
    """An order made of these steps."""
    return named_order("order", *steps, **more)


def named_order(name: str, *steps: object, **more: object) -> Saga[PlaceOrder]:
    """The same under another name."""
    given: dict[str, object] = {"completed": order_done, "compensated": order_off, **more}
    return Saga(name, start=PlaceOrder, key=lambda order: order.order, steps=steps, **given)  # type: ignore[arg-type]


order_saga = order_of(HELD, Nested(credit_saga, reserve_credit), Pivot(ship, to="lorries"))
plain_saga = order_of(HELD, Nested(credit_saga, reserve_credit))
"""The same without a pivot."""
pivot_saga = order_of(HELD, Nested(final_credit_saga, reserve_credit, name="credit"))
"""Where the nested saga is the pivot."""
