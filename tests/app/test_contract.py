"""`choros contract`: what it prints are schemas of what is really sent, and of what is really read."""

from __future__ import annotations

import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from typer.testing import CliRunner

from choros.app.contract import contract
from choros.cli.contract import app as contract_command
from choros.messages import Failure, refusal_with
from choros.roles.loading import load_app
from reference_services.contracts import ChargePayment, OrderConfirmed, PaymentCharged, RefundPayment
from tests.saga import declined

SHOP = "reference_services.order"
CHARGE, REFUND = ChargePayment.type_name, RefundPayment.type_name


@pytest.fixture(scope="module")
def shop() -> dict[str, Any]:
    said = CliRunner().invoke(contract_command, [SHOP], catch_exceptions=False)
    assert said.exit_code == 0
    found: dict[str, Any] = json.loads(said.stdout)
    return found


def fits(schema: dict[str, Any], body: str) -> bool:
    Draft202012Validator.check_schema(schema)
    return bool(Draft202012Validator(schema).is_valid(json.loads(body)))


def test_each_service_has_its_commands_and_facts(shop: dict[str, Any]) -> None:
    assert (shop["namespace"], shop["application"]) == ("shop", "order")
    services = load_app(SHOP).services
    for name, said in shop["services"].items():
        asked = [command.type_name for command in services[name].commands]
        assert list(said["commands"]) == [*asked, *(["choros.close.v1"] if asked else [])]
        assert said["facts"] == [fact.type_name for fact in services[name].facts]
    assert OrderConfirmed.type_name in shop["facts"]


def test_which_type_goes_with_which_operation(shop: dict[str, Any]) -> None:
    commands = shop["services"]["payment"]["commands"]
    step = {"saga": "order", "version": 1, "step": "charge_payment"}
    assert commands[CHARGE]["sent"] == [{**step, "operation": "do"}]
    assert commands[REFUND]["sent"] == [{**step, "operation": "undo"}]
    assert list(commands[REFUND]["ok"]) == ["shop.payment.refunded.v1", "choros.nothing-to-undo.v1"]
    assert "refused" not in commands[REFUND]
    assert list(commands["choros.close.v1"]["ok"]) == ["choros.closed.v1"]


def test_what_is_sent_fits_and_what_is_read_fits(shop: dict[str, Any]) -> None:
    charge = shop["services"]["payment"]["commands"][CHARGE]
    assert fits(charge["body"], ChargePayment(order_id="1", customer="ada", amount=5).to_json())
    assert not fits(charge["body"], '{"order_id": "1", "customer": "ada", "amount": "5"}')
    reply = charge["ok"][PaymentCharged.type_name]
    assert fits(reply, PaymentCharged(charge_id="c1").to_json())
    assert not fits(reply, '{"charge_id": "c1", "more": 1}')


@pytest.mark.parametrize("code", ["credit_limit_exceeded", "expired", "cancelled"])
def test_the_codes_of_a_refusal_are_those_that_are_declared(shop: dict[str, Any], code: str) -> None:
    charge = shop["services"]["payment"]["commands"][CHARGE]
    refused, failed = charge["refused"][Failure.type_name], charge["failed"][Failure.type_name]
    assert fits(refused, Failure(code=code, step="charge_payment").to_json())
    assert not fits(refused, Failure(code="too_tired").to_json())
    assert fits(failed, Failure(code="too_tired", kind="failed").to_json())
    assert not fits(failed, Failure(code="too_tired").to_json())


def test_what_is_given_with_a_refusal_is_told_by_its_code() -> None:
    pay = contract(declined.APP)["services"]["payment"]["commands"]["pay.v1"]
    given, refused = pay["refused_with"], pay["refused"][Failure.type_name]
    assert list(given) == ["card_declined", "card_blocked"]
    assert fits(given["card_declined"], declined.Declined(limit=declined.LIMIT).to_json())
    assert fits(
        refused, refusal_with(declined.Declined)(code="closed", data=declined.Declined(limit=declined.LIMIT)).to_json()
    )
    assert fits(refused, Failure(code="closed").to_json())
    assert not fits(refused, '{"code": "closed", "more": 1}')


def test_the_command_prints_what_the_function_returns(shop: dict[str, Any]) -> None:
    assert contract(load_app(SHOP)) == shop
