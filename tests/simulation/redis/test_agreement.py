"""The simulated server and a real one are given the same at random, and answer the same, and hold the same."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from contextlib import aclosing
from typing import Any

import pytest
from redis import exceptions as redis_errors

from choros.store.redis.barrier_scripts import FORGET_ROWS, PRUNE
from choros.store.redis.scripts import COMMIT, DUE, FORGET, LOAD, MARK_SENT, PUT_OFF
from choros.store.redis.server import RedisCommand, Server
from tests.simulation.redis.stage import RedisStage

pytestmark = pytest.mark.servers
SEEDS = range(5)
ROUNDS = 50
STATUSES = ("running", "compensating", "completed", "compensated")
NOW = 1.7e15, 1.9e15
"""Microseconds: whatever lies between the two is taken for a moment of a test."""
FAR = 8_000_000_000_000_000
"""A clock of a saga that is ahead of any server's."""


class Both:
    """A real server and the simulated one."""

    def __init__(self, url: str, namespace: str) -> None:
        stage = RedisStage(at_once=True)
        self.prefix = f"{{{namespace}}}:"
        self._real = Server(url, 2, 5.0)
        with stage.dialling("store"):
            self._simulated = Server("redis://store", 2, 5.0)

    async def ask(self, commands: Sequence[RedisCommand]) -> None:
        """Both are given these, on one connection of their own each."""
        answers = [await _answers(server, commands) for server in self._servers]
        assert answers[0] == answers[1], commands

    async def compare(self) -> None:
        """Both hold the same under the prefix."""
        found = [sorted([key async for keys in server.names(self.prefix) for key in keys]) for server in self._servers]
        assert found[0] == found[1]
        for key in found[0]:
            ((kind,), _) = [await _answers(server, [("TYPE", key)]) for server in self._servers]
            await self.ask([("TYPE", key), *([_look(kind, key)])])

    @property
    def _servers(self) -> tuple[Server, Server]:
        return self._real, self._simulated

    async def aclose(self) -> None:
        for server in self._servers:
            await server.close()


def _look(kind: str, key: str) -> RedisCommand:
    looks: dict[str, RedisCommand] = {
        "string": ("GET", key), "hash": ("HGETALL", key), "list": ("LRANGE", key, 0, -1),
        "set": ("SMEMBERS", key), "zset": ("ZRANGE", key, 0, -1, "WITHSCORES"),
    }  # fmt: skip
    return looks[kind]


async def _answers(server: Server, commands: Sequence[RedisCommand]) -> list[Any]:
    async with server.link() as connection:
        answers = zip(commands, await server.talk_on(connection, commands), strict=True)
        return [_plain(_told(command, answer)) for command, answer in answers]


def _told(command: RedisCommand, answer: Any) -> Any:
    """Without the server's time, and without the order of what has none."""
    if DUE.sha in command:
        return answer[2:]
    return sorted(answer) if command[0] == "SMEMBERS" and isinstance(answer, list) else answer


def _plain(answer: Any) -> Any:
    """An error as a text, without the place in the script; and no moment at which a test runs."""
    match answer:
        case redis_errors.RedisError():
            return f"{type(answer).__name__} {str(answer).partition(' script:')[0]}"
        case list():
            return [_plain(one) for one in answer]
        case dict():
            return {name: _plain(one) for name, one in answer.items()}
        case float() if NOW[0] < answer < NOW[1]:
            return "now"
        case str() if answer.isdecimal() and NOW[0] < int(answer) < NOW[1]:
            return "now"
    return answer


@pytest.fixture
async def both(redis_url: str, namespace: str, redis_client: object) -> Any:
    async with aclosing(Both(redis_url, namespace)) as both:
        yield both


# --- commands ---------------------------------------------------------------------------------------------------------


