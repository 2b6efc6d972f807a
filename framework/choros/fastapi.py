"""What an HTTP front on FastAPI, or on bare Starlette, writes with, besides `choros`: needs `choros[api]`.

front = Front(app, Addresses.from_settings())
api = FastAPI(lifespan=front.lifespan)
front.add_problems(api)

@api.post("/orders", status_code=202)
async def place(order: PlaceOrder, client: Annotated[Client, Depends(front.client)], wait: Seconds = 0) -> Response:
    saga_id = await client.start(order_saga, order)
    return await front.answer(saga_id, location=f"/orders/{order.order_id}", wait=wait)
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Query
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from choros.app.app import App
from choros.errors import (
    ChorosError,
    FactConflict,
    OutcomePending,
    SagaNotFound,
    StartConflict,
    TokenUnknown,
    TooLate,
    UnfitHeaders,
    Unreachable,
    UpdateRefused,
    UsageError,
)  # fmt: skip
from choros.roles.addresses import Addresses
from choros.roles.http_face import of_extra
from choros.roles.roles import client_of
from choros.runtime.client.client import Client

if TYPE_CHECKING:
    from choros.roles.meters import Meters

__all__ = ["Front", "Seconds"]

PROBLEM = "application/problem+json"
Seconds = Annotated[float, Query(ge=0, le=60, allow_inf_nan=False, description="wait so long for the outcome")]
"""How long a caller wants to wait, at most a minute: longer, and proxies on the way give up before."""
_MEANINGS: tuple[tuple[type[ChorosError], int, str], ...] = (
    (StartConflict, 409, "Something else was asked for under this key."),
    (FactConflict, 409, "Something else was said under this key."),
    (UpdateRefused, 409, "It was refused."),
    (TooLate, 409, "It is too late for that."),
    (SagaNotFound, 404, "There is no such saga."),
    (TokenUnknown, 404, "There is nothing under this token."),
    (UnfitHeaders, 422, "What the request says of itself cannot be passed on."),
    (Unreachable, 503, "A server does not answer. Ask again: what was asked for is done once."),
)
_RETRY_SECONDS, _LOOK_SECONDS = 1, 0.1
SOON = timedelta(seconds=5)
"""Callers, and proxies on the way, give up after some more."""


class Front:
    """A client of one application, for as long as an HTTP application runs."""

    def __init__(self, app: App, addresses: Addresses, *, name: str = "http", patience: timedelta = SOON) -> None:
        """`name`: how the broker shows its connections. `patience`: how long a request waits for a broker or store that
        does not answer, which is a problem then, 503."""
        self._app, self._addresses, self._name, self._patience = app, addresses, name, patience
        self._client: Client | None = None
        self._meters: Meters | None = None

    @asynccontextmanager
    async def lifespan(self, api: Any) -> AsyncIterator[None]:
        """The `lifespan` of the HTTP application, or a part of it: connects before the first request, closes after the
        last. Raises BrokerUnreachable or StoreUnreachable, and then nothing is served."""
        async with client_of(self._app, self._addresses, name=self._name, patience=self._patience) as self._client:
            if self._meters:
                self._client.metered(self._meters.folded)
            try:
                yield
            finally:
                self._client = None

    async def client(self) -> Client:
        """The client, as a dependency: `Annotated[Client, Depends(front.client)]`."""
        if self._client is None:
            raise UsageError("The front is not open.", "FastAPI(lifespan=front.lifespan).")
        return self._client

    async def answer(self, saga_id: str, *, location: str, wait: float = 0.0) -> JSONResponse:
        """What to answer about a saga that was started: 202 and where to ask, at once; or with `wait` (seconds) 200
        and how it ended, if it has by then. One that is asked for in a transaction (`start_in`) may come a moment
        later: that is waited for as well."""
        status = await self._status(saga_id, wait) if wait > 0 else ""
        shown = {"saga_id": saga_id, **({"status": status} if status else {})}
        return JSONResponse(shown, 200 if status else 202, {"Location": location})

    async def _status(self, saga_id: str, seconds: float) -> str:
        client = await self.client()
        with suppress(OutcomePending, TimeoutError):
            async with asyncio.timeout(seconds):
                while True:
                    try:
                        return (await client.wait(saga_id, timeout=timedelta(seconds=seconds))).status
                    except SagaNotFound:
                        await asyncio.sleep(_LOOK_SECONDS)
        return ""

    def add_metrics(self, api: Starlette, path: str = "/metrics") -> None:
        """Answer Prometheus at this path: the sagas that were begun here, called as `choros run --http` calls them.
        Before the application runs; needs `choros[http]`."""
        with of_extra("Front.add_metrics"):
            from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

            from choros.roles.meters import Meters
        meters = self._meters = Meters()

        async def metrics(_: Request) -> Response:
            return Response(generate_latest(meters), headers={"content-type": CONTENT_TYPE_LATEST})

        api.add_route(path, metrics)

    @staticmethod
    def add_problems(api: Starlette) -> None:
        """Answer what choros raises in a request with problem details (RFC 9457): 404, 409, 422 or 503. All else it
        raises stays an error of the application, whose words are for no customer."""
        for kind, status, title in _MEANINGS:
            api.add_exception_handler(kind, _Problem(status, title))


class _Problem:
    """The answer to one kind of error."""

    def __init__(self, status: int, title: str) -> None:
        self._status, self._title = status, title

    async def __call__(self, request: Request, error: Exception) -> JSONResponse:
        headers: Mapping[str, str] = {"Retry-After": str(_RETRY_SECONDS)} if self._status == 503 else {}
        content = {"title": self._title, "status": self._status}
        if isinstance(error, UpdateRefused):
            content["code"] = error.code
        return JSONResponse(content, self._status, headers, media_type=PROBLEM)
