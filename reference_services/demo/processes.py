"""The whole shop as processes of their own, on a real broker and store."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar

import httpx

from choros import Addresses, App, ChorosError, Service
from choros.desk.timeline import timeline
from choros.roles.addresses import connected, opened_store
from choros.runtime.client.account import account_of
from choros.transport.topology import topology
from reference_services.contracts import PlaceOrder
from reference_services.demo.mails import caught_mails
from reference_services.demo.shop import Placed
from reference_services.order.app import app as order_app
from reference_services.sql import POSTGRESQL

CHOROS = (sys.executable, "-m", "choros", "run")
ROLES: dict[str, Sequence[str]] = {
    "carrier": (sys.executable, "-m", "reference_services.shipping.carrier"),
    "payment": (*CHOROS, "reference_services.payment", "--role", "service:payment"),
    "inventory": (*CHOROS, "reference_services.inventory", "--role", "service:inventory"),
    "shipping": (*CHOROS, "reference_services.shipping", "--role", "service:shipping"),
    "notifications": (*CHOROS, "reference_services.notifications", "--role", "subscriber:notifications"),
    "analytics": (*CHOROS, "reference_services.analytics", "--role", "subscriber:analytics"),
    "orchestrator-1": (*CHOROS, "reference_services.order", "--role", "orchestrator"),
    "orchestrator-2": (*CHOROS, "reference_services.order", "--role", "orchestrator"),
    "order": (sys.executable, "-m", "reference_services.order"),
}
Plugged = Mapping[str, Sequence[Service]]
"""Subscribers of the user's own, by the module of their application."""
START_SECONDS = 120.0
WAIT_SECONDS = 60


@dataclass(slots=True)
class Processes:
    """A shop of processes. Orders go in by HTTP, as a customer's would."""

    application: ClassVar[App] = order_app
    """Whose saga it is."""
    folder: Path
    addresses: Addresses
    namespace: str
    environment: dict[str, str]
    order_url: str
    carrier_url: str
    roles: Mapping[str, Sequence[str]]
    running: dict[str, asyncio.subprocess.Process] = field(default_factory=dict)
    http: httpx.AsyncClient = field(default_factory=lambda: httpx.AsyncClient(timeout=WAIT_SECONDS + 30))

    async def start(self, role: str) -> None:
        """Start a process; what it logs goes to a file."""
        ports = {"order": self.order_url, "carrier": self.carrier_url}
        environment = dict(self.environment)
        if role in ports:
            environment["CHOROS_PORT"] = ports[role].rpartition(":")[2]
        environment["CHOROS_DATABASE"] = self.database_of(role)
        with (self.folder / f"{role}.log").open("ab") as log:
            self.running[role] = await asyncio.create_subprocess_exec(
                *self.roles[role], env=environment, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log
            )

    def database_of(self, part: str) -> str:
        """In the folder, unless everything is in PostgreSQL."""
        address = self.addresses.database
        return (
            address.replace("{service}", part)
            if address.startswith(POSTGRESQL)
            else f"sqlite:///{self.folder}/{part}.db"
        )

    async def kill(self, role: str) -> None:
        """Kill a process in the middle of whatever it does (SIGKILL)."""
        process = self.running.pop(role)  # nobody needs to be told
        process.kill()
        await process.wait()

    async def ready(self) -> None:
        """Wait until the order service answers; raises ChorosError if a process has ended before."""
        await self._open((f"{self.order_url}/readyz", f"{self.carrier_url}/livez"))

    async def _open(self, doors: Sequence[str]) -> None:
        give_up = time.monotonic() + START_SECONDS
        while not all([await self._answers(door) for door in doors]):
            self._check_alive()
            if time.monotonic() > give_up:
                raise ChorosError(f"The shop is not open after {START_SECONDS:g} s.", f"the logs in {self.folder}.")
            await asyncio.sleep(0.1)

    async def _answers(self, url: str) -> bool:
        try:
            return (await self.http.get(url)).status_code == 200
        except httpx.TransportError:
            return False

    def _check_alive(self) -> None:
        for role, process in self.running.items():
            if process.returncode is not None:
                raise self.ended(role)

    def ended(self, role: str) -> ChorosError:
        """The error for a process that has ended by itself, with the last that it said."""
        log = self.folder / f"{role}.log"
        last = log.read_text(errors="replace").strip().splitlines()[-1:]
        return ChorosError(f"{role} ended with {self.running[role].returncode}: {' '.join(last)}", f"all of it: {log}")

    async def place(self, order: PlaceOrder) -> Placed:
        """Place an order and wait until it has ended; asks again while the order service is away."""
        while True:
            try:
                answer = await self._post(order)
            except httpx.TransportError:
                await asyncio.sleep(0.3)
                continue
            if answer.get("status") in ("completed", "compensated", "parked"):
                return Placed(order.order_id, answer["saga_id"], answer["status"], answer.get("reason") or "")
            await asyncio.sleep(0.2)

    async def _post(self, order: PlaceOrder) -> dict[str, str]:
        response = await self.http.post(
            f"{self.order_url}/orders", params={"wait": WAIT_SECONDS}, content=order.to_json(),
            headers={"content-type": "application/json"},
        )  # fmt: skip
        if response.status_code in (502, 503, 504):
            return {}
        if response.status_code >= 400:
            raise ChorosError(f"The order service answered {response.status_code} to order {order.order_id}.")
        answer: dict[str, str] = response.json()
        return answer

    async def timeline(self, saga_id: str) -> Sequence[str]:
        """What happened to an order, as lines, read from the store."""
        async with opened_store(self.addresses, self.application.within(self.namespace)) as store:
            return list(timeline(await account_of(store, saga_id), self.application.saga("order")))

    async def stop(self) -> None:
        """End every process that was started here, politely first."""
        for process in self.running.values():
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
        for process in self.running.values():
            try:
                async with asyncio.timeout(15):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()
        await self.http.aclose()