def a_command(chance: random.Random, prefix: str) -> RedisCommand:
    """One of those that choros gives, on one of a few keys: often of another type than it needs."""
    key, other = (f"{prefix}{chance.choice('abcdef')}" for _ in range(2))
    one, two = (chance.choice(("x", "y", "Zoë", "", "a\r\nb", "7", "-12", str(2**63 - 1))) for _ in range(2))
    score, low, high = (chance.choice(("-1", "0.1", "2.5", "1790000000.1234567", "1e20")) for _ in range(3))
    least = chance.choice(("-inf", low, f"({low}"))
    most = chance.choice(("+inf", high, f"({high}"))
    start, stop = chance.randint(-4, 4), chance.randint(-4, 4)
    scores: RedisCommand = chance.choice(((), ("WITHSCORES",), ("LIMIT", 1, 2), ("WITHSCORES", "LIMIT", 0, 2)))
    return chance.choice(
        (
            ("PING",), ("GET", key), ("MGET", key, other), ("SET", key, one), ("SET", key, one, "NX"),
            ("SET", key, one, "PX", 10_000_000), ("INCRBY", key, start), ("EXISTS", key, other), ("DEL", key, other),
            ("TYPE", key), ("HGET", key, one), ("HGETALL", key), ("HVALS", key), ("HSET", key, one, two, "f", two),
            ("HINCRBY", key, "f", stop), ("LRANGE", key, start, stop), ("RPUSH", key, one, two), ("SMEMBERS", key),
            ("SISMEMBER", key, one), ("SADD", key, one, two), ("ZADD", key, score, one), ("ZREM", key, one, two),
            ("ZRANGE", key, start, stop), ("ZRANGE", key, start, stop, "WITHSCORES"),
            ("ZRANGEBYSCORE", key, least, most, *scores), ("ZREVRANGEBYSCORE", key, most, least, *scores),
            ("UNKNOWN",),
        )
    )  # fmt: skip


def commands(chance: random.Random, prefix: str) -> list[RedisCommand]:
    """A few, at times as one transaction that watches."""
    some = [a_command(chance, prefix) for _ in range(chance.randint(2, 12))]
    ordered = [command for command in some if command[0] != "SMEMBERS"]
    ways: list[list[RedisCommand]] = [
        some,
        [("MULTI",), *ordered, ("EXEC",)],
        [("MULTI",), *some, ("DISCARD",), ("PING",)],
        [("WATCH", f"{prefix}a", f"{prefix}b"), *some, ("MULTI",), *ordered, ("EXEC",)],
        [("WATCH", f"{prefix}a"), some[0], ("UNWATCH",), ("MULTI",), *ordered, ("EXEC",)],
    ]
    return chance.choice(ways)


