"""What both Redis adapters share: connections that never repeat a command, checks of the server, named errors."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from itertools import islice
from math import inf
from typing import Any
from urllib.parse import urlsplit

import structlog
from redis import exceptions as redis_errors
from redis.asyncio import BlockingConnectionPool, Connection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.maint_notifications import MaintNotificationsConfig

from choros.errors import ChorosError, StoreMisconfigured, StoreUnreachable, UsageError
from choros.store.together import Together

Command = Sequence[str | int | float | bytes]
_TRIPS = 2
"""Round trips under way at once: while one is on the wire, the next is written."""
_log = structlog.get_logger(__name__)
_SETTINGS = ("maxmemory-policy", "appendonly", "appendfsync")


class Script:
    """A Lua script; Redis knows it by its hash."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()

    def call(self, keys: Sequence[str], *arguments: str | int | float) -> Command:
        """The command that runs it."""
        return "EVALSHA", self.sha, len(keys), *keys, *arguments


class Server:
    """A pool of connections to one Redis primary.

    redis-py repeats a command whose answer was lost: a commit would then meet itself and be told "conflict".
    Hence no retries here. Commands go out as given, several in one round trip.
    """

    def __init__(self, url: str, connections: int, timeout: float) -> None:
        self.name = masked(url)
        self._timeout = timeout
        self._together = Together(self._talk_for_all, under_way=_TRIPS)
        try:
            self._pool = BlockingConnectionPool.from_url(
                url,
                max_connections=connections,
                timeout=4 * timeout,
                socket_timeout=timeout,
                socket_connect_timeout=timeout,
                retry=Retry(NoBackoff(), 0),
                decode_responses=True,
                protocol=3,
                maint_notifications_config=MaintNotificationsConfig(enabled=False),
            )
        except ValueError:
            raise UsageError(f"The address {self.name} means nothing.", "redis://host:6379/0") from None

    @asynccontextmanager
    async def link(self) -> AsyncIterator[Connection]:
        """A connection for oneself; redis-py's errors leave it as ours."""
        with self.naming_errors():
            connection: Connection = await self._pool.get_connection()  # type: ignore[no-untyped-call] # redis-py has no types here
        try:
            yield connection
        finally:
            await self._pool.release(connection)

    async def talk(self, commands: Sequence[Command]) -> list[Any]:
        """Send all, then read all, in one round trip that is shared with whoever else is waiting.

        An error answer is returned in its place, not raised.
        """
        return await self._together.ask(commands)

    async def _talk_for_all(self, asked: Sequence[Sequence[Command]]) -> list[list[Any]]:
        async with self.link() as connection:
            answers = iter(await self.talk_on(connection, [command for commands in asked for command in commands]))
        return [list(islice(answers, len(commands))) for commands in asked]

    async def talk_on(self, connection: Connection, commands: Sequence[Command]) -> list[Any]:
        """The same on a connection of one's own, shared with nobody."""
        with self.naming_errors():
            await connection.send_packed_command(connection.pack_commands(commands))
            async with asyncio.timeout(self._timeout):
                return [await _answer(connection) for _ in commands]

    async def ask(self, *command: str | int | float) -> Any:
        """The answer to one command."""
        return self.checked((await self.talk([command]))[0])

    async def run(self, script: Script, calls: Sequence[Command]) -> list[Any]:
        """Run calls of one script in one round trip; where Redis has forgotten it, those that did not run once more."""
        answers = await self.talk(calls)
        forgotten = [i for i, answer in enumerate(answers) if isinstance(answer, redis_errors.NoScriptError)]
        if forgotten:
            again = await self.talk([("SCRIPT", "LOAD", script.text), *(calls[i] for i in forgotten)])
            for i, answer in zip(forgotten, again[1:], strict=True):
                answers[i] = answer
        return [self.checked(answer) for answer in answers]

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
        """Refuse a server that may forget what it was given; warn about one that a power cut sets back."""
        settings = await self._settings()
        policy = settings.get("maxmemory-policy", "unknown")
        if policy != "noeviction":
            raise StoreMisconfigured(
                f"Redis at {self.name} may evict keys (maxmemory-policy is {policy}).",
                "CONFIG SET maxmemory-policy noeviction, and the same in redis.conf.",
            )
        if (settings.get("appendonly"), settings.get("appendfsync", "always")) != ("yes", "always"):
            _log.warning(
                "store.redis.not_durable",
                server=self.name,
                appendonly=settings.get("appendonly", "unknown"),
                appendfsync=settings.get("appendfsync", "unknown"),
                advice="Acknowledged sagas can be lost in a crash: set appendonly yes and appendfsync always.",
            )

    async def _settings(self) -> Mapping[str, str]:
        commands: list[Command] = [("CONFIG", "GET", name) for name in _SETTINGS]
        answers = await self.talk([*commands, ("INFO", "memory"), ("INFO", "persistence")])
        configuration, sections = answers[: len(_SETTINGS)], answers[len(_SETTINGS) :]
        if not any(isinstance(answer, redis_errors.ResponseError) for answer in configuration):
            return {name: value for answer in configuration for name, value in answer.items()}
        # CONFIG is often closed on hosted servers; INFO says nearly the same.
        report = dict(_lines("".join(self.checked(section) for section in sections)))
        appendonly = "yes" if report.get("aof_enabled") == "1" else "no"
        return {"maxmemory-policy": report.get("maxmemory_policy", "unknown"), "appendonly": appendonly}

    async def close(self) -> None:
        """Let what is under way arrive, then close every connection."""
        await self._together.close()
        await self._pool.aclose()


