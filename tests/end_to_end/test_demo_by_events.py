"""The order that nobody orchestrates comes to the same as the one that a saga sees to, also when parts are killed."""

from __future__ import annotations

from pathlib import Path

import pytest

from reference_services.choreographed.app import app
from reference_services.demo.by_events import ROLES
from tests.end_to_end.order_files import write_invoices
from tests.end_to_end.shop import left_behind
from tests.end_to_end.test_demo import balanced, demo, namespace_of, outcomes

BY_EVENTS = ("--variant", "choreographed")


@pytest.mark.slow
def test_both_variants_end_with_the_same_books(tmp_path: Path) -> None:
    invoices, books = write_invoices(tmp_path / "invoices.csv", 21), []
    for name, more in (("hybrid", ()), ("events", BY_EVENTS)):
        ended = demo(invoices, tmp_path / name, *more)
        balanced(ended)
        assert outcomes(tmp_path / name) == invoices.outcomes
        begin = ended.lines.index("books     read back from the services' own databases")
        books.append(ended.lines[begin : begin + 7])
    assert books[0] == books[1]


@pytest.mark.long
@pytest.mark.parametrize(
    "roles", [("payment", "inventory", "orders"), ("shipping", "carrier", "notifications", "analytics")], ids="+".join
)
async def test_killed_services_change_nothing(
    roles: tuple[str, ...], tmp_path: Path, amqp_url: str, redis_url: str
) -> None:
    """kill -9 with two thirds of the orders to come, a few at a time so that it hits some of them in the middle."""
    invoices = write_invoices(tmp_path / "invoices.csv")
    kills = [part for role in roles for part in ("--kill", role)]
    ended = demo(invoices, tmp_path / "run", *BY_EVENTS, "--broker", amqp_url, "--concurrency", "12", *kills)
    balanced(ended)
    for role in roles:
        assert f"  kill -9 {role}; it is started again" in ended.lines
    assert outcomes(tmp_path / "run") == invoices.outcomes
    assert await left_behind(amqp_url, redis_url, namespace_of(tmp_path / "run")) == []


def test_each_service_is_a_process() -> None:
    assert set(ROLES) == {"carrier", *app.services}


def test_what_is_not_a_process_of_the_variant_cannot_be_killed(tmp_path: Path) -> None:
    invoices = write_invoices(tmp_path / "invoices.csv", 21)
    ended = demo(invoices, tmp_path / "run", *BY_EVENTS, "--broker", "amqp://localhost:1/", "--kill", "orchestrator-1")
    assert (ended.code, "There is no process 'orchestrator-1' to kill" in ended.err) == (2, True)
