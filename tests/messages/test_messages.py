"""Messages: their names, their replies and refusals; and what is said about one that does not fit."""

from decimal import Decimal
from typing import Any, TypeVar

import pytest

from choros.errors import DeclarationError, MessageRejected, Refused
from choros.messages import Close, Command, Done, Fact, Failure, Message, Reply, Update

CARD = "4111111111111111"


class PaymentCharged(Reply):
    payment_id: str


class Line(Message):
    sku: str
    price: Decimal


class ChargePayment(Command[PaymentCharged], refusals=("card_declined",)):
    order_id: str
    amount: int
    lines: tuple[Line, ...] = ()
    rates: dict[str, float] | None = None


class PaymentTaken(Fact):
    payment_id: str


class HTTPCall2Made(Fact):
    pass


class Charge(Command[PaymentCharged], name="shop.payment.charge", version=2):
    pass


class ChargeLater(Charge):
    pass


class Plain(Command[Done]):
    pass


R = TypeVar("R", bound=Reply)


class Undecided(Command[R]):
    """A family of commands, whose reply is named by its members."""


@pytest.mark.parametrize(
    ("message", "name"),
    [
        (ChargePayment, "charge-payment.v1"),
        (Charge, "shop.payment.charge.v2"),
        (HTTPCall2Made, "httpcall2-made.v1"),
        (Done, "choros.done.v1"),
        (Failure, "choros.failure.v1"),
        (Close, "choros.close.v1"),
    ],
)
def test_a_type_has_a_name_and_a_version(message: type[Message], name: str) -> None:
    assert message.type_name == name


OUR_NAMES = {
    Message: ["type_name", "to_json", "from_json", "model_copy", "model_fields", "_fidelity"],
    Command[Done]: ["refusals", "refusal_data", "reply_type", "type_name"],
    Update[Done]: ["reply_type"],
}


@pytest.mark.filterwarnings("ignore:Field name")  # pydantic says it as well, where it goes on
@pytest.mark.parametrize(("base", "name"), [(base, name) for base, names in OUR_NAMES.items() for name in names])
def test_a_field_does_not_hide_what_its_class_is_known_by(base: type[Message], name: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        type("Given", (base,), {"__annotations__": {name: int}, "__module__": __name__})
    assert caught.value.sentence == f"Message Given: its field {name!r} hides what choros knows its class by."
    assert caught.value.hint.startswith("call it otherwise")


def test_a_field_may_be_called_as_what_another_kind_of_message_has() -> None:
    class Given(Fact):
        refusals: int
        reply_type: str
        version: int
        name: str

    given = Given(refusals=1, reply_type="x", version=2, name="n")
    assert Given.from_json(given.to_json()) == given


def test_a_command_names_its_reply_and_what_it_may_refuse() -> None:
    assert (ChargePayment.reply_type, ChargePayment.refusals) == (PaymentCharged, ("card_declined",))
    assert (Plain.reply_type, Plain.refusals) == (Done, ())
    assert ChargeLater.reply_type is PaymentCharged
    assert Command.reply_type is Done
    assert Undecided.reply_type is Done


def declare(name: str = "", version: int = 1, refusals: Any = ()) -> None:
    class Odd(Command[Done], name=name, version=version, refusals=refusals):
        pass


@pytest.mark.parametrize(
    ("mistake", "sentence"),
    [
        ({"name": "Shop Charge"}, "Message type name 'Shop Charge' is not lower-case words joined by '.' or '-'."),
        ({"version": 0}, "Message Odd has version 0."),
        ({"refusals": "card_declined"}, "Odd: refusals is one string."),
        ({"refusals": ["Card declined"]}, "Odd: refusal 'Card declined' is no code."),
        ({"refusals": ["expired"]}, "Odd: refusal 'expired' is choros's own."),
        ({"refusals": ["cancelled"]}, "Odd: refusal 'cancelled' is choros's own."),
    ],
)
def test_a_mistake_is_a_sentence(mistake: dict[str, Any], sentence: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        declare(**mistake)
    assert caught.value.sentence == sentence
    assert " Try: " in str(caught.value)


def test_a_message_survives_being_written() -> None:
    charge = ChargePayment(order_id="é\u2028", amount=2**70, lines=(Line(sku="s", price=Decimal("0.10")),))
    assert ChargePayment.from_json(charge.to_json()) == charge


def test_a_message_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        PaymentCharged(payment_id="p").payment_id = "q"  # type: ignore[misc]


def test_a_fact_ignores_what_a_newer_publisher_added() -> None:
    assert PaymentTaken.from_json('{"payment_id":"p","since":"v2"}') == PaymentTaken(payment_id="p")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (f'{{"order_id":{CARD},"amount":1}}', "order_id: string_type"),
        (f'{{"order_id":"o","amount":"{CARD}"}}', "amount: int_type"),
        (f'{{"order_id":"o","amount":{CARD}.5}}', "amount: int_type"),
        (f'{{"order_id":"o","amount":1,"{CARD}":"{CARD}"}}', "extra_forbidden"),
        (f'{{"order_id":"o","amount":1,"rates":{{"{CARD}":"{CARD}"}}}}', "rates: float_type"),
        ('{"order_id":"o","amount":1,"rates":{"a":NaN}}', "rates: finite_number"),
        ('{"order_id":"o","amount":1,"rates":{"a":1e400}}', "rates: finite_number"),
        (f'{{"order_id":"o","amount":1,"lines":[{{"sku":"{CARD}","price":"NaN"}}]}}', "lines: finite_number"),
        (f'"{CARD}"', "model_type"),
        (f'{{"order_id":"{CARD}', "json_invalid"),
        (f"{CARD}]", "json_invalid"),
        ("", "json_invalid"),
        ('{"order_id":"\\ud800","amount":1}', "json_invalid"),
        ('{"order_id":"o","amount":' + "9" * 5_000 + "}", "json_invalid"),
        ('{"order_id":' + "[" * 300 + "]" * 300 + ',"amount":1}', "json_invalid"),
        ("[" * 100_000, "json_invalid"),
        (f'{{"a":"{CARD}","b":1,"c":2}}', "order_id: missing, amount: missing, extra_forbidden and 2 more"),
    ],
)
def test_a_body_that_does_not_fit_is_rejected_without_being_repeated(body: str, reason: str) -> None:
    with pytest.raises(MessageRejected) as caught:
        ChargePayment.from_json(body)
    assert str(caught.value) == f"The body is no charge-payment.v1: {reason}."
    assert CARD not in str(caught.value)


def test_bytes_that_are_no_text_are_rejected() -> None:
    with pytest.raises(MessageRejected, match="json_invalid"):
        ChargePayment.from_json(b'{"order_id":"\xff","amount":1}')


def test_a_refusal_has_a_code_and_words() -> None:
    refused = Refused("card_declined", "said the bank")
    assert (refused.code, refused.detail, str(refused)) == ("card_declined", "said the bank", "card_declined")
