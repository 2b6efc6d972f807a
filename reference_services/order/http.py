"""The front door: `POST /orders` takes an order, `GET /orders/{id}` says how far it is."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import FastAPI, Query, Request
from fastapi.responses import JSONResponse

from choros import SagaNotFound, StartConflict
from choros.errors import Unreachable
from reference_services.contracts import PlaceOrder
from reference_services.order.book import Entry, OrderBook
from reference_services.order.desk import OrderDesk, Progress
from reference_services.order.problems import BodyTooLarge, add_problems, problem

MOST_BYTES = 1_000_000
NO_ORDER = "-"
"""No order can have this id."""
Seconds = Annotated[float, Query(ge=0, le=60, allow_inf_nan=False, description="wait so long for the outcome")]


def order_http(desk: OrderDesk, book: OrderBook) -> FastAPI:
    """The application. Without `wait` an order is answered as soon as it is safely in the store; with it, after its
    outcome: the same saga, two styles of asking."""
    http = FastAPI(title="Orders", version="1")
    add_problems(http)

    @http.post("/orders", status_code=202, openapi_extra=_documented_body())
    async def place(request: Request, wait: Seconds = 0) -> JSONResponse:
        order = PlaceOrder.model_validate_json(await _body(request), strict=True)
        entry = await _place(order, desk, book)
        if wait:
            await desk.wait(entry.saga_id, wait)
        progress = await desk.progress(entry.saga_id)
        status = 200 if wait and progress.ended else 202
        return JSONResponse(_shown(order, progress), status, {"Location": f"/orders/{order.order_id}"})

    @http.get("/orders/{order_id}")
    async def show(order_id: str) -> JSONResponse:
        entry = await book.find(order_id)
        if entry is None:
            raise SagaNotFound("There is no such order.")
        progress = await desk.progress(entry.saga_id)
        steps = [{"name": step.name, "progress": step.progress} for step in progress.steps]
        return JSONResponse({**_shown(entry.order, progress), "steps": steps})

    @http.get("/livez")
    async def livez() -> dict[str, str]:
        return {"status": "ok"}

    @http.get("/readyz")
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


def _documented_body() -> dict[str, Any]:
    """For /docs: FastAPI does not read the body itself, because it would take "5" for 5."""
    schema = PlaceOrder.model_json_schema()
    schema["properties"]["lines"]["items"] = schema.pop("$defs")["OrderLine"]
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST_BYTES:
            raise BodyTooLarge
    return bytes(body)


async def _place(order: PlaceOrder, desk: OrderDesk, book: OrderBook) -> Entry:
    """Place it, or find it placed. The saga comes first: a crash in between is mended when the order comes again."""
    known = await book.find(order.order_id)
    if known is None:
        known = Entry(order, await desk.place(order))
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
