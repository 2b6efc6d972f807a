"""What both Redis adapters share: connections that never repeat a command, checks of the server, named errors."""

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from contextvars import ContextVar
from itertools import islice
from math import inf
from types import MappingProxyType
from typing import Any
from weakref import WeakKeyDictionary

from redis import exceptions as redis_errors
from redis.asyncio import Connection, ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.maint_notifications import MaintNotificationsConfig

from choros.errors import ChorosError, StoreMisconfigured, UsageError, shown
from choros.store.redis.connections import Connections
from choros.store.redis.errors import leads_elsewhere, named
from choros.store.sagas import Room
from choros.store.together import Together
from choros.telemetry.logs import get_logger

_pack: Any = None
with suppress(ImportError):  # it is not required
    from hiredis import pack_command as _pack

RedisCommand = Sequence[str | int | float | bytes]
_SCAN_COUNT = 1000
_TRIPS = 2
"""Round trips under way at once: while one is on the wire, the next is written."""
_ADDRESS_HINT = "redis://:password@host:6379/0; / in a password is %2F, @ is %40."
dialling: ContextVar[Mapping[str, Any]] = ContextVar("choros.redis.dialling", default=MappingProxyType({}))
"""What else connections are made with: a simulated world gives its processes another class of them."""
_log = get_logger(__name__)
_SETTINGS = ("maxmemory-policy", "appendonly", "appendfsync")
_IN_INFO = {"maxmemory_policy": "maxmemory-policy", "aof_enabled": "appendonly"}
_AS_CONFIG = {"1": "yes", "0": "no"}


