"""The front door's process: here, and only here, adapters are chosen."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys

import uvicorn

from choros import Addresses, ChorosError, client_of
from choros.roles.addresses import DEFAULT_BROKER, DEFAULT_STORE
from choros.roles.loading import load_app
from choros.telemetry.lines import configure_logging
from reference_services.order.book import OrderBook
from reference_services.order.http import order_http
from reference_services.order.saga_desk import SagaDesk


def main() -> int:
    """Serve until told to stop; returns the exit code."""
    options = _options().parse_args()
    configure_logging("order")
    try:
        asyncio.run(_serve(options))
    except ChorosError as error:
        sys.stderr.write(f"order: {error}\n")
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


async def _serve(options: argparse.Namespace) -> None:
    addresses = Addresses(broker=options.broker, store=options.store)
    book = OrderBook(options.database)
    app = load_app(options.application)
    async with client_of(app, addresses, name="order") as client:
        http = order_http(SagaDesk(client, app.saga("order")), book)
        config = uvicorn.Config(http, host=options.host, port=options.port, log_level="warning")
        await uvicorn.Server(config).serve()


def _options() -> argparse.ArgumentParser:
    setting = os.environ.get
    parser = argparse.ArgumentParser(prog="order", description="The front door of the shop: orders over HTTP.")
    parser.add_argument("--broker", default=setting("CHOROS_BROKER") or setting("AMQP_URL") or DEFAULT_BROKER)
    parser.add_argument("--store", default=setting("CHOROS_STORE") or setting("REDIS_URL") or DEFAULT_STORE)
    parser.add_argument("--database", default=setting("CHOROS_DATABASE") or "sqlite:///.choros/order.db")
    parser.add_argument("--application", default="reference_services.order", help="whose saga `order` sees to an order")
    parser.add_argument("--host", default=setting("CHOROS_HOST") or "127.0.0.1")
    parser.add_argument("--port", type=int, default=setting("CHOROS_PORT") or "8000")
    return parser