@pytest.mark.parametrize("seed", SEEDS)
async def test_commands_do_the_same(both: Both, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(ROUNDS):
        await both.ask(commands(chance, both.prefix))
    await both.compare()


# --- scripts ----------------------------------------------------------------------------------------------------------


class Calls:
    """Scripts called at random: on sagas that there are, with versions that are mostly right."""

    def __init__(self, chance: random.Random, prefix: str) -> None:
        self._chance, self._prefix = chance, prefix
        self._at = dict.fromkeys(("s1", "s2", "s3"), ("0", ""))
        self._numbered = 0

    def start(self) -> Iterator[RedisCommand]:
        """What both servers have to know."""
        for script in (COMMIT, LOAD, MARK_SENT, FORGET, DUE, PUT_OFF, PRUNE, FORGET_ROWS):
            yield ("SCRIPT", "LOAD", script.text)
        yield ("HSET", f"{self._prefix}saga:s1", "clock", FAR)

    def any(self) -> RedisCommand:
        """The next one."""
        ways = (self._commit,) * 5 + (self._load, self._mark_sent, self._forget, self._due, self._put_off)
        return self._chance.choice((*ways, self._prune, self._forget_rows, self._row, self._sabotage))()

    def _saga(self) -> tuple[str, str]:
        saga_id = self._chance.choice(list(self._at))
        return saga_id, f"{self._prefix}saga:{saga_id}"

    def _moment(self) -> str:
        return repr(self._chance.choice((5.0, 10.1, 10.25, 17.5, 1790000000.1234567)))

    def _commit(self) -> RedisCommand:
        chance, (saga_id, key) = self._chance, self._saga()
        version, transition = self._at[saga_id] if chance.random() < 0.9 else ("3", "t0")
        self._numbered += 1
        sent = [f"m{chance.randint(1, self._numbered)}" for _ in range(chance.randint(0, 2))]
        entries = [part for name in "ab" if chance.random() < 0.4 for part in (name, chance.choice(("", "text")))]
        outbox = [
            part
            for number in range(chance.randint(0, 2))
            for part in (chance.choice(("commands", "facts")), f"m{self._numbered}{number}", '{"e": "ë"}')
        ]
        status, kind = chance.choice(STATUSES), chance.choice(("trip:1", "trip:2", "trip:2:f00"))
        head = json.dumps(["trip", 1, "key", chance.choice(("digest", None)), "app", status])
        self._at[saga_id] = str(int(version) + 1), f"t{self._numbered}"
        return COMMIT.call(
            [key], self._prefix, saga_id, version, transition, *self._at[saga_id], head, "{}", kind, f"trip/{status}",
            self._moment(), chance.choice(("", self._moment())), chance.choice(("", "1 5.0 []")), self._moment(),
            len(sent), len(entries), *sent, *entries, *outbox,
        )  # fmt: skip

    def _load(self) -> RedisCommand:
        asked = [("s1", 0), ("s2", -1), ("s3", 2, "a", "none"), ("s4", 0)]
        names, parts = [f"{self._prefix}saga:{one[0]}" for one in asked], [part for one in asked for part in one]
        return LOAD.call(names, self._prefix, *parts)

    def _mark_sent(self) -> RedisCommand:
        saga_id, key = self._saga()
        return MARK_SENT.call([key], self._prefix, saga_id, *(f"m{self._numbered}{n}" for n in range(2)))

    def _forget(self) -> RedisCommand:
        saga_id, key = self._saga()
        rerun, keys_before = self._chance.choice(("s4", "s1")), self._chance.choice(("0.0", "1.0", "-9000000.0"))
        return FORGET.call([key], self._prefix, saga_id, rerun, self._moment(), keys_before)

    def _due(self) -> RedisCommand:
        keys = [f"{self._prefix}due:{kind}" for kind in ("trip:1", "trip:2", "trip:2:f00")]
        passed = self._chance.choice(((), ("s2",)))
        few = keys[: self._chance.randint(1, 3)]
        return DUE.call(few, self._moment(), 2, self._chance.choice(("", "20.5")), *passed)

    def _put_off(self) -> RedisCommand:
        saga_id, key = self._saga()
        return PUT_OFF.call([key], self._prefix, saga_id, self._chance.choice(("20.5", "5.0")), "30.25")

    def _row(self) -> RedisCommand:
        key = f"r{self._chance.randint(1, 4)}"
        index = self._chance.choice(("prune", "aging:commands", "unsent"))
        return self._chance.choice(
            (
                ("ZADD", f"{self._prefix}{index}", self._moment(), key),
                ("ZREM", f"{self._prefix}unsent", key),
                ("SET", f"{self._prefix}row:{key}", json.dumps(["ok", "reply", None, "token", self._moment(), 1.5])),
                ("SET", f"{self._prefix}row:{key}", self._chance.choice(("nonsense", '["ok"]', "{}", "7"))),
            )
        )

    def _prune(self) -> RedisCommand:
        return PRUNE.call([f"{self._prefix}prune"], self._prefix, self._moment(), 2)

    def _forget_rows(self) -> RedisCommand:
        names = [f"{self._prefix}aging:commands", f"{self._prefix}horizon:commands"]
        return FORGET_ROWS.call(names, self._prefix, self._moment(), self._chance.choice((0, 1)), 2)

    def _sabotage(self) -> RedisCommand:
        """Now and then somebody has been there by hand."""
        saga_id, key = self._saga()
        if self._chance.random() < 0.7:
            return ("PING",)
        self._at[saga_id] = "0", ""
        name = self._chance.choice(("outbox", "entries", "history", "row"))
        return self._chance.choice((("DEL", key), ("DEL", key), ("SET", f"{self._prefix}{name}:{saga_id}", "by hand")))


@pytest.mark.parametrize("seed", SEEDS)
async def test_scripts_do_the_same(both: Both, seed: int) -> None:
    calls = Calls(random.Random(seed), both.prefix)
    await both.ask(list(calls.start()))
    for _ in range(ROUNDS):
        await both.ask([calls.any() for _ in range(4)])
    await both.compare()
