"""The commands that choros gives to Redis, done on a keyspace; whatever it does not use, this server does not know."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from choros_verify.simulation.redis.keyspace import Keyspace, span_of
from choros_verify.simulation.redis.protocol import OK, RedisRefusal, SimpleString, Words

Doing = Callable[[Keyspace, Words], Any]
"""What a command does, given what stands behind its name."""
_SETTINGS = {"maxmemory-policy": "noeviction", "appendonly": "yes", "appendfsync": "always"}
_REPORT = "maxmemory:0\r\nmaxmemory_policy:noeviction\r\nused_memory:1000000\r\naof_enabled:1\r\n"


@dataclass(frozen=True, slots=True)
class RedisVerb:
    """One command that a server knows."""

    do: Doing
    writes: bool = False
    grows: bool = False
    """Whether it may need memory: it is refused where there is none, whatever it would come to."""


def time_of(keys: Keyspace) -> tuple[int, int]:
    """Seconds and microseconds, by the server's clock."""
    seconds, rest = divmod(round(keys.now() * 1_000_000), 1_000_000)
    return seconds, rest


def _set(keys: Keyspace, words: Words) -> SimpleString | None:
    key, value, *options = words
    if "NX" in options and keys.type_of(key) != "none":
        return None
    keys.put(key, value, lives=int(options[options.index("PX") + 1]) / 1000 if "PX" in options else None)
    return OK


def _mget(keys: Keyspace, words: Words) -> list[str | None]:
    return [keys.text(key) if keys.type_of(key) == "string" else None for key in words]


def _zadd(keys: Keyspace, words: Words) -> int:
    key, score, member = words
    return keys.set_score(key, float(score), member)


def _between(found: Sequence[tuple[float, str]], words: Words) -> list[Any]:
    """Those that LIMIT leaves, with their scores where that is asked for."""
    if "LIMIT" in words:
        skip, most = map(int, words[words.index("LIMIT") + 1 :][:2])
        found = found[skip:] if most < 0 else found[skip : skip + most]
    return [(member, score) if "WITHSCORES" in words else member for score, member in found]


def _zrange(keys: Keyspace, words: Words) -> list[Any]:
    key, first, last, *options = words
    return _between(_part(keys.ranked(key), first, last), options)


def _part(items: Sequence[Any], first: str, last: str) -> Sequence[Any]:
    """From one place to another one, counted from the end where negative."""
    start, end = (place + len(items) if place < 0 else place for place in (int(first), int(last)))
    return items[max(start, 0) : end + 1]


def _zrangebyscore(keys: Keyspace, words: Words) -> list[Any]:
    key, low, high, *options = words
    return _between(keys.within(key, span_of(low, high)), options)


def _zrevrangebyscore(keys: Keyspace, words: Words) -> list[Any]:
    key, high, low, *options = words
    return _between(keys.within(key, span_of(low, high))[::-1], options)


def _zrangebylex(keys: Keyspace, words: Words) -> list[Any]:
    """Of members with one score; from behind a member, or from the first, to the last."""
    key, low, _, *options = words
    return _between([one for one in keys.ranked(key) if low == "-" or one[1] > low[1:]], options)


def _hset(keys: Keyspace, words: Words) -> int:
    key, *pairs = words
    return keys.set_fields(key, dict(zip(pairs[::2], pairs[1::2], strict=True)))


def _scan(keys: Keyspace, words: Words) -> list[Any]:
    """All of them at once."""
    pattern = re.compile(_as_expression(words[words.index("MATCH") + 1]), re.DOTALL)
    return ["0", [key for key in keys.names() if pattern.fullmatch(key)]]


def _as_expression(pattern: str) -> str:
    """Of what Redis takes for a pattern only the star, and what a backslash takes for itself."""
    parts = re.findall(r"\\.|.", pattern, re.DOTALL)
    return "".join(".*" if part == "*" else re.escape(part[-1]) for part in parts)


_grows = partial(RedisVerb, writes=True, grows=True)
_shrinks = partial(RedisVerb, writes=True)

VERBS: Mapping[str, RedisVerb] = {
    "PING": RedisVerb(lambda keys, words: SimpleString("PONG")),
    "TIME": RedisVerb(lambda keys, words: [str(part) for part in time_of(keys)]),
    "INFO": RedisVerb(lambda keys, words: _REPORT),
    "CONFIG": RedisVerb(lambda keys, words: {words[1]: _SETTINGS[words[1]]}),
    "SCAN": RedisVerb(_scan),
    "TYPE": RedisVerb(lambda keys, words: SimpleString(keys.type_of(words[0]))),
    "EXISTS": RedisVerb(lambda keys, words: sum(keys.type_of(key) != "none" for key in words)),
    "DEL": _shrinks(lambda keys, words: keys.drop(words)),
    "GET": RedisVerb(lambda keys, words: keys.text(words[0])),
    "MGET": RedisVerb(_mget),
    "SET": _grows(_set),
    "INCRBY": _grows(lambda keys, words: keys.add(words[0], int(words[1]))),
    "HGET": RedisVerb(lambda keys, words: keys.fields(words[0]).get(words[1])),
    "HGETALL": RedisVerb(lambda keys, words: dict(keys.fields(words[0]))),
    "HVALS": RedisVerb(lambda keys, words: list(keys.fields(words[0]).values())),
    "HSET": _grows(_hset),
    "HINCRBY": _grows(lambda keys, words: keys.add_to_field(words[0], words[1], int(words[2]))),
    "LRANGE": RedisVerb(lambda keys, words: _part(keys.elements(words[0]), *words[1:])),
    "RPUSH": _grows(lambda keys, words: keys.append(words[0], words[1:])),
    "SMEMBERS": RedisVerb(lambda keys, words: frozenset(keys.members(words[0]))),
    "SISMEMBER": RedisVerb(lambda keys, words: int(words[1] in keys.members(words[0]))),
    "SADD": _grows(lambda keys, words: keys.include(words[0], words[1:])),
    "ZADD": _grows(_zadd),
    "ZREM": _shrinks(lambda keys, words: keys.drop_members(words[0], words[1:])),
    "ZRANGE": RedisVerb(_zrange),
    "ZRANGEBYSCORE": RedisVerb(_zrangebyscore),
    "ZRANGEBYLEX": RedisVerb(_zrangebylex),
    "ZREVRANGEBYSCORE": RedisVerb(_zrevrangebyscore),
}  # fmt: skip


def verb_of(name: str) -> RedisVerb:
    """What this name stands for; raises RedisRefusal."""
    if name not in VERBS:
        raise RedisRefusal(f"ERR unknown command '{name}', with args beginning with: ")
    return VERBS[name]


def writes(words: Words) -> bool:
    """Whether this command, by its name, may change what is held."""
    return words[0] in VERBS and VERBS[words[0]].writes
