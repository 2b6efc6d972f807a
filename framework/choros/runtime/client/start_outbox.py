"""Starts that lie beside the rows of whoever asked for them, written in one transaction, until the saga store has them.

They are rows of the barrier's table in a place of their own, under the id of the saga that they start.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, Self

from choros.app.app import App
from choros.app.sending import headers_text
from choros.errors import ChorosError, StoreUnreachable, UsageError
from choros.messages import Message
from choros.runtime.host.retention import SWEEP_SECONDS, keep_forgetting
from choros.runtime.orchestrator.start import Startable
from choros.runtime.orchestrator.work import Folded, Start
from choros.saga.saga import Saga
from choros.sources import now
from choros.store.barrier import AT_ONCE, Database, Row, Transaction, value_of
from choros.telemetry.logs import get_logger
from choros.values import replace
from choros.wire.own_headers import NO_HEADERS, Headers, read

log = get_logger(__name__)
Starting = Callable[..., Awaitable[str]]
SCAN_SECONDS = 0.5
"""How often it is looked for what nobody has started yet."""
_BEHIND_SECONDS = 60.0


def place_of(app: App) -> str:
    """Under what the starts of an application lie, where others share the database."""
    return f"{app.scope}.starts"


def start_row(app: App, saga: Saga[Any], message: Message, key: str | None, headers: Headers = NO_HEADERS) -> Row:
    """The row of a start; raises UsageError where the message or the key does not do."""
    work = Startable(app.scope, app.sagas, headers_text(headers)).work(saga, message, key)
    start = work.given
    assert isinstance(start, Start)
    content = {"saga": saga.name, "version": saga.version, "key": start.key, "digest": start.digest}
    if start.own_headers:
        content["headers"] = start.own_headers
    moment = now()
    return Row(
        key=work.saga_id, state="publishing", content=json.dumps({**content, "body": start.body}), began=moment,
        since=moment,
    )  # fmt: skip


def same_start(one: str, other: str) -> bool:
    """Whether two such rows ask for the same."""
    return bool(json.loads(one)["digest"] == json.loads(other)["digest"])


class StartsSagas(Protocol):
    """A client, as far as it starts sagas."""

    def with_headers(self, headers: Headers) -> Self:
        """The same, with these headers."""

    async def start(self, saga: Saga[Any], message: Message, *, key: str | None = None) -> str:
        """Start a saga, and return its id."""


def started_by(client: StartsSagas) -> Starting:
    """How this client starts what was asked for."""

    async def start(saga: Saga[Any], message: Message, *, key: str, headers: Headers) -> str:
        return await client.with_headers(headers).start(saga, message, key=key)

    return start


class StartRelay:
    """Has every start that was committed beside somebody's rows in the saga store: at least once, which is once, by its
    key. One that can never be carried out is set aside, with a line in the log."""

    def __init__(
        self, app: App, start: Starting, database: Database, *, remember: float, clock: Callable[[], float] = now,
        scan_every: float = SCAN_SECONDS,
    ) -> None:  # fmt: skip
        """`start`: as `started_by`. `remember`: for how many seconds it is known that a start was taken over; the saga
        store knows it for longer."""
        self._app, self._start, self.database = app, start, database
        self.meters: Callable[[Callable[[Folded], None]], object] | None = None
        """Has whoever starts them say what is begun."""
        self._remember, self._clock, self._scan_every = remember, clock, scan_every
        self._stopped = asyncio.Event()
        self.last_delivery: float | None = None
        """When it last took one over."""

    async def run(self) -> None:
        """Look for them until stopped."""
        forgetting = keep_forgetting(self.database, self._clock, {"outbox": self._remember}, SWEEP_SECONDS)
        sweeping = asyncio.ensure_future(forgetting)
        try:
            while not self._stopped.is_set():
                if await self.round() < AT_ONCE:
                    with suppress(TimeoutError):
                        await asyncio.wait_for(self._stopped.wait(), self._scan_every)
        finally:
            sweeping.cancel()
            await asyncio.wait({sweeping})

    def stop(self) -> None:
        """Look no more."""
        self._stopped.set()

    async def round(self) -> int:
        """Take over what is there, and say how many were; 0 where database or store is away."""
        try:
            rows = await self.database.listed("publishing", AT_ONCE)
            changed = [row for row in await asyncio.gather(*map(self._taken, rows)) if row is not None]
            if changed:
                value_of(*await self.database.run([partial(_write, changed)]))
        except StoreUnreachable:
            log.warning("choros.starts.put_off", where="database")
            return 0
        ended = sum(row.state != "publishing" for row in changed)
        self.last_delivery = self._clock() if ended else self.last_delivery
        return ended

    async def _taken(self, row: Row) -> Row | None:
        """The row as it is from now on; None where it stays: for later, or for a process that knows its saga."""
        try:
            start = json.loads(row.content)
            saga = self._app.sagas.get((start["saga"], start["version"]))
            if saga is None:
                return self._later(row)
            headers = read(start.get("headers", ""))
            await self._start(saga, saga.start.from_json(start["body"]), key=start["key"], headers=headers)
        except StoreUnreachable:
            log.warning("choros.starts.put_off", where="saga store")
            return None
        except (ChorosError, ValueError, KeyError, TypeError) as error:
            log.error("choros.start.set_aside", saga_id=row.key, error=type(error).__name__)
            return set_aside(row, error)
        return replace(row, state="left")

    def _later(self, row: Row) -> Row | None:
        """One that this process cannot read: behind the others for a while, so that many hold up nobody."""
        moment = self._clock()
        return None if row.since > moment else replace(row, since=moment + _BEHIND_SECONDS)


@dataclass(frozen=True, slots=True)
class SetAside:
    """A start that could not be carried out."""

    saga_id: str
    saga: str
    version: int
    key: str
    why: str
    since: float


def set_aside(row: Row, error: Exception) -> Row:
    """The row of one that could not be carried out. What is no error of ours may hold values: it is named, no more."""
    why = error.sentence if isinstance(error, ChorosError) else type(error).__name__
    try:
        start = json.loads(row.content)
    except ValueError:
        start = {"saga": "", "version": 0, "key": "", "body": row.content}
    return replace(row, state="mark", content=json.dumps({**start, "why": why}))


async def list_set_aside(database: Database, limit: int) -> Sequence[SetAside]:
    """Those that could not be carried out, oldest first; `database`: of the place of an application's starts."""
    rows = [row for row in await database.remembered("facts", 0.0, "", limit) if row.state == "mark"]
    return [
        SetAside(row.key, start["saga"], start["version"], start["key"], start.get("why", ""), row.since)
        for row, start in ((row, json.loads(row.content)) for row in rows)
    ]


async def start_again(database: Database, saga_id: str) -> None:
    """Have one that was set aside carried out by the role, once more; raises UsageError where there is none."""

    async def again(transaction: Transaction) -> None:
        row = await transaction.read_row(saga_id)
        if row is None or row.state != "mark":
            raise UsageError(f"No start {saga_id} is set aside here.", "choros starts list APP.")
        await transaction.write_row(replace(row, state="publishing"))

    value_of(*await database.run([again]))


async def _write(rows: Sequence[Row], transaction: Transaction) -> None:
    for row in rows:
        await transaction.write_row(row)