class Script:
    """A Lua script; Redis knows it by its hash."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.sha: str = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()

    def call(self, keys: Sequence[str], *arguments: str | int | float) -> RedisCommand:
        """The command that runs it."""
        return "EVALSHA", self.sha, len(keys), *keys, *arguments


class Server:
    """One Redis primary, and the connections to it.

    redis-py repeats a command whose answer was lost: a commit would then meet itself and be told "conflict".
    Hence no retries here. Commands go out as given, several in one round trip.
    """

    def __init__(self, url: str, connections: int, timeout: float) -> None:
        self.name: str = shown(url)
        self._timeout = timeout
        self._together = Together(self._talk_for_all, weigh=len, under_way=_TRIPS)
        self._moved = 0
        """How often the address may have come to lead elsewhere."""
        self._made: WeakKeyDictionary[Connection, int] = WeakKeyDictionary()
        try:
            maker = ConnectionPool.from_url(
                url,
                socket_timeout=None,  # it would make a task of each write; all that waits here has a bound of ours
                socket_connect_timeout=timeout,
                retry=Retry(NoBackoff(), 0),
                decode_responses=True,
                protocol=3,
                maint_notifications_config=MaintNotificationsConfig(enabled=False),
                **dialling.get(),
            )
            self._connections = Connections(maker, connections, timeout)
        except (ValueError, TypeError):
            raise UsageError(f"The address {self.name} means nothing.", _ADDRESS_HINT) from None

    @asynccontextmanager
    async def link(self) -> AsyncIterator[Connection]:
        """A connection for oneself; redis-py's errors leave it as ours."""
        with self.naming_errors():
            connection = await self._connections.take()
        try:
            await self._renewed(connection)
            yield connection
        finally:
            self._connections.give_back(connection)

    async def _renewed(self, connection: Connection) -> None:
        """One from before the address may have come to lead elsewhere is made anew before it is used again."""
        if self._made.setdefault(connection, self._moved) != self._moved:
            with self.naming_errors():
                await connection.disconnect(nowait=True)
                async with asyncio.timeout(self._timeout):
                    await connection.connect()  # type: ignore[no-untyped-call] # redis-py has no types here
            self._made[connection] = self._moved

    async def talk(self, commands: Sequence[RedisCommand]) -> list[Any]:
        """Send all, then read all, in one round trip that is shared with whoever else is waiting.

        An error answer is returned in its place, not raised.
        """
        return await self._together.ask(commands)

    async def _talk_for_all(self, asked: Sequence[Sequence[RedisCommand]]) -> list[list[Any]]:
        async with self.link() as connection:
            answers = iter(await self.talk_on(connection, [command for commands in asked for command in commands]))
        return [list(islice(answers, len(commands))) for commands in asked]

    async def talk_on(self, connection: Connection, commands: Sequence[RedisCommand]) -> list[Any]:
        """The same on a connection of one's own, shared with nobody. One that was lost stays lost: a new one in its
        place, as redis-py would make it, watches nothing."""
        with self.naming_errors():
            if not connection.is_connected:
                raise redis_errors.ConnectionError
            try:
                answers = await self._answers(connection, commands)
            except redis_errors.ConnectionError as error:  # redis-py raises some answers as if the connection were lost
                self._look(error)
                raise
            if any(self._look(answer) for answer in answers):
                await connection.disconnect(nowait=True)
            return answers

    def _look(self, answer: object) -> bool:
        """Whether the address may lead to another server by now, as after a failover by DNS or a load balancer. Then
        every connection made so far is let go of: they lead to the old primary for as long as it lives."""
        elsewhere = leads_elsewhere(answer)
        if elsewhere:
            _log.warning("choros.store.let_go", server=self.name, why=type(answer).__name__)
            self._moved += 1
        return elsewhere

    async def _answers(self, connection: Connection, commands: Sequence[RedisCommand]) -> list[Any]:
        answers = []
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(self._timeout) as patience:
            since = loop.time()
            await connection.send_packed_command(_packed(connection, commands), check_health=False)
            for _ in commands:
                if (now := loop.time()) > since + self._timeout / 100:  # many answers may take long, each may not
                    since = now
                    patience.reschedule(now + self._timeout)
                answers.append(await _answer(connection))
        return answers

    async def ask(self, *command: str | int | float) -> Any:
        """The answer to one command."""
        return self.checked((await self.talk([command]))[0])

    async def run(self, script: Script, calls: Sequence[RedisCommand]) -> list[Any]:
        """Run calls of one script in one round trip; where Redis has forgotten it, those that did not run once more."""
        return [self.checked(answer) for answer in await self.run_each(script, calls)]

    async def run_each(self, script: Script, calls: Sequence[RedisCommand]) -> list[Any]:
        """The same; an error answer is returned in its place, not raised."""
        answers = await self.talk(calls)
        forgotten = [i for i, answer in enumerate(answers) if isinstance(answer, redis_errors.NoScriptError)]
        if forgotten:
            again = await self.talk([("SCRIPT", "LOAD", script.text), *(calls[i] for i in forgotten)])
            for i, answer in zip(forgotten, again[1:], strict=True):
                answers[i] = answer
        return answers

    async def names(self, start: str, end: str = "") -> AsyncIterator[list[str]]:
        """Names of keys that start and end so, some at a time and some of them twice: by a scan of all that Redis
        holds, for there is no list of them."""
        pattern, cursor = f"{_literal(start)}*{_literal(end)}", None
        while cursor != "0":
            cursor, keys = await self.ask("SCAN", cursor or "0", "MATCH", pattern, "COUNT", _SCAN_COUNT)
            yield keys

    def checked(self, answer: Any) -> Any:
        """The answer, unless it is an error: then it is raised as one of ours."""
        if isinstance(answer, redis_errors.RedisError):
            raise self.named(answer) from answer
        return answer

    def named(self, error: Exception) -> ChorosError:
        """The error of ours that says what this server means."""
        return named(error, self.name)

    @contextmanager
    def naming_errors(self) -> Iterator[None]:
        """Turn what redis-py raises into our errors."""
        try:
            yield
        except (redis_errors.RedisError, OSError) as error:
            raise self.named(error) from error

    async def check(self) -> None:
        """Refuse a server that may forget what it was given; warn about one that a power cut sets back, and where it
        does not tell: CONFIG is often closed on hosted servers, and INFO says a part only."""
        settings = await self._settings()
        policy = settings.get("maxmemory-policy", "noeviction")
        if policy != "noeviction":
            raise StoreMisconfigured(
                f"Redis at {self.name} may evict keys (maxmemory-policy is {policy}).",
                "CONFIG SET maxmemory-policy noeviction, and the same in redis.conf.",
            )
        told = {name: settings.get(name, "unknown") for name in _SETTINGS}
        if told["appendonly"] == "no" or told["appendfsync"] not in ("always", "unknown"):
            _log.warning(
                "choros.store.not_durable",
                server=self.name,
                advice="Acknowledged sagas can be lost in a crash: set appendonly yes and appendfsync always.",
                **_worded(told),
            )
        elif "unknown" in told.values():
            _log.warning(
                "choros.store.unchecked",
                server=self.name,
                advice="It does not say whether it keeps what it acknowledges: see that it has maxmemory-policy"
                " noeviction, appendonly yes and appendfsync always.",
                **_worded(told),
            )

    async def _settings(self) -> Mapping[str, str]:
        questions = [("CONFIG", "GET", name) for name in _SETTINGS]
        answers = await self.talk([*questions, ("INFO", "memory"), ("INFO", "persistence")])
        told = [one for one in answers if not _is_closed(one) and self.checked(one) is not None]
        report = dict(_lines("\n".join(one for one in told if isinstance(one, str))))
        settings = {ours: _AS_CONFIG.get(report[its], report[its]) for its, ours in _IN_INFO.items() if its in report}
        for answer in told:
            if isinstance(answer, dict):
                settings.update(answer)
        return settings

    async def room(self) -> Room | None:
        """How full its memory is; None where that has no limit, or where it does not tell."""
        (answer,) = await self.talk([("INFO", "memory")])
        if _is_closed(answer):
            return None
        told = dict(_lines(str(self.checked(answer))))
        total = int(told.get("maxmemory", 0))
        used = int(told.get("used_memory", 0)) - int(told.get("mem_not_counted_for_evict", 0))
        return Room(f"The memory of Redis at {self.name}", used, total) if total else None

    async def close(self) -> None:
        """Let what is under way arrive, then close every connection."""
        await self._together.close()
        await self._connections.close()


def _packed(connection: Connection, commands: Sequence[RedisCommand]) -> list[bytes]:
    """As they go over the wire; redis-py does it in Python, which would be a tenth of what a commit costs."""
    if _pack is None:
        return list(connection.pack_commands(commands))
    return [b"".join(map(_pack, map(tuple, commands)))]


def _literal(text: str) -> str:
    return re.sub(r"([*?\[\]\\])", r"\\\1", text)


async def _answer(connection: Connection) -> Any:
    try:
        return await connection.read_response(timeout=inf)  # the caller has one around all answers
    except redis_errors.ResponseError as error:
        return error  # the next answers still wait on the wire


def _is_closed(answer: Any) -> bool:
    """Whether this one command is not for us; a server whose commands are all closed has something else to say."""
    return isinstance(answer, redis_errors.NoPermissionError) or (
        isinstance(answer, redis_errors.ResponseError) and "unknown command" in str(answer)
    )


def _worded(settings: Mapping[str, str]) -> dict[str, str]:
    return {name.replace("-", "_"): value for name, value in settings.items()}


def _lines(report: str) -> Iterable[tuple[str, str]]:
    for line in report.splitlines():
        name, colon, value = line.partition(":")
        if colon:
            yield name, value
