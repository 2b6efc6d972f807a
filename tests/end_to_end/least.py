"""The shop with a broker user for each role, who may do what `choros topology permissions` prints and no more."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import aio_pika
from aio_pika.abc import AbstractChannel
from typer.testing import CliRunner

from choros import Addresses, App, Client
from choros.cli.topology import app as topology_command
from choros.roles.roles import client_of, open_role, run_together, stop_all
from reference_services.analytics.service import analytics_service
from reference_services.inventory.service import inventory_service
from reference_services.inventory.stock import Stock
from reference_services.notifications.mails import SentMails
from reference_services.notifications.service import notifications_service
from reference_services.order.saga import order_saga
from reference_services.payment.service import payment_service
from reference_services.shipping.carrier.ledger import CarrierLedger
from reference_services.shipping.carriers import LocalCarrier
from reference_services.shipping.service import shipping_service
from tests.patience import PATIENCE
from tests.transport.brokers import delete

APP = "reference_services.order"
ROLES = {
    "orchestrator": "orchestrator",
    "service:payment": "payment",
    "service:inventory": "inventory",
    "service:shipping": "shipping",
    "subscriber:notifications": "notifications",
    "subscriber:analytics": "analytics",
}
"""With the user of each."""
PASSWORD = "pw"
PIECES = 5
"""Of each article."""


@dataclass
class Letters:
    """What would have been sent."""

    sent: list[EmailMessage] = field(default_factory=list)
    broken: int = 0
    """So many do not work."""

    async def send(self, letter: EmailMessage) -> None:
        self.broken -= 1
        if self.broken >= 0:
            raise ConnectionError("no mail today")
        self.sent.append(letter)


@dataclass(frozen=True)
class Least:
    """A namespace that an administrator has declared, and its users."""

    url: str
    namespace: str
    folder: Path
    permissions: Mapping[str, Mapping[str, str]]
    """By role: configure, write and read."""
    letters: Letters = field(default_factory=Letters)

    @property
    def shop(self) -> App:
        """All of it, with handlers."""
        services = (
            payment_service(),
            inventory_service(Stock(self.folder / "stock.db", lambda article: PIECES)),
            shipping_service(LocalCarrier(CarrierLedger(self.folder / "carrier.db"))),
            notifications_service(self.letters, SentMails(self.folder / "mails.db")),
            analytics_service(),
        )
        return App(self.namespace, name="order", sagas=(order_saga,), services=services)

    def url_of(self, user: str) -> str:
        """The broker, as this user."""
        return self.url.replace("guest:guest", f"{self.namespace}-{user}:{PASSWORD}") + "?heartbeat=1"

    def addresses(self, user: str) -> Addresses:
        """Everything, as this user."""
        files = f"sqlite:///{self.folder}"
        return Addresses(self.url_of(user), f"{files}/sagas.db", f"{files}/{{service}}.db")

    @asynccontextmanager
    async def channel(self, user: str) -> AsyncIterator[AbstractChannel]:
        """Past the framework, as somebody would who has got hold of a password."""
        async with await aio_pika.connect(self.url_of(user)) as connection:
            yield await connection.channel()

    async def run(self, role: str, user: str) -> None:
        """Run a role until it ends, or is cancelled."""
        async with AsyncExitStack() as stack:
            parts = await open_role(self.shop, role, self.addresses(user), stack)
            try:
                await run_together(parts)
            finally:
                await stop_all(parts)

    @asynccontextmanager
    async def open(self, *roles: str) -> AsyncIterator[Client]:
        """These roles (or all), each as its user; a client, as its own."""
        running = [asyncio.create_task(self.run(role, ROLES[role])) for role in roles or ROLES]
        try:
            async with client_of(self.shop, self.addresses("client")) as client:
                yield client
        finally:
            for task in running:
                task.cancel()
            ended = await asyncio.gather(*running, return_exceptions=True)
        assert not [error for error in ended if isinstance(error, Exception)]


def rabbitmqctl(*arguments: str) -> str:
    """On the broker of this run."""
    servers = json.loads(Path(os.environ["CHOROS_TEST_SERVERS"]).read_text(encoding="utf-8"))
    environment = {**os.environ, **servers["rabbitmqctl_environment"]}
    command = [servers["rabbitmqctl"], "-q", *arguments]
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout


def said(namespace: str, *arguments: str) -> str:
    """What `choros topology` prints of the shop in this namespace."""
    ended = CliRunner().invoke(topology_command, arguments, env={"CHOROS_NAMESPACE": namespace}, catch_exceptions=False)
    assert ended.exit_code == 0
    return ended.stdout


def permit(folder: Path, rows: list[dict[str, str]]) -> None:
    """Make the users, and give each what its row says: one call, since each takes a second."""
    users = [{"name": row["user"], "password": PASSWORD, "tags": ""} for row in rows]
    file = folder / "definitions.json"
    file.write_text(json.dumps({"users": users, "permissions": rows}), encoding="utf-8")
    rabbitmqctl("import_definitions", str(file))


def permitted(url: str, namespace: str, folder: Path) -> Least:
    """Declare everything as an administrator, and make the users."""
    said(namespace, "apply", APP, "--broker", url, "--store", f"sqlite:///{folder}/sagas.db")
    printed: dict[str, Any] = json.loads(said(namespace, "permissions", APP, "--json", "--users", "{namespace}-{role}"))
    permit(folder, printed["permissions"])
    rows = {row["user"].removeprefix(f"{namespace}-"): row for row in printed["permissions"]}
    return Least(url, namespace, folder, rows)


def dismiss(least: Least, users: Iterable[str]) -> None:
    """Delete these users, in one call."""
    names = ",".join(f'<<"{least.namespace}-{user}">>' for user in users)
    rabbitmqctl("eval", f'[rabbit_auth_backend_internal:delete_user(U, <<"test">>) || U <- [{names}]].')


async def remove(least: Least) -> None:
    """The users and everything on the broker."""
    await asyncio.to_thread(dismiss, least, least.permissions)
    await delete(least.url, least.shop.topology)


__all__ = ["APP", "PATIENCE", "ROLES", "Least", "permit", "permitted", "rabbitmqctl", "remove", "said"]
