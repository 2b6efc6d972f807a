"""What is given with a refusal: declared with the command, kept in the saga, and read by its closing facts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from choros.errors import DeclarationError, MessageRejected
from choros.messages import Command, Done, Failure, Refusal, Reply, refusal_with
from choros.saga.machine.instance import Instance
from choros.saga.nodes import Pivot, Step
from choros.saga.saga import Saga
from choros.testing.dialogue import SagaTest
from tests.saga.declined import (
    LIMIT,
    SAGA,
    Buy,
    Declined,
    NotBought,
    NotServed,
    Paid,
    Pay,
    Refund,
    Send,
    pay,
    refund,
    send,
)


@pytest.fixture
def test() -> SagaTest:
    test = SagaTest(SAGA)
    test.start(Buy(order="o1"))
    return test


# --- in a saga --------------------------------------------------------------------------------------------------------


def test_a_closing_fact_reads_what_was_given(test: SagaTest) -> None:
    test.expect_command(Pay).refuse("card_declined", "no cover", data=Declined(limit=LIMIT))
    assert test.expect_facts(NotBought) == [NotBought(order="o1", code="card_declined", limit=LIMIT)]


def test_it_is_kept_until_all_is_undone(test: SagaTest) -> None:
    test.expect_command(Pay).reply(Paid(payment="p"))
    test.expect_command(Send).refuse("not_served", data=NotServed(street="Elm Street"))
    assert test.instance == Instance.loads(test.instance.dumps())
    test.expect_compensation(Refund).reply()
    assert test.expect_facts(NotBought) == [NotBought(order="o1", code="not_served", street="Elm Street")]


@pytest.mark.parametrize("code", ["closed", "card_declined", "cancelled"])
def test_without_it_there_is_none(test: SagaTest, code: str) -> None:
    """Nothing is declared, or a foreign participant has left it out, or choros itself has refused."""
    test.expect_command(Pay).refuse(code)
    assert test.expect_facts(NotBought) == [NotBought(order="o1", code=code)]


def test_what_choros_refuses_brings_none(test: SagaTest) -> None:
    test.expect_command(Pay).reply(Paid(payment="p"))
    test.expect_command(Send).refuse("cancelled")
    test.expect_compensation(Refund).reply()
    assert test.expect_facts(NotBought) == [NotBought(order="o1", code="cancelled")]


def test_the_state_of_a_saga_without_it_is_written_as_ever(test: SagaTest) -> None:
    test.expect_command(Pay).refuse("closed")
    assert "refusal" not in test.instance.dumps()


def test_the_history_holds_nothing_of_it(test: SagaTest) -> None:
    test.expect_command(Pay).refuse("card_declined", data=Declined(limit=LIMIT))
    assert test._history
    assert str(LIMIT) not in repr(test._history)


@pytest.mark.parametrize(
    ("code", "data", "sentence"),
    [
        ("card_declined", NotServed(street="x"), "'card_declined' with Declined, not with NotServed"),
        ("closed", Declined(limit=LIMIT), "'closed' with no data, not with Declined"),
        ("expired", Declined(limit=LIMIT), "'expired' with no data, not with Declined"),
    ],
)
def test_a_dialogue_refuses_with_what_is_declared(test: SagaTest, code: str, data: Reply, sentence: str) -> None:
    command = test.expect_command(Pay)
    with pytest.raises(AssertionError, match=sentence):
        command.refuse(code, data=data)


# --- declared ---------------------------------------------------------------------------------------------------------


def test_a_mapping_declares_codes_and_a_tuple_still_does() -> None:
    assert Pay.refusals == ("card_declined", "card_blocked", "closed")
    assert Pay.refusal_data == {"card_declined": Declined, "card_blocked": Declined}

    class Plain(Command[Done], refusals=("no",)): ...

    class Derived(Pay): ...

    assert (Plain.refusals, Plain.refusal_data) == (("no",), {})
    assert (Derived.refusals, Derived.refusal_data) == (Pay.refusals, Pay.refusal_data)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (Buy, "refusal 'no' comes with Buy, which is no reply"),
        (dict, "refusal 'no' comes with dict, which is no reply"),
        ("Declined", "refusal 'no' comes with Declined, which is no reply"),
        (Reply, "refusal 'no' comes with Reply, which is no reply"),
        (Failure, "refusal 'no' comes with Failure, which is no reply"),
        (Paid, "refusal 'no' comes with Paid, its reply when it is carried out"),
    ],
)
def test_what_cannot_be_given_is_refused_when_it_is_declared(data: Any, sentence: str) -> None:
    with pytest.raises(DeclarationError, match=sentence):

        class Wrong(Command[Paid], refusals={"no": data}): ...


class PayAgain(Command[Paid], refusals={"card_declined": Declined}):
    pass


def pay_again(buy: Buy) -> PayAgain:
    return PayAgain()


def sure(declined: Declined) -> NotBought: ...  # type: ignore[empty-body]
def of_another(done: Done | None, strange: Strange | None) -> NotBought: ...  # type: ignore[empty-body]
def of_either(declined: Declined | None) -> NotBought: ...  # type: ignore[empty-body]
def of_one(pay_again: Declined | None) -> NotBought: ...  # type: ignore[empty-body]
def unsure(buy: Buy, declined: Declined | None) -> Refund: ...  # type: ignore[empty-body]


class Strange(Reply):
    pass


def two_payments(compensated: Callable[..., NotBought]) -> Saga[Buy]:
    steps = (Step(pay, to="payment", compensation=refund), Pivot(pay_again, to="payment"))
    return Saga("twice", start=Buy, steps=steps, compensated=compensated)


def undone_by(compensation: Callable[..., Refund]) -> Saga[Buy]:
    steps = (Step(pay, to="payment", compensation=compensation), Pivot(send, to="post"))
    return Saga("once", start=Buy, steps=steps)


@pytest.mark.parametrize(
    ("mistake", "sentence"),
    [
        (lambda: two_payments(sure), "sure needs Declined, which several steps answer with"),
        (
            lambda: Saga("s", start=Buy, steps=(Pivot(pay, to="payment"),), compensated=sure),
            "which may not be known by then: the saga may be undone for another reason. Try: write declined:",
        ),
        (
            lambda: Saga("s", start=Buy, steps=(Pivot(send, to="post"),), compensated=of_another),
            "needs Strange, which no step replies or may be refused with. Try: declare it with the command: refusals=",
        ),
        (lambda: two_payments(of_either), "which several steps answer with. Try: name the parameter after"),
        (lambda: undone_by(unsure), "unsure needs Declined, which no earlier step replies with"),
    ],
)
def test_a_parameter_that_nothing_fills_is_a_sentence(mistake: Callable[[], Any], sentence: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        mistake()
    assert sentence in str(caught.value)


def test_where_two_steps_may_be_refused_with_it_the_parameter_names_one() -> None:
    closing = two_payments(of_one).outline.compensated[0]
    assert [(need.step, need.codes) for need in closing.needs] == [("pay_again", ("card_declined",))]


def test_the_fingerprint_says_what_fills_each_parameter_and_nothing_of_codes() -> None:
    filled = "buy, choros.failure, pay refused: declined or none, send refused: not-served or none"
    assert f"\nwhen compensated: not-bought({filled})\n" in SAGA.fingerprint.text
    assert "card_" not in SAGA.fingerprint.text


# --- on the wire ------------------------------------------------------------------------------------------------------


def test_a_failure_is_written_as_ever() -> None:
    assert Failure(code="no").to_json() == '{"code":"no","detail":"","step":"","kind":"refused"}'


def test_the_body_of_a_refusal_is_a_failure_with_one_more_member() -> None:
    body = refusal_with(Declined)(code="card_declined", data=Declined(limit=LIMIT))
    assert (body.type_name, refusal_with(Declined)) == ("choros.failure.v1", type(body))
    assert body.to_json() == f'{Failure(code="card_declined").to_json()[:-1]},"data":{{"limit":"{LIMIT}"}}}}'
    with pytest.raises(MessageRejected, match="extra_forbidden"):
        Failure.from_json(body.to_json())


@pytest.mark.parametrize("number", ['"100.000000000000000000000000001"', "100.000000000000000000000000001"])
def test_a_decimal_in_it_is_read_to_its_last_digit(number: str) -> None:
    read = refusal_with(Declined).from_json(f'{{"code": "card_declined", "data": {{"limit": {number}}}}}')
    assert read.data == Declined(limit=LIMIT)


def test_what_is_not_declared_is_read_over() -> None:
    read = Refusal.from_json('{"code": "closed", "data": [1, {"what": "ever"}]}')
    assert (read.code, read.data[0]) == ("closed", 1)
