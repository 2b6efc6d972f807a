"""Shipping: one parcel for one key, whatever the carrier does, over real HTTP."""

import asyncio
import socket
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from itertools import count
from pathlib import Path

import httpx
import pytest
import uvicorn

from choros import Refused
from reference_services.contracts import ShipOrder
from reference_services.shipping.carrier.fate import Fate, fate_of
from reference_services.shipping.carrier.http import carrier_http
from reference_services.shipping.carrier.ledger import CarrierLedger, CarrierUnavailable
from reference_services.shipping.carriers import Booked, Carrier, CarrierTrouble, HttpCarrier, LocalCarrier
from reference_services.shipping.service import shipping_service
from tests.reference.conftest import Desk

KEY = "0198-saga:ship_order:1:do"


def order_with(outcome: str = "delivered", failing_tries: int = 0, *, slow: bool = False) -> str:
    """An order id that has this fate."""
    for order_id in map(str, count(100_000)):
        match fate_of(order_id):
            case Fate(_, found, tries, seconds) if (found, tries, seconds > 0) == (outcome, failing_tries, slow):
                return order_id
    raise AssertionError


def ship(order_id: str) -> ShipOrder:
    return ShipOrder(order_id=order_id, reservation_id="r", country="France")


@pytest.fixture
def ledger_path(tmp_path: Path) -> Path:
    return tmp_path / "carrier.db"


@pytest.fixture
def url(ledger_path: Path) -> Iterator[str]:
    """A carrier in a thread of its own, on a free port."""
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(carrier_http(CarrierLedger(ledger_path)), log_level="critical", ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    server.should_exit = True
    thread.join(10)
    listening.close()


@pytest.fixture(params=["http", "local"])
async def carrier(request: pytest.FixtureRequest, ledger_path: Path) -> AsyncIterator[Carrier]:
    """Both adapters keep the port's promises."""
    if request.param == "local":
        yield LocalCarrier(CarrierLedger(ledger_path))
        return
    over_http = HttpCarrier(request.getfixturevalue("url"))
    yield over_http
    await over_http.close()


def bookings(ledger_path: Path) -> list[tuple[str, str]]:
    with closing(sqlite3.connect(ledger_path)) as ledger:
        return ledger.execute("SELECT key, outcome FROM booking").fetchall()


async def test_one_key_is_one_parcel(desk: Desk, carrier: Carrier, ledger_path: Path) -> None:
    service, order_id = shipping_service(carrier), order_with()
    first = await desk.give(service, ship(order_id), KEY)
    assert await desk.give(service, ship(order_id), KEY) == first
    assert await desk.ask(service, ship(order_id), KEY) == first
    assert first.carrier == fate_of(order_id).carrier
    assert bookings(ledger_path) == [(KEY, "delivered")]


@pytest.mark.parametrize("code", ["address_not_served", "damaged_in_transit"])
async def test_a_refusal_is_definite(desk: Desk, carrier: Carrier, ledger_path: Path, code: str) -> None:
    service, order_id = shipping_service(carrier), order_with(code)
    for call in (desk.give, desk.give, desk.ask):
        with pytest.raises(Refused) as refused:
            await call(service, ship(order_id), KEY)
        assert refused.value.code == code
    assert bookings(ledger_path) == [(KEY, code)]


async def test_trouble_is_no_refusal_and_passes(desk: Desk, carrier: Carrier, ledger_path: Path) -> None:
    service, order_id = shipping_service(carrier), order_with(failing_tries=2)
    for _ in range(2):
        with pytest.raises((CarrierTrouble, CarrierUnavailable)):
            await desk.give(service, ship(order_id), KEY)
        assert await desk.ask(service, ship(order_id), KEY) is None
    await desk.give(service, ship(order_id), KEY)
    assert bookings(ledger_path) == [(KEY, "delivered")]


async def test_a_slow_carrier_answers_in_the_end(carrier: Carrier) -> None:
    order_id = order_with(slow=True)
    clock = asyncio.get_running_loop().time
    begin = clock()
    assert isinstance(await carrier.book(KEY, order_id, "France"), Booked)
    assert clock() - begin > fate_of(order_id).seconds * 0.9


async def test_many_callers_with_one_key_get_one_parcel(carrier: Carrier, ledger_path: Path) -> None:
    order_id = order_with()
    answers = await asyncio.gather(*(carrier.book(KEY, order_id, "France") for _ in range(10)))
    assert len(set(answers)) == 1
    assert len(bookings(ledger_path)) == 1


async def test_nobody_there_is_trouble() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    carrier = HttpCarrier(f"http://127.0.0.1:{port}")
    with pytest.raises(CarrierTrouble):
        await carrier.book(KEY, "1", "France")
    await carrier.close()


async def test_a_key_belongs_to_one_parcel(url: str) -> None:
    first, second = order_with(), order_with("damaged_in_transit")
    async with httpx.AsyncClient(base_url=url) as client:
        await client.put(f"/bookings/{KEY}", json={"order_id": first, "country": "France"})
        answer = await client.put(f"/bookings/{KEY}", json={"order_id": second, "country": "France"})
    assert answer.status_code == 409
    assert answer.headers["content-type"] == "application/problem+json"


async def test_an_answer_that_makes_no_sense_is_trouble() -> None:
    carrier = HttpCarrier("http://carrier.example")
    answers = iter([httpx.Response(200, text="<html>"), httpx.Response(200, json={}), httpx.Response(302)])
    carrier._client = httpx.AsyncClient(
        base_url="http://carrier.example", transport=httpx.MockTransport(lambda request: next(answers))
    )
    for _ in range(3):
        with pytest.raises(CarrierTrouble):
            await carrier.book(KEY, "1", "France")
    await carrier.close()


async def test_a_code_that_the_command_does_not_declare_is_trouble(desk: Desk) -> None:
    carrier = HttpCarrier("http://carrier.example")
    odd = httpx.Response(422, json={"code": "strike"})
    carrier._client = httpx.AsyncClient(
        base_url="http://carrier.example", transport=httpx.MockTransport(lambda request: odd)
    )
    with pytest.raises(CarrierTrouble):
        await desk.give(shipping_service(carrier), ship("1"), KEY)
    await carrier.close()


def test_about_one_order_in_twenty_is_refused() -> None:
    refused = sum(fate_of(str(order_id)).outcome != "delivered" for order_id in range(10_000))
    assert 300 < refused < 700
