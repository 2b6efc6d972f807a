"""A participant as somebody would write it who has never seen choros: aio-pika, sqlite3 and docs/protocol.md.

The numbers in comments are the rules of its section 5.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import uuid
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import aio_pika
from aio_pika.abc import AbstractIncomingMessage

CLOCK_SKEW, ONE_DAY = 60.0, 86_400.0
Headers = dict[str, Any]
Body = dict[str, Any]
Handler = Callable[[sqlite3.Connection, Body], tuple[str, Body]]
"""Business code: writes its effect, returns type and body of the reply, or raises No."""


class No(Exception):
    """A definite no; its argument is a code that the command declares."""


def quorum(name: str, namespace: str) -> dict[str, Any]:
    """Arguments of a working queue."""
    return {
        "x-queue-type": "quorum",
        "x-delivery-limit": 20,
        "x-dead-letter-exchange": f"{namespace}.dead",
        "x-dead-letter-routing-key": name,
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
    }


class Participant:
    """Carries the commands of one service out."""

    def __init__(self, url: str, namespace: str, service: str, database: str, handlers: dict[str, Handler]) -> None:
        self.url, self.namespace, self.service, self.handlers = url, namespace, service, handlers
        self.rows = sqlite3.connect(database, isolation_level=None)
        self.rows.execute("CREATE TABLE barrier (key TEXT PRIMARY KEY, state TEXT, answer TEXT, keep_until REAL)")
        self.answered: list[dict[str, Any]] = []
        self.commands: list[AbstractIncomingMessage] = []
        self.before: Callable[[str], Awaitable[None]] | None = None
        """Called with the operation before a command is looked at, for tests that reorder."""
        self.answers_through = f"{namespace}.{service}.replies"

    async def run(self) -> None:
        """Until cancelled."""
        connection = await aio_pika.connect(self.url)
        async with connection:
            channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
            await channel.set_qos(prefetch_count=10)
            queue = await self._declare(channel)
            self.replies = await channel.get_exchange(self.answers_through, ensure=False)
            self.dead = await channel.get_exchange(f"{self.namespace}.{self.service}.dead", ensure=False)
            await queue.consume(self._receive)
            await asyncio.Future()

    async def _declare(self, channel: aio_pika.abc.AbstractChannel) -> aio_pika.abc.AbstractQueue:
        ns, name = self.namespace, f"{self.namespace}.{self.service}"
        shared = {
            exchange: await channel.declare_exchange(f"{ns}.{exchange}", aio_pika.ExchangeType.DIRECT, durable=True)
            for exchange in ("commands", "replies", "dead")
        }
        own = [f"{name}.replies", f"{name}.dead"]
        replies, dead = [await channel.declare_exchange(one, aio_pika.ExchangeType.FANOUT, durable=True) for one in own]
        await shared["replies"].bind(replies)  # what is published to its own goes on to that of all
        for_ever: dict[str, Any] = {"x-queue-type": "quorum", "x-delivery-limit": 1_000_000_000}
        parking = await channel.declare_queue(f"{name}.dead", durable=True, arguments=for_ever)
        await parking.bind(f"{ns}.dead", name)
        await parking.bind(dead)
        queue = await channel.declare_queue(name, durable=True, arguments=quorum(name, ns))
        await queue.bind(f"{ns}.commands", self.service)
        return queue

    async def _receive(self, message: AbstractIncomingMessage) -> None:
        self.commands.append(message)
        headers = dict(message.headers)
        try:
            key, operation, body = self._checked(message, headers)
        except (KeyError, ValueError) as fault:
            await self._park(message, f"The command is not acceptable ({type(fault).__name__}).")
            return
        if self.before:
            await self.before(operation)
        answer = self._transact(message, headers, key, operation, body)
        await self._publish(answer)  # 6
        await message.ack()  # 7

    def _checked(self, message: AbstractIncomingMessage, headers: Headers) -> tuple[str, str, Body]:  # 1
        key = headers["cloudEvents_idempotencykey"]
        saga_id, path, _, operation = key.split(":")
        of_close = headers["cloudEvents_type"] == "choros.close.v1"
        if (
            headers["cloudEvents_specversion"] != "1.0"
            or headers["cloudEvents_sagakind"] != "command"
            or (operation == "do" and headers["cloudEvents_correlationid"] != saga_id)
            or headers["cloudEvents_sagastep"] != path
            or operation not in ("do", "undo", "close")
            or of_close is not (operation == "close")
            or not (of_close or headers["cloudEvents_type"] in self.handlers)
            or not (message.reply_to or "").startswith(f"{self.namespace}.replies.")
        ):
            raise ValueError
        body = json.loads(message.body)
        return key, operation, body

    async def _park(self, message: AbstractIncomingMessage, reason: str) -> None:
        notes = {
            "x-choros-reason": reason,
            "x-choros-failed-at": _rfc3339(datetime.now(UTC)),
            "x-choros-original-queue": f"{self.namespace}.{self.service}",
        }
        headers = {name: value for name, value in message.headers.items() if not name.startswith("x-")}
        copy = aio_pika.Message(message.body, headers={**headers, **notes}, delivery_mode=2, reply_to=message.reply_to)
        await self.dead.publish(copy, f"{self.namespace}.{self.service}")
        await message.ack()

    # --- the barrier ---

    def _transact(
        self, message: AbstractIncomingMessage, headers: Headers, key: str, operation: str, body: Body
    ) -> dict[str, Any]:
        """One transaction (2, 5). Nothing is awaited in it, so one command at a time is in it."""
        self.command, self.reply_to = headers, message.reply_to
        effect = key.rpartition(":")[0]
        self.rows.execute("BEGIN IMMEDIATE")
        try:
            answer = {"do": self._do, "undo": self._undo, "close": self._close}[operation](effect, body)
            self.rows.execute("COMMIT")
        except Exception as error:  # 4, 9, 11: a failure is answered and never stored
            with suppress(sqlite3.Error):
                self.rows.execute("ROLLBACK")
            failure = {"code": type(error).__name__, "kind": "failed", "step": headers["cloudEvents_sagastep"]}
            answer = self._answer("failed", "choros.failure.v1", failure)
        return answer

    def _do(self, effect: str, body: Body) -> dict[str, Any]:
        key, deadline = f"{effect}:do", self._expiry()
        state, stored = self._row(key)
        if stored:
            return stored
        if state == "tombstone":
            return self._keep(key, "tombstone", self._refusal("cancelled"), self._kept_until(key))
        refused_until = None if deadline is None else deadline + 2 * CLOCK_SKEW + ONE_DAY
        if deadline is not None and datetime.now(UTC).timestamp() > deadline + CLOCK_SKEW:
            return self._keep(key, "refused", self._refusal("expired"), refused_until)
        self.rows.execute("INSERT INTO barrier VALUES (?, 'running', '', NULL)", (key,))
        self.rows.execute("SAVEPOINT effect")
        try:
            type_, reply = self.handlers[self.command["cloudEvents_type"]](self.rows, body)
        except No as no:
            self.rows.execute("ROLLBACK TO effect")
            return self._keep(key, "refused", self._refusal(str(no)), refused_until)
        return self._keep(key, "ok", self._answer("ok", type_, reply))

    def _undo(self, effect: str, body: Body) -> dict[str, Any]:
        key = f"{effect}:undo"
        state, stored = self._row(key)
        if stored:
            return stored
        nothing = self._answer("ok", "choros.nothing-to-undo.v1", {})
        if state == "tombstone":
            stands = self._row(f"{effect}:do")[0] == "ok"
            return self._keep(key, "tombstone", self._refusal("cancelled") if stands else nothing)
        if self._row(f"{effect}:do")[0] != "ok":
            self._bury(effect)
            return self._keep(key, "ok", nothing)
        type_, reply = self.handlers[self.command["cloudEvents_type"]](self.rows, body)
        return self._keep(key, "ok", self._answer("ok", type_, reply))

    def _close(self, effect: str, body: Body) -> dict[str, Any]:
        key, target = f"{effect}:close:{body['of']}", f"{effect}:{body['of']}"
        _, stored = self._row(key)
        if stored:
            return stored
        state, outcome = self._row(target)
        if outcome and state in ("ok", "refused"):
            return self._keep(key, "ok", outcome)
        self._bury(effect)
        if body["of"] == "undo":
            self.rows.execute("INSERT OR IGNORE INTO barrier VALUES (?, 'tombstone', '', NULL)", (target,))
        return self._keep(key, "ok", self._answer("ok", "choros.closed.v1", {}))

    def _bury(self, effect: str) -> None:
        """A tombstone for the `do`, or a longer life for the row that is there."""
        key, deadline = f"{effect}:do", self._expiry()
        until = None if deadline is None else deadline + 2 * CLOCK_SKEW
        state, _ = self._row(key)
        if not state:
            self.rows.execute("INSERT INTO barrier VALUES (?, 'tombstone', '', ?)", (key, until))
        elif state != "ok":
            kept = self._kept_until(key)
            until = None if until is None or kept is None else max(until, kept)
            self.rows.execute("UPDATE barrier SET keep_until = ? WHERE key = ?", (until, key))

    def _row(self, key: str) -> tuple[str, dict[str, Any] | None]:
        row = self.rows.execute("SELECT state, answer FROM barrier WHERE key = ?", (key,)).fetchone()
        return (row[0], json.loads(row[1]) if row[1] else None) if row else ("", None)

    def _kept_until(self, key: str) -> float | None:
        (until,) = self.rows.execute("SELECT keep_until FROM barrier WHERE key = ?", (key,)).fetchone()
        return None if until is None else float(until)

    def _keep(self, key: str, state: str, answer: dict[str, Any], until: float | None = None) -> dict[str, Any]:
        self.rows.execute("INSERT OR REPLACE INTO barrier VALUES (?, ?, ?, ?)", (key, state, json.dumps(answer), until))
        return answer

    def _expiry(self) -> float | None:
        text = self.command.get("cloudEvents_doexpirytime", self.command.get("cloudEvents_expirytime"))
        return None if text is None else datetime.fromisoformat(text).timestamp()

    # --- answers ---

    def _refusal(self, code: str) -> dict[str, Any]:
        step = self.command["cloudEvents_sagastep"]
        return self._answer("refused", "choros.failure.v1", {"code": code, "step": step, "kind": "refused"})

    def _answer(self, outcome: str, type_: str, body: Body) -> dict[str, Any]:  # 13
        copied = ("subject", "correlationid", "idempotencykey", "saganame", "sagaversion", "sagastep", "sagaattempt")
        names = [f"cloudEvents_{name}" for name in (*copied, "traceparent", "tracestate")]
        headers = {name: self.command[name] for name in names if name in self.command}
        headers |= {
            "cloudEvents_specversion": "1.0",
            "cloudEvents_id": str(uuid.uuid4()),
            "cloudEvents_sagakind": "reply",
            "cloudEvents_type": type_,
            "cloudEvents_source": f"/{self.namespace}/{self.service}",
            "cloudEvents_time": _rfc3339(datetime.now(UTC)),
            "cloudEvents_causationid": self.command["cloudEvents_id"],
            "cloudEvents_sagaoutcome": outcome,
        }
        return {"to": self.reply_to, "headers": headers, "body": body}

    async def _publish(self, answer: dict[str, Any]) -> None:
        message = aio_pika.Message(
            json.dumps(answer["body"]).encode(),
            headers=answer["headers"],
            content_type="application/json",
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            message_id=uuid.uuid4().hex,
        )
        await self.replies.publish(message, answer["to"], mandatory=True, timeout=10)
        self.answered.append(answer)


def _rfc3339(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")
