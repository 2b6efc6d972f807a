"""The order that nobody orchestrates, and the one in which all is commanded, come to the same as the hybrid, also when
parts are killed."""

from __future__ import annotations

from pathlib import Path

import pytest

from reference_services.choreographed.app import app
from reference_services.demo import by_commands
from reference_services.demo.by_events import ROLES
from reference_services.orchestrated.app import app as commanded
from tests.end_to_end.order_files import COUNT, write_invoices
from tests.end_to_end.shop import Ended, left_behind
from tests.end_to_end.test_demo import balanced, demo, namespace_of, outcomes

BY_EVENTS = ("--variant", "choreographed")
BY_COMMANDS = ("--variant", "orchestrated")


@pytest.mark.long
@pytest.mark.slow
def test_the_three_variants_end_with_the_same_books(tmp_path: Path) -> None:
    invoices, books = write_invoices(tmp_path / "invoices.csv", 21), []
    for name, more in (("hybrid", ()), ("events", BY_EVENTS), ("commands", BY_COMMANDS)):
        ended = demo(invoices, tmp_path / name, *more)
        balanced(ended)
        assert outcomes(tmp_path / name) == invoices.outcomes
        books.append(read_back(ended))
    assert books[0] == books[1] == books[2]


def read_back(ended: Ended) -> list[str]:
    begin = ended.lines.index("books     read back from the services' own databases")
    return ended.lines[begin : begin + 7]


@pytest.mark.long
@pytest.mark.timeout(900)  # three demos
@pytest.mark.parametrize("orders", [150, pytest.param(COUNT, marks=pytest.mark.nightly)])
async def test_nor_do_their_books_differ_on_rabbitmq_with_services_killed(
    tmp_path: Path, amqp_url: str, redis_url: str, orders: int
) -> None:
    """The same orders three times, and each time the same services die in the middle."""
    invoices, books = write_invoices(tmp_path / "invoices.csv", orders), []
    kills = [part for role in ("payment", "inventory", "notifications") for part in ("--kill", role)]
    of_sagas = ("--store", redis_url)
    for name, more in (("hybrid", of_sagas), ("commands", (*BY_COMMANDS, *of_sagas)), ("events", BY_EVENTS)):
        run = tmp_path / name
        ended = demo(invoices, run, *more, "--broker", amqp_url, "--concurrency", "12", *kills)
        balanced(ended)
        assert outcomes(run) == invoices.outcomes
        assert await left_behind(amqp_url, redis_url, namespace_of(run)) == []
        books.append(read_back(ended))
    assert books[0] == books[1] == books[2]


@pytest.mark.nightly
@pytest.mark.parametrize(
    "roles", [("shipping", "carrier", "analytics", "rejections"), ("order", "orchestrator-1")], ids="+".join
)
async def test_killed_processes_change_nothing_where_all_is_commanded(
    roles: tuple[str, ...], tmp_path: Path, amqp_url: str, redis_url: str
) -> None:
    invoices, on = write_invoices(tmp_path / "invoices.csv"), ("--broker", amqp_url, "--store", redis_url)
    kills = [part for role in roles for part in ("--kill", role)]
    balanced(demo(invoices, tmp_path / "run", *BY_COMMANDS, *on, "--concurrency", "12", *kills))
    assert outcomes(tmp_path / "run") == invoices.outcomes
    assert await left_behind(amqp_url, redis_url, namespace_of(tmp_path / "run")) == []


@pytest.mark.nightly
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
    orchestrating = {"orchestrator-1", "orchestrator-2", "order", "rejections"}
    assert set(by_commands.ROLES) == {"carrier", *commanded.services, *orchestrating}


def test_a_broker_that_is_none_is_a_sentence(tmp_path: Path) -> None:
    invoices = write_invoices(tmp_path / "invoices.csv", 21)
    ended = demo(invoices, tmp_path / "run", "--broker", "$AMQP_URL")
    assert (ended.code, ["no scheme" in one for one in ended.complaints]) == (2, [True])
    assert "Traceback" not in ended.err


def test_what_is_not_a_process_of_the_variant_cannot_be_killed(tmp_path: Path) -> None:
    invoices = write_invoices(tmp_path / "invoices.csv", 21)
    ended = demo(invoices, tmp_path / "run", *BY_EVENTS, "--broker", "amqp://localhost:1/", "--kill", "orchestrator-1")
    assert (ended.code, "There is no process 'orchestrator-1' to kill" in ended.err) == (2, True)