@asynccontextmanager
async def processes(
    folder: Path, addresses: Addresses, namespace: str, plugged: Plugged = MappingProxyType({}),
    *, kind: type[Processes] = Processes, parts: Mapping[str, Sequence[str]] = ROLES,
) -> AsyncIterator[Processes]:  # fmt: skip
    """Start every role as a process of its own, and end them all."""
    roles = dict(parts)
    for module, services in plugged.items():
        roles |= {one.name: (*CHOROS, module, "--role", f"subscriber:{one.name}") for one in services}
    await _look(addresses, namespace, [one.name for services in plugged.values() for one in services])
    async with caught_mails(folder) as smtp:
        order_url, carrier_url = (f"http://127.0.0.1:{port}" for port in _free_ports(2))
        shop = kind(folder, addresses, namespace, {
            **os.environ,
            "CHOROS_NAMESPACE": namespace,
            "CHOROS_BROKER": addresses.broker,
            "CHOROS_STORE": addresses.store,
            "CHOROS_CARRIER_URL": carrier_url,
            "CHOROS_SMTP": smtp,
            "CHOROS_HOST": "127.0.0.1",
        }, order_url, carrier_url, roles)  # fmt: skip
        shop.environment |= {"CHOROS_STOCK": shop.database_of("stock"), "CHOROS_MAILS": shop.database_of("mails")}
        try:
            for role in roles:
                await shop.start(role)
            await shop.ready()
            yield shop
        finally:
            await shop.stop()


async def _look(addresses: Addresses, namespace: str, subscribers: Sequence[str]) -> None:
    """Before ten processes find out one by one: whether the servers can be used. Queues come before the first fact."""
    app = order_app.within(namespace)
    async with opened_store(addresses, app), connected(addresses, app, "demo") as transport:
        await transport.declare(topology(namespace, subscribers=subscribers))


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()
