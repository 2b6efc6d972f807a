"""The front door: what customers may say, and what they are told."""

import re
from collections.abc import AsyncIterator
from contextlib import nullcontext
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from choros import Addresses, SagaNotFound, StartConflict
from choros.errors import StoreUnreachable
from choros.roles.loading import load_app
from choros.roles.roles import client_of
from reference_services.contracts import Moment, PlaceOrder
from reference_services.order.book import OrderBook
from reference_services.order.desk import Progress, StepProgress
from reference_services.order.http import MOST_BYTES, order_http
from reference_services.order.saga_desk import SagaDesk
from tests.reference.conftest import order

PLACED_AT = PlaceOrder.model_json_schema()["properties"]["placed_at"]


class MemoryDesk:
    """An order desk whose sagas end when somebody waits for them."""

    def __init__(self) -> None:
        self.orders: dict[str, PlaceOrder] = {}
        self.waited: set[str] = set()
        self.outcome = Progress("", "completed", steps=(StepProgress("charge_payment", "ok"),))
        self.down = False
        self.traces: list[tuple[str, str]] = []

    async def place(self, order: PlaceOrder, *, traceparent: str = "", tracestate: str = "") -> str:
        self._check()
        self.traces.append((traceparent, tracestate))
        saga_id = f"saga-{order.order_id}"
        if self.orders.setdefault(saga_id, order) != order:
            raise StartConflict("Another order.")
        return saga_id

    async def wait(self, saga_id: str, seconds: float) -> None:
        self.waited.add(saga_id)

    async def progress(self, saga_id: str) -> Progress:
        self._check()
        if saga_id not in self.orders:
            raise SagaNotFound("No such saga.")
        if saga_id not in self.waited:
            return Progress(saga_id, "running")
        return Progress(saga_id, self.outcome.status, self.outcome.reason, self.outcome.steps)

    def _check(self) -> None:
        if self.down:
            raise StoreUnreachable("The store at redis://:secret@host does not answer.")


@pytest.fixture
def desk() -> MemoryDesk:
    return MemoryDesk()


@pytest.fixture
async def client(desk: MemoryDesk, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    http = order_http(desk, OrderBook(tmp_path / "order.db"))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(http), base_url="http://order") as client:
        yield client


def body(of: PlaceOrder, **changed: Any) -> dict[str, Any]:
    return {**of.model_dump(mode="json"), **changed}


def assert_problem(response: httpx.Response, status: int) -> dict[str, Any]:
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    found: dict[str, Any] = response.json()
    assert found["status"] == status
    return found


async def test_an_order_is_accepted_at_once(client: httpx.AsyncClient) -> None:
    response = await client.post("/orders", json=body(order("1")))
    assert response.status_code == 202
    assert response.headers["location"] == "/orders/1"
    assert response.json() == {"order_id": "1", "saga_id": "saga-1", "status": "running", "total": 300}


async def test_the_synchronous_style_answers_with_the_outcome(client: httpx.AsyncClient, desk: MemoryDesk) -> None:
    desk.outcome = Progress("", "compensated", "damaged_in_transit")
    response = await client.post("/orders?wait=5", json=body(order("1")))
    assert response.status_code == 200
    assert response.json()["status"] == "compensated"
    assert response.json()["reason"] == "damaged_in_transit"


async def test_a_parked_order_is_accepted_but_has_no_outcome(client: httpx.AsyncClient, desk: MemoryDesk) -> None:
    desk.outcome = Progress("", "parked")
    response = await client.post("/orders?wait=5", json=body(order("1")))
    assert (response.status_code, response.json()["status"]) == (202, "parked")


async def test_the_same_order_again_is_the_same_order(client: httpx.AsyncClient, desk: MemoryDesk) -> None:
    answers = [await client.post("/orders", json=body(order("1"))) for _ in range(3)]
    assert {(answer.status_code, answer.json()["saga_id"]) for answer in answers} == {(202, "saga-1")}
    assert len(desk.orders) == 1


