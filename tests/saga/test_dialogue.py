"""The dialogue: what passes, and what a dialogue that is wrong says."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from choros.messages import Done
from choros.saga.policy import RetryPolicy
from choros.testing.dialogue import SagaTest
from tests.saga.shop import (
    CHARGED,
    ORDER,
    RESERVED,
    SHIPPED,
    ChargePayment,
    OrderAnnounced,
    OrderConfirmed,
    OrderRejected,
    OrderWithdrawn,
    RefundPayment,
    ReleaseInventory,
    ReserveInventory,
    ShipOrder,
    make_order_saga,
    order_saga,
    parcel_saga,
)


def started() -> SagaTest:
    test = SagaTest(order_saga)
    test.start(ORDER)
    return test


def reserved() -> SagaTest:
    test = started()
    test.expect_command(ChargePayment, to="payment").reply(CHARGED)
    test.expect_command(ReserveInventory).reply(RESERVED)
    return test


def test_an_order_that_goes_well() -> None:
    test = reserved()
    test.expect_command(ShipOrder(order_id="o1", reservation_id="r1"), to="shipping").reply(SHIPPED)
    [confirmed] = test.expect_facts(OrderConfirmed)
    assert (confirmed.parcel, test.status) == ("x1", "completed")
    test.expect_nothing()


def test_an_order_that_is_refused() -> None:
    test = reserved()
    test.expect_command(ShipOrder).refuse("no_such_address", "who?")
    test.expect_compensation(ReleaseInventory, to="inventory").reply(Done())
    test.expect_compensation(RefundPayment).reply()
    test.expect_facts(OrderRejected(order_id="o1", code="no_such_address"))
    assert test.status == "compensated"


def test_silence_and_failures_are_tried_again_in_virtual_time() -> None:
    test = started()
    test.expect_command(ChargePayment).time_out()
    again = test.expect_command(ChargePayment)
    assert (again.attempt, test.now, again.message.amount) == (2, 30, 100)
    again.fail("ConnectionError")
    test.expect_compensation(RefundPayment).reply()
    assert test.status == "compensated"


def test_a_wait_between_two_attempts_passes_with_the_time() -> None:
    test = SagaTest(make_order_saga(RetryPolicy(jitter=0)))
    test.start(ORDER)
    test.expect_command(ChargePayment).fail("ConnectionError")
    test.expect_nothing()
    test.advance(timedelta(seconds=0.5))
    test.expect_nothing()
    test.advance(timedelta(seconds=0.5))
    assert test.expect_command(ChargePayment).attempt == 2


def test_a_late_reply_changes_nothing() -> None:
    test = started()
    charge = test.expect_command(ChargePayment)
    test.cancel()
    refund = test.expect_compensation(RefundPayment)
    charge.reply(CHARGED)
    test.expect_nothing()
    refund.reply()
    assert test.status == "compensated"
    with pytest.raises(AssertionError, match=r"Nobody waits for .* any more, so it cannot time out"):
        charge.time_out()


def test_facts_are_asked_for_as_they_come() -> None:
    test = SagaTest(parcel_saga)
    test.start(ORDER)
    test.expect_command(ChargePayment).reply(CHARGED)
    test.expect_facts(OrderAnnounced)
    test.expect_facts()
    test.expect_command(ShipOrder).refuse("no_such_address")
    test.expect_facts(OrderWithdrawn)


WRONG: list[tuple[Callable[[SagaTest], object], str]] = [
    (
        lambda test: test.expect_command(ReserveInventory),
        "Expected the command ReserveInventory, but the saga sent the command"
        " ChargePayment(order_id='o1', amount=100) to 'payment'.",
    ),
    (
        lambda test: test.expect_command(ChargePayment(order_id="o1", amount=99)),
        "Expected the command ChargePayment(order_id='o1', amount=99), but the saga sent the command"
        " ChargePayment(order_id='o1', amount=100) to 'payment'.",
    ),
    (
        lambda test: test.expect_command(ChargePayment, to="shipping"),
        "Expected the command ChargePayment to 'shipping', but the saga sent the command",
    ),
    (
        lambda test: test.expect_compensation(ChargePayment),
        "Expected the compensation ChargePayment, but the saga sent the command",
    ),
    (lambda test: test.expect_facts(OrderConfirmed), "Expected OrderConfirmed, but the saga published none."),
    (
        lambda test: test.expect_nothing(),
        "Expected nothing, but the saga sent ChargePayment(order_id='o1', amount=100).",
    ),
    (
        lambda test: test.expect_command(ChargePayment).reply(SHIPPED),
        "ChargePayment(order_id='o1', amount=100) is answered by PaymentCharged, not by OrderShipped(parcel='x1').",
    ),
    (
        lambda test: test.expect_command(ChargePayment).refuse("rain"),
        "ChargePayment(order_id='o1', amount=100) may not be refused with 'rain'; it declares card_declined.",
    ),
    (lambda test: test.start(ORDER), "A saga can be started once only."),
]


@pytest.mark.parametrize(("mistake", "sentence"), WRONG, ids=[sentence[:50] for _, sentence in WRONG])
def test_a_wrong_dialogue_says_what_the_saga_did_instead(mistake: Callable[[SagaTest], object], sentence: str) -> None:
    test = started()
    with pytest.raises(AssertionError) as caught:
        mistake(test)
    assert str(caught.value).startswith(sentence)
    assert str(caught.value).endswith("What happened in saga 'order':\n  started\n  sent charge_payment do attempt 1")


def test_nothing_was_sent() -> None:
    test = started()
    test.expect_command(ChargePayment).refuse("card_declined")
    with pytest.raises(AssertionError) as caught:
        test.expect_command(ReserveInventory)
    assert str(caught.value) == (
        "Expected the command ReserveInventory, but nothing was sent: the saga is compensated.\n"
        "What happened in saga 'order':\n"
        "  started\n"
        "  sent charge_payment do attempt 1\n"
        "  refused charge_payment do attempt 1 card_declined\n"
        "  compensating charge_payment card_declined\n"
        "  fact published order-rejected.v1\n"
        "  compensated"
    )


def test_unexpected_facts_are_named() -> None:
    test = started()
    test.expect_command(ChargePayment).refuse("card_declined")
    with pytest.raises(AssertionError, match=r"Expected no facts, but the saga published OrderRejected\(order_id='o1'"):
        test.expect_facts()
    with pytest.raises(AssertionError, match=r"Expected OrderConfirmed, but the saga published OrderRejected\("):
        test.expect_facts(OrderConfirmed)


def test_a_saga_starts_with_its_own_message_and_not_before() -> None:
    test = SagaTest(order_saga)
    with pytest.raises(AssertionError, match=r"The saga was not started: call start\(\) first\."):
        test.cancel()
    with pytest.raises(AssertionError, match="The saga starts with PlaceOrder, not with PaymentCharged"):
        test.start(CHARGED)


def test_the_history_tells_how_long_a_retry_waits() -> None:
    test = SagaTest(make_order_saga(RetryPolicy(jitter=0)))
    test.start(ORDER)
    test.expect_command(ChargePayment).fail("ConnectionError")
    with pytest.raises(AssertionError, match="retry scheduled charge_payment do attempt 2 in 1 s"):
        test.expect_command(ChargePayment)


def test_an_early_answer_is_the_reply_that_whoever_asks_would_be_told() -> None:
    test = started()
    with pytest.raises(AssertionError, match="Whoever asks for the reply of charge_payment still waits"):
        test.early_answer("charge_payment")
    with pytest.raises(AssertionError, match="The saga has no step 'charge' that replies"):
        test.early_answer("charge")
    test.expect_command(ChargePayment).reply(CHARGED)
    assert test.early_answer("charge_payment") == CHARGED
    test.expect_command(ReserveInventory).refuse("sold_out")
    assert (test.early_answer("charge_payment"), test.early_answer("reserve_inventory")) == (CHARGED, None)
