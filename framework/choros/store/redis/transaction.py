"""What a Redis handler works with: reads under WATCH, queued writes, one EXEC."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

from choros.errors import StoreMisconfigured, StoreUnreachable
from choros.sources import fresh_id, now
from choros.store.barrier import LEAVING, LISTED, MEMORIES, NEVER, Memory, Row, Transaction
from choros.store.local_undo import LocalUndo
from choros.store.redis.writes import Cell, Trial, Write
from choros.store.standing import Standing

if TYPE_CHECKING:  # whoever names the type of a transaction should not wait for a client to load
    from redis.asyncio import Connection

    from choros.store.redis.server import RedisCommand, Server

Value = str | int | float


class Conflict(Exception):
    """Somebody else has changed what this attempt read."""


class RedisTransaction(Transaction):
    """Reads see the database as it was before this transaction: a handler does not read its own writes.

    Every key that is read or written is watched; if any of them changes before the EXEC, the handler runs again.
    Keys are taken as they are given, without the namespace: they are the participant's own.
    """

    def __init__(self, server: Server, connection: Connection, prefix: str) -> None:
        self._server, self._connection, self._prefix = server, connection, prefix
        self._token = fresh_id()
        self._watched: set[str] = set()
        self._writes: list[Write] = []
        self._rows: dict[str, Row] = {}
        self._unfinished: set[str] = set()
        """Which of the rows that were read are in the index of these."""
        self._horizons: dict[Memory, float] = {}
        self._turn = asyncio.Lock()
        self.standing: Standing = Standing()
        self.local_undo: LocalUndo = self.standing.local_undo

    # --- reads ---

    async def get(self, key: str) -> str | None:
        """The string of this key."""
        return cast("str | None", await self._read("GET", key))

    async def exists(self, key: str) -> bool:
        """Whether the key is there."""
        return bool(await self._read("EXISTS", key))

    async def hget(self, key: str, field: str) -> str | None:
        """One field of a hash."""
        return cast("str | None", await self._read("HGET", key, field))

    async def hgetall(self, key: str) -> dict[str, str]:
        """All fields of a hash."""
        return cast("dict[str, str]", await self._read("HGETALL", key))

    async def smembers(self, key: str) -> set[str]:
        """All members of a set."""
        return set(await self._read("SMEMBERS", key))

    async def sismember(self, key: str, member: Value) -> bool:
        """Whether a set holds this member."""
        return bool(await self._read("SISMEMBER", key, member))

    async def lrange(self, key: str, start: int = 0, stop: int = -1) -> list[str]:
        """Elements of a list."""
        return cast("list[str]", await self._read("LRANGE", key, start, stop))

    # --- writes: queued, done by the EXEC or not at all ---

    async def set(self, key: str, value: Value) -> None:
        """Replace the key by a string."""
        self._queue(Write(command=("SET", key, value), needs=None, leaves="string", cells={("GET", key): value}))

    async def incrby(self, key: str, amount: int = 1) -> None:
        """Add to an integer."""
        command = ("INCRBY", key, amount)
        self._queue(Write(command=command, needs="string", leaves="string", counter=("GET", key), amount=amount))

    async def hset(self, key: str, fields: Mapping[str, Value]) -> None:
        """Set fields of a hash."""
        parts = [part for item in fields.items() for part in item]
        cells: dict[Cell, Value] = {("HGET", key, field): value for field, value in fields.items()}
        self._queue(Write(command=("HSET", key, *parts), needs="hash", leaves="hash", cells=cells))

    async def hincrby(self, key: str, field: str, amount: int = 1) -> None:
        """Add to an integer in a hash."""
        command, counter = ("HINCRBY", key, field, amount), ("HGET", key, field)
        self._queue(Write(command=command, needs="hash", leaves="hash", counter=counter, amount=amount))

    async def rpush(self, key: str, *values: Value) -> None:
        """Append to a list."""
        self._queue(Write(command=("RPUSH", key, *values), needs="list", leaves="list"))

    async def sadd(self, key: str, *members: Value) -> None:
        """Add to a set."""
        self._queue(Write(command=("SADD", key, *members), needs="set", leaves="set"))

    async def delete(self, key: str) -> None:
        """Take the key out."""
        self._queue(Write(command=("DEL", key), needs=None, leaves="none"))

    # --- the barrier ---

    async def read_row(self, key: str) -> Row | None:
        """The barrier row of this key, with what this transaction has written to it."""
        return (await self.read_rows([key]))[0]

    async def read_rows(self, keys: Sequence[str]) -> Sequence[Row | None]:
        """The same for several at once, in one trip."""
        if not (unread := [key for key in keys if key not in self._rows]):
            return [self._rows[key] for key in keys]
        names = [f"{self._prefix}row:{key}" for key in unread]
        # The rows first: whoever forgets one in between has moved the horizon by then.
        try:
            stored, horizons = await self._ask(names, ("MGET", *names), ("MGET", *horizon_keys(self._prefix)))
        except StoreMisconfigured as error:  # the row is ours: no handler has asked for what is not to be had
            self.standing.lose(error)
            raise
        self._horizons = {memory: float(at or NEVER) for memory, at in zip(MEMORIES, horizons, strict=True)}
        read = {key: to_row(key, one) for key, one in zip(unread, stored, strict=True)}
        self._unfinished.update(key for key, row in read.items() if row is not None and row.state == "unfinished")
        return [self._rows.get(key) or read[key] for key in keys]

    async def horizon(self, memory: Memory) -> float:
        """How far rows are forgotten, as it was right after the last row was read."""
        self.standing.check()
        return self._horizons.get(memory, NEVER)

    async def write_row(self, row: Row) -> None:
        """Insert or replace a barrier row."""
        self.standing.check()
        self._rows = {**self._rows, row.key: row}

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """A block whose writes are taken back when an exception leaves it."""
        mark, queued, rows = self.standing.enter(), len(self._writes), self._rows
        try:
            yield
        except BaseException:
            if self.standing.fail(mark):
                del self._writes[queued:]
                self._rows = rows
            raise
        self.standing.leave(mark)

    async def commit(self) -> None:
        """Try the writes out, then send them all; raises Conflict if something read has changed."""
        async with self._turn:  # a task that the handler has left behind has its answer first
            self.standing.check()
            self.standing.end()
            await self._commit()

    async def _commit(self) -> None:
        trial = Trial(self._writes)
        keys = [*trial.keys, *(f"{self._prefix}row:{key}" for key in self._rows)]
        if not keys:
            return
        answers = await self._server.talk_on(self._connection, [self._watch(keys), *trial.questions()])
        self._server.checked(answers[0])  # a WATCH that was refused guards nothing
        trial.judge(answers[1:])
        rows = [command for row in self._rows.values() for command in self._row_commands(row)]
        commands = [("MULTI",), *(write.command for write in self._writes), *rows, ("EXEC",)]
        try:
            answers = await self._server.talk_on(self._connection, commands)
        except StoreUnreachable:
            self._watched.clear()  # with the connection
            await self._settle()
            return
        self._check(answers)

    async def abandon(self) -> None:
        """Nothing of it is kept, and whoever uses this connection next must not go on watching."""
        self.standing.end()
        if self.watching or self._turn.locked():
            await self._connection.disconnect(nowait=True)
        async with self._turn:  # whoever was still reading has found out
            pass

    @property
    def watching(self) -> bool:
        """Whether the connection still watches keys: no EXEC has ended that."""
        return bool(self._watched)

    def _check(self, answers: Sequence[Any]) -> None:
        self._watched.clear()  # the EXEC has ended that
        done = answers[-1]
        if done is None:
            raise Conflict
        if isinstance(done, Exception):  # nothing was done, and the first refusal says why
            raise self._server.named(next(one for one in answers if isinstance(one, Exception)))
        if any(isinstance(one, Exception) for one in done):
            raise StoreMisconfigured(
                f"Redis at {self._server.name} did a transaction by half.", "the commands that choros offers only."
            )

    async def _settle(self) -> None:
        """The answer to the EXEC is lost: the row tells whether it happened.

        Where it did not, running again is safe even if the EXEC is still under way: its WATCH on the row fails then.
        """
        for key in self._rows:
            stored = await self._server.ask("GET", f"{self._prefix}row:{key}")
            if stored is not None and json.loads(stored)[3] == self._token:
                return
            raise Conflict
        raise StoreUnreachable(
            f"Redis at {self._server.name} lost a transaction that wrote no barrier row.",
            "run it again if that is safe.",
        )

    def _row_commands(self, row: Row) -> list[RedisCommand]:
        unsent, prune = f"{self._prefix}unsent", f"{self._prefix}prune"
        return [
            ("SET", f"{self._prefix}row:{row.key}", to_stored(row, self._token)),
            ("ZADD", unsent, int(now() * 1_000_000), row.key) if row.owes_reply else ("ZREM", unsent, row.key),
            ("ZADD", prune, repr(row.ends), row.key) if row.ends is not None else ("ZREM", prune, row.key),
            *self._by_state(row),
            *aging(self._prefix, row),
        ]

    def _by_state(self, row: Row) -> list[RedisCommand]:
        """What puts a row into the index of its state, or takes it out. Nobody writes one that was unfinished without
        having read it."""
        if row.state in LISTED:
            return [("ZADD", f"{self._prefix}{row.state}", repr(row.since), row.key)]
        before = ("unfinished",) if row.key in self._unfinished else LEAVING if row.state == "left" else ()
        return [("ZREM", f"{self._prefix}{state}", row.key) for state in before]

    def _watch(self, keys: list[str]) -> RedisCommand:
        # PING stands in where all of them are watched already, so that the answers keep their places.
        fresh = [key for key in keys if key not in self._watched]
        self._watched.update(fresh)
        return ("WATCH", *fresh) if fresh else ("PING",)

    async def _read(self, command: str, key: str, *arguments: Value) -> Any:
        return (await self._ask([key], (command, key, *arguments)))[0]

    async def _ask(self, keys: list[str], *commands: RedisCommand) -> list[Any]:
        """Watch these keys, and ask."""
        async with self._turn:  # two tasks on one connection would read each other's answers
            self.standing.check()
            try:
                answers = await self._server.talk_on(self._connection, [self._watch(keys), *commands])
                self._server.checked(answers[0])  # a WATCH that was refused guards nothing
            except StoreUnreachable as error:
                self.standing.lose(error)
                raise
            except BaseException:
                self.standing.spoil("had a call on its transaction cut short")
                raise
            return [self._answer(answer) for answer in answers[1:]]

    def _answer(self, answer: Any) -> Any:
        try:
            return self._server.checked(answer)
        except StoreUnreachable as error:  # as from one that has become a replica
            self.standing.lose(error)
            raise

    def _queue(self, write: Write) -> None:
        self.standing.check()
        self._writes.append(write)


def to_row(key: str, stored: Any) -> Row | None:
    """The row that was stored as this text."""
    if stored is None:
        return None
    values = json.loads(stored)
    state, reply, prune_at, _, began, since = values if len(values) == 6 else (*values, None, 0.0)
    moment = None if began is None else float(began)
    return Row(key=key, state=state, content=reply, prune_at=prune_at, began=moment, since=since)


def to_stored(row: Row, token: str) -> str:
    """The text that a row is stored as; the token says which transaction wrote it. A script has to read when it began:
    as a number, that would be rounded."""
    age = () if row.began is None else (repr(row.began), row.since)
    return json.dumps((row.state, row.content, row.prune_at, token, *age))


def aging(prefix: str, row: Row) -> list[RedisCommand]:
    """What puts a row into the index by age, or takes it out."""
    if row.memory:
        return [("ZADD", f"{prefix}aging:{row.memory}", repr(row.ages_from), row.key)]
    return [("ZREM", f"{prefix}aging:{memory}", row.key) for memory in MEMORIES]


def horizon_keys(prefix: str) -> list[str]:
    """Where the horizons are, one for each of `MEMORIES`."""
    return [f"{prefix}horizon:{memory}" for memory in MEMORIES]


def readable(key: str, stored: Any) -> Row | None:
    """A row that a newer version wrote must not hide the others: it is handed out as it is, for its reader to judge."""
    try:
        return to_row(key, stored)
    except (ValueError, TypeError):
        return Row(key=key, state="ok", content=str(stored))