async def _answer(connection: Connection) -> Any:
    try:
        return await connection.read_response(timeout=inf)  # one timeout is around all answers
    except redis_errors.ResponseError as error:
        return error  # the next answers still wait on the wire


def _lines(report: str) -> Iterable[tuple[str, str]]:
    for line in report.splitlines():
        name, colon, value = line.partition(":")
        if colon:
            yield name, value


def masked(url: str) -> str:
    """The address without user, password and options, fit for errors and logs."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


_BAD_LOGIN = (
    "does not accept this user and password",
    "check them in the address, and the user's permissions.",
)
_FULL = ("is out of memory and refused the write whole", "raise maxmemory; choros goes on by itself.")
_NOT_PRIMARY = (
    "is a replica and takes no writes",
    "the address of the primary; after a failover, just wait.",
)
_MEANINGS: tuple[tuple[type[Exception], type[ChorosError], tuple[str, str]], ...] = (
    (redis_errors.AuthenticationError, StoreMisconfigured, _BAD_LOGIN),
    (redis_errors.AuthorizationError, StoreMisconfigured, _BAD_LOGIN),
    (redis_errors.AuthenticationWrongNumberOfArgsError, StoreMisconfigured, _BAD_LOGIN),
    (redis_errors.NoPermissionError, StoreMisconfigured, _BAD_LOGIN),
    (redis_errors.OutOfMemoryError, StoreUnreachable, _FULL),
    (redis_errors.ReadOnlyError, StoreUnreachable, _NOT_PRIMARY),
    (redis_errors.BusyLoadingError, StoreUnreachable, ("is still loading its data", "wait.")),
    (redis_errors.MovedError, StoreMisconfigured, ("is part of a cluster", "a single primary.")),
)


def named(error: Exception, server: str) -> ChorosError:
    """The error of ours that says what Redis means; never with what was sent."""
    for kind, ours, (what, hint) in _MEANINGS:
        if isinstance(error, kind):
            return ours(f"Redis at {server} {what}.", hint)
    if isinstance(error, redis_errors.ResponseError):
        return _named_by_code(str(error).partition(" ")[0], server)
    return StoreUnreachable(f"Redis at {server} does not answer.", "start it, or check the address.")


def _named_by_code(code: str, server: str) -> ChorosError:
    if code in ("OOM", "EXECABORT"):
        return StoreUnreachable(f"Redis at {server} {_FULL[0]}.", _FULL[1])
    if code in ("NOAUTH", "WRONGPASS", "NOPERM"):
        return StoreMisconfigured(f"Redis at {server} {_BAD_LOGIN[0]}.", _BAD_LOGIN[1])
    if code in ("MISCONF", "BUSY", "MASTERDOWN", "NOREPLICAS", "UNBLOCKED", "TRYAGAIN", "CLUSTERDOWN"):
        return StoreUnreachable(f"Redis at {server} takes no writes now ({code}).", "look into its log.")
    code = code if code.isupper() else "an error"
    return StoreMisconfigured(
        f"Redis at {server} refused a command ({code}).", "a namespace that no other application writes to."
    )