async def test_another_order_with_the_same_id_conflicts(client: httpx.AsyncClient, desk: MemoryDesk) -> None:
    await client.post("/orders", json=body(order("1")))
    assert_problem(await client.post("/orders", json=body(order("1", ("A", 9, 9)))), 409)
    desk.orders["saga-2"] = order("2")  # started, but a crash kept it out of the order book
    assert_problem(await client.post("/orders", json=body(order("2", ("A", 9, 9)))), 409)


async def test_how_far_an_order_is(client: httpx.AsyncClient) -> None:
    await client.post("/orders?wait=1", json=body(order("1")))
    response = await client.get("/orders/1")
    assert response.json()["status"] == "completed"
    assert response.json()["steps"] == [{"name": "charge_payment", "progress": "ok"}]
    assert_problem(await client.get("/orders/2"), 404)


@pytest.mark.parametrize(
    ("changed", "pointer"),
    [
        ({"order_id": ""}, "/order_id"),
        ({"order_id": "../1"}, "/order_id"),
        ({"customer": "a b\nBcc: c"}, "/customer"),
        ({"lines": []}, "/lines"),
        ({"lines": [{"article": "A", "quantity": 0, "unit_price": 1}]}, "/lines/0/quantity"),
        ({"lines": [{"article": "A", "quantity": "1", "unit_price": 1}]}, "/lines/0/quantity"),
        ({"lines": [{"article": "A", "quantity": 1, "unit_price": 1.5}]}, "/lines/0/unit_price"),
        ({"placed_at": "yesterday"}, "/placed_at"),
        ({"placed_at": "2010-13-01T00:00:00"}, "/placed_at"),
        ({"a/b": 1}, "/a~1b"),
    ],
)
async def test_a_mistake_is_pointed_at(client: httpx.AsyncClient, changed: dict[str, Any], pointer: str) -> None:
    found = assert_problem(await client.post("/orders", json=body(order("1"), **changed)), 422)
    assert [error["pointer"] for error in found["errors"]] == [pointer]
    assert all(error["detail"] for error in found["errors"])


async def test_a_whole_number_may_be_written_with_a_fraction(client: httpx.AsyncClient) -> None:
    content = order("1").to_json().replace(":150", ":150.0").encode()
    assert (await client.post("/orders", content=content)).json()["total"] == 300
    assert_problem(await client.post("/orders", content=content.replace(b"150.0", b"150.5")), 422)
    found = assert_problem(await client.post("/orders", content=content.replace(b"France", b"")), 422)
    assert [error["pointer"] for error in found["errors"]] == ["/country"]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"[" * 5000, b'{"order_id": NaN}', b"\xff"])
async def test_rubbish_is_a_problem(client: httpx.AsyncClient, content: bytes) -> None:
    assert assert_problem(await client.post("/orders", content=content), 422)["errors"]


async def test_limits(client: httpx.AsyncClient) -> None:
    assert_problem(await client.post("/orders", content=b" " * (MOST_BYTES + 1)), 413)
    for wait in ("-1", "61", "nan", "soon"):
        assert_problem(await client.post(f"/orders?wait={wait}", json=body(order("1"))), 422)
    assert_problem(await client.get("/elsewhere"), 404)


# --- what the standards of HTTP ask for -------------------------------------------------------------------------------


@pytest.mark.parametrize(("path", "allowed"), [("/orders", "POST"), ("/orders/1", "GET"), ("/livez", "GET")])
async def test_a_method_that_is_not_known_is_told_which_are(client: httpx.AsyncClient, path: str, allowed: str) -> None:
    for method in ("DELETE", "OPTIONS", "TRACE"):
        response = await client.request(method, path)
        assert_problem(response, 405)
        assert response.headers["allow"] == allowed


@pytest.mark.parametrize("media_type", ["text/plain", "application/xml", "application/jsonp", "json"])
async def test_a_body_of_another_type_is_not_taken(client: httpx.AsyncClient, media_type: str) -> None:
    content = order("1").to_json().encode()
    response = await client.post("/orders", content=content, headers={"content-type": media_type})
    assert_problem(response, 415)
    assert response.headers["accept"] == "application/json"


