"""The front door: `uvicorn --factory shop_front.http:api`."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends, FastAPI, Header, HTTPException
from fastapi.responses import JSONResponse
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

from choros import Addresses, App, Client, start_in
from choros.fastapi import Front, Seconds
from shop_contracts import PlaceOrder
from shop_front.models import Order
from shop_front.saga import app, order_saga


def api_of(shop: App, addresses: Addresses, database: str) -> FastAPI:
    """The front of this shop; its own tables are in this database."""
    engine = create_async_engine(database)
    sessions = async_sessionmaker(engine, expire_on_commit=False)
    front = Front(shop, addresses)

    @asynccontextmanager
    async def lifespan(api: FastAPI) -> AsyncIterator[None]:
        async with front.lifespan(api):
            yield
        await engine.dispose()

    async def session() -> AsyncIterator[AsyncSession]:
        async with sessions() as session:
            yield session

    api = FastAPI(title="A team's shop", lifespan=lifespan)
    front.add_problems(api)
    front.add_metrics(api)

    @api.post("/orders", status_code=202)
    async def place(
        order: PlaceOrder,
        session: Annotated[AsyncSession, Depends(session)],
        x_tenant: Annotated[str, Header(max_length=100)] = "",
        wait: Seconds = 0,
    ) -> JSONResponse:
        """The order's row and its saga are there together, or neither. All that comes of it says whose it is."""
        async with session.begin():
            headers = {"tenant": x_tenant} if x_tenant else {}
            saga_id = await start_in(session, shop, order_saga, order, headers=headers)
            if await session.get(Order, order.order_id) is None:
                row = Order(order_id=order.order_id, customer=order.customer, amount=order.amount, saga_id=saga_id)
                session.add(row)
        return await front.answer(saga_id, location=f"/orders/{order.order_id}", wait=wait)

    @api.get("/orders/{order_id}")
    async def show(
        order_id: str,
        session: Annotated[AsyncSession, Depends(session)],
        client: Annotated[Client, Depends(front.client)],
    ) -> dict[str, str]:
        """How far it is; 404 also for the moment in which its saga is not taken over yet."""
        order = await session.get(Order, order_id)
        if order is None:
            raise HTTPException(404, "There is no such order.")
        return {"order_id": order_id, "status": (await client.outcome(order.saga_id)).status}

    return api


def api() -> FastAPI:
    """With what the environment says."""
    addresses = Addresses.from_settings()
    database = os.environ["FRONT_DB"].replace("postgresql:", "postgresql+asyncpg:")
    return api_of(addresses.namespaced(app), addresses, database)
