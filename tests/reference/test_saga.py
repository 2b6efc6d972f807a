"""The order saga, and the applications around it."""

import importlib
from pathlib import Path

import pytest

from choros import App, Failure
from choros.errors import UsageError
from choros.testing.pins import assert_pinned
from reference_services.contracts import InventoryReserved, OrderShipped
from reference_services.order import saga
from reference_services.order.app import app
from reference_services.payment.app import credit_limit
from reference_services.tables import beside
from tests.reference.conftest import order

SERVICES = {
    "payment": ({"ChargePayment", "RefundPayment"}, set()),
    "inventory": ({"ReserveInventory", "ReleaseInventory"}, set()),
    "shipping": ({"ShipOrder"}, set()),
    "notifications": (set(), {"OrderConfirmed", "OrderRejected"}),
    "analytics": (set(), {"OrderConfirmed"}),
}


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_handles_what_the_contracts_say(name: str) -> None:
    own: App = importlib.import_module(f"reference_services.{name}.app").app
    declared = app.service(name)
    for service in (declared, own.service(name)):
        commands, facts = SERVICES[name]
        assert {command.__name__ for command in service.commands} == commands
        assert {fact.__name__ for fact in service.facts} == facts
    assert not own.service(name).missing()
    assert own.namespace == app.namespace


def test_commands_are_built_from_the_order() -> None:
    placed = order("1", ("A", 2, 150), ("B", 1, 7))
    assert saga.charge_payment(placed).amount == 307
    assert [line.pieces for line in saga.reserve_inventory(placed).lines] == [2, 1]
    assert saga.ship_order(placed, InventoryReserved(reservation_id="r")).reservation_id == "r"
    assert {saga.refund_payment(placed).order_id, saga.release_inventory(placed).order_id} == {"1"}


def test_facts_say_how_it_ended() -> None:
    placed = order("1", ("A", 2, 150))
    good = saga.order_confirmed(placed, OrderShipped(carrier="c", tracking="t"))
    assert (good.total, good.tracking, good.placed_at) == (300, "t", placed.placed_at)
    assert saga.order_rejected(placed, Failure(code="out_of_stock")).reason == "out_of_stock"


def test_the_wire_names_are_the_shops_own() -> None:
    assert type(order()).type_name == "shop.order.place.v1"
    names = {leaf.command_of().type_name for leaf in saga.order_saga.outline.commands}
    assert names == {"shop.payment.charge.v1", "shop.inventory.reserve.v1", "shop.shipping.ship.v1"}


def test_a_service_keeps_its_files_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHOROS_DATABASE", "sqlite:////data/inventory.db")
    assert beside("CHOROS_STOCK", "stock") == "/data/stock.db"
    monkeypatch.setenv("CHOROS_DATABASE", "redis://host")
    assert beside("CHOROS_STOCK", "stock") == ".choros/stock.db"
    monkeypatch.setenv("CHOROS_DATABASE", "postgresql://host/shop?schema=inventory")
    assert beside("CHOROS_STOCK", "stock") == "postgresql://host/shop?schema=inventory"
    monkeypatch.setenv("CHOROS_STOCK", "a.db")
    assert beside("CHOROS_STOCK", "stock") == "a.db"


def test_a_limit_that_is_no_number_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHOROS_CREDIT_LIMIT", "much")
    with pytest.raises(UsageError, match="CHOROS_CREDIT_LIMIT"):
        credit_limit()


def test_no_saga_is_changed_under_the_version_that_orders_under_way_began_with() -> None:
    """If this fails, give the changed saga a new version beside the old one, then pin it: `choros check
    reference_services.order tests/reference/order.pins --pin`."""
    assert_pinned(app, Path(__file__).with_name("order.pins"))