@pytest.mark.parametrize(
    "media_type", ["application/json; charset=utf-8", "Application/JSON", "application/a+json", ""]
)
async def test_whatever_is_called_json_is_read(client: httpx.AsyncClient, media_type: str) -> None:
    content = order("1").to_json().encode()
    assert (await client.post("/orders", content=content, headers={"content-type": media_type})).status_code == 202


TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


async def test_the_trace_of_the_request_is_that_of_the_order(client: httpx.AsyncClient, desk: MemoryDesk) -> None:
    traced = [("traceparent", TRACE), ("tracestate", "a=1"), ("tracestate", "b=2")]
    await client.post("/orders", json=body(order("1")), headers=traced)
    await client.post("/orders", json=body(order("2")))
    assert desk.traces == [(TRACE, "a=1,b=2"), ("", "")]


async def test_the_saga_is_part_of_the_trace() -> None:
    async with client_of(load_app("reference_services.order"), Addresses("memory://", "memory://")) as client:
        sagas = [
            await SagaDesk(client).place(order("1"), traceparent=TRACE, tracestate="a=1"),
            await SagaDesk(client).place(order("2"), traceparent="no trace", tracestate="a=1"),
        ]
        begun = [(await client.show(saga)).instance for saga in sagas]
    assert [(one.traceparent, one.tracestate) for one in begun] == [(TRACE, "a=1"), ("", "")]


PROBLEMS = {
    "/orders": {"post": {405, 409, 413, 415, 422, 503}},
    "/orders/{order_id}": {"get": {404, 405, 422, 503}},
    "/livez": {"get": {405}},
    "/readyz": {"get": {405, 503}},
}


async def test_every_answer_is_documented_with_its_schema(client: httpx.AsyncClient) -> None:
    paths = (await client.get("/openapi.json")).json()["paths"]
    for path, methods in PROBLEMS.items():
        for method, problems in methods.items():
            answers = paths[path][method]["responses"]
            assert {int(status) for status in answers if int(status) >= 400} == problems
            for status, answer in answers.items():
                (media_type,) = answer["content"]
                assert media_type == ("application/problem+json" if int(status) >= 400 else "application/json")
                assert answer["content"][media_type]["schema"], (path, status)
    assert paths["/orders"]["post"]["responses"]["405"]["headers"].keys() == {"Allow"}


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(st.from_regex(re.compile(PLACED_AT["pattern"], re.ASCII), fullmatch=True))
def test_whatever_fits_the_pattern_of_a_moment_is_one(text: str) -> None:
    datetime.fromisoformat(text)


@pytest.mark.parametrize(
    ("text", "taken"),
    [
        *[(f"{day}T08:26", True) for day in ("2000-02-29", "2024-02-29", "0001-01-01", "9999-12-31", "0400-02-29")],
        *[(f"{day}T08:26", False) for day in ("1900-02-29", "2023-02-29", "2010-04-31", "0000-01-01", "2010-00-10")],
        *[(f"2010-12-01T{time}", True) for time in ("23:59:59", "00:00:00Z", "08:26:00-23:59")],
        *[
            (f"2010-12-01T{time}", False)
            for time in ("24:00", "08:60", "08:26:60", "08:26+24:00", "08:26z", "\u0660\u0668:26")
        ],
    ],
)
def test_a_moment_is_taken_by_its_pattern(text: str, taken: bool) -> None:
    with nullcontext() if taken else pytest.raises(ValidationError):
        TypeAdapter(Moment).validate_python(text)


async def test_a_store_that_is_down_tells_no_address(client: httpx.AsyncClient, desk: MemoryDesk) -> None:
    assert (await client.get("/readyz")).status_code == 200
    desk.down = True
    response = await client.post("/orders", json=body(order("1")))
    assert_problem(response, 503)
    assert response.headers["retry-after"] == "1"
    assert "secret" not in response.text
    assert_problem(await client.get("/readyz"), 503)
    assert (await client.get("/livez")).status_code == 200


async def test_it_documents_itself(client: httpx.AsyncClient) -> None:
    post = (await client.get("/openapi.json")).json()["paths"]["/orders"]["post"]
    assert "order_id" in post["requestBody"]["content"]["application/json"]["schema"]["properties"]
