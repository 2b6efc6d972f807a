"""The front door: `POST /orders` takes an order, `GET /orders/{id}` says how far it is."""

from __future__ import annotations

import re
from typing import Annotated, Any

from fastapi import FastAPI, Header, HTTPException, Query, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ValidationError
from pydantic_core import from_json, to_json

from choros import SagaNotFound, StartConflict, Unreachable
from reference_services.contracts import PlaceOrder
from reference_services.order.book import Entry, OrderBook
from reference_services.order.desk import OrderDesk, Progress
from reference_services.order.problems import BodyTooLarge, add_problems, documented, problem

MOST_BYTES = 1_000_000
NO_ORDER = "-"
"""No order can have this id."""
JSON_TYPE = re.compile(r"application/(?:[^;\s]+\+)?json")
Seconds = Annotated[float, Query(ge=0, le=60, allow_inf_nan=False, description="wait so long for the outcome")]
TraceParent = Annotated[str, Header(description="W3C Trace Context: the order's saga becomes part of this trace")]
TraceState = Annotated[list[str], Header(default_factory=list, description="the same")]


class ShownStep(BaseModel):
    """How far one step of the saga is."""

    name: str
    progress: str


class Placed(BaseModel):
    """An order that was taken, and how far it is."""

    order_id: str
    saga_id: str
    status: str
    total: int
    reason: str = ""


class Shown(Placed):
    """The same, with every step."""

    steps: list[ShownStep]


class Health(BaseModel):
    """It is up."""

    status: str


def order_http(desk: OrderDesk, book: OrderBook) -> FastAPI:
    """The application. Without `wait` an order is answered as soon as it is safely in the store; with it, after its
    outcome: the same saga, two styles of asking."""
    http = FastAPI(title="Orders", version="1", responses=documented(405))
    add_problems(http)

    @http.post("/orders", status_code=202, responses=PLACING, openapi_extra=_documented_body())
    async def place(
        request: Request, tracestate: TraceState, wait: Seconds = 0, traceparent: TraceParent = ""
    ) -> JSONResponse:
        order = _order(await _body(request))
        entry = await _place(order, desk, book, (traceparent, ",".join(tracestate)))
        if wait:
            await desk.wait(entry.saga_id, wait)
        progress = await desk.progress(entry.saga_id)
        status = 200 if wait and progress.ended else 202
        return JSONResponse(_shown(order, progress), status, {"Location": f"/orders/{order.order_id}"})

    @http.get("/orders/{order_id}", response_model=Shown, responses=documented(404, 422, 503))
    async def show(order_id: str) -> JSONResponse:
        entry = await book.find(order_id)
        if entry is None:
            raise SagaNotFound("There is no such order.")
        progress = await desk.progress(entry.saga_id)
        steps = [{"name": step.name, "progress": step.progress} for step in progress.steps]
        return JSONResponse({**_shown(entry.order, progress), "steps": steps})

    @http.get("/livez", response_model=Health)
    async def livez() -> dict[str, str]:
        return {"status": "ok"}

    @http.get("/readyz", response_model=Health, responses=documented(503))
    async def readyz() -> JSONResponse:
        try:
            await book.find(NO_ORDER)
            await desk.progress(NO_ORDER)
        except SagaNotFound:
            return JSONResponse({"status": "ok"})  # the store has answered
        except Unreachable:
            return problem(503, "The saga store does not answer.")
        return JSONResponse({"status": "ok"})

    return http


_LOCATION = {"headers": {"Location": {"schema": {"type": "string"}}}}
PLACING: dict[int | str, dict[str, Any]] = {
    200: {"model": Placed, "description": "It has ended within `wait`.", **_LOCATION},
    202: {"model": Placed, "description": "It is safely in the store, and goes on.", **_LOCATION},
    **documented(409, 413, 415, 422, 503),
}


def _documented_body() -> dict[str, Any]:
    """For /docs: FastAPI does not read the body itself, because it would take "5" for 5."""
    schema = PlaceOrder.model_json_schema()
    schema["properties"]["lines"]["items"] = schema.pop("$defs")["OrderLine"]
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


async def _body(request: Request) -> bytes:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type and not JSON_TYPE.fullmatch(media_type):
        raise HTTPException(415, headers={"Accept": "application/json"})
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST_BYTES:
            raise BodyTooLarge
    return bytes(body)


def _order(body: bytes) -> PlaceOrder:
    """JSON and its schemas know one kind of numbers, of which 5.0 is a whole one; "5" is none."""
    try:
        return PlaceOrder.model_validate_json(body, strict=True)
    except ValidationError as error:
        try:
            said = from_json(body)
        except ValueError:
            raise error from None
    return PlaceOrder.model_validate_json(to_json(_whole(said)), strict=True)


def _whole(value: Any) -> Any:
    match value:
        case dict():
            return {name: _whole(one) for name, one in value.items()}
        case list():
            return [_whole(one) for one in value]
        case float() if value.is_integer():
            return int(value)
    return value


async def _place(order: PlaceOrder, desk: OrderDesk, book: OrderBook, trace: tuple[str, str]) -> Entry:
    """Place it, or find it placed. The saga comes first: a crash in between is mended when the order comes again."""
    known = await book.find(order.order_id)
    if known is None:
        known = Entry(order, await desk.place(order, traceparent=trace[0], tracestate=trace[1]))
        await book.add(known)
    elif known.order != order:
        raise StartConflict("Another order has this id.")
    return known


def _shown(order: PlaceOrder, progress: Progress) -> dict[str, Any]:
    shown = {
        "order_id": order.order_id,
        "saga_id": progress.saga_id,
        "status": progress.status,
        "total": order.total,
    }
    return {**shown, "reason": progress.reason} if progress.reason else shown
