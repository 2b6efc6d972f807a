"""Numbers of JSON that no float holds: a Decimal is read from them to the last digit."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from choros.errors import MessageRejected
from choros.messages import Reply


class Amount(Reply):
    amount: Decimal
    rate: float = 0.0


@pytest.mark.parametrize("number", ["12345678901234567.89", "0.1000000000000000055", "1e-400", "-1E+400", "1.10", "7"])
def test_a_decimal_is_read_from_a_number_to_its_last_digit(number: str) -> None:
    assert Amount.from_json(f'{{"amount": {number}}}').amount == Decimal(number)


@pytest.mark.parametrize("rate", ["0.30000000000000004", "0.3000000000000000444", "1e300"])
def test_a_float_beside_it_is_read_as_ever(rate: str) -> None:
    assert Amount.from_json(f'{{"amount": "1.5", "rate": {rate}}}') == Amount(amount=Decimal("1.5"), rate=float(rate))


def test_what_would_lose_a_digit_and_cannot_be_told_apart_is_rejected() -> None:
    with pytest.raises(MessageRejected, match="float_type"):
        Amount.from_json('{"amount": 12345678901234567.89, "rate": 0.3000000000000000444}')


@given(st.decimals(allow_nan=False, allow_infinity=False))
def test_every_decimal_is_read_from_its_number(number: Decimal) -> None:
    assert Amount.from_json(f'{{"amount": {number}}}').amount == number
