"""One connection at a simulated Redis: what it watches, what it has queued, and the faults that strike it."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from choros_verify.simulation.faults import Fault
from choros_verify.simulation.pipe import Pipe
from choros_verify.simulation.redis.commands import verb_of, writes
from choros_verify.simulation.redis.keyspace import FULL, READ_ONLY
from choros_verify.simulation.redis.protocol import OK, CommandReader, RedisRefusal, SimpleString, Words, answer_bytes
from choros_verify.simulation.redis.scripts import OPERATIONS, WRITING
from choros_verify.simulation.redis.server import SimRedis

_CALLS = ("GET", "EXISTS", "HGET", "HGETALL", "SMEMBERS", "SISMEMBER", "LRANGE")
"""What handlers ask; what the adapters ask for themselves is behind a hash tag."""
_WELCOME = {"server": "redis", "version": "7.4.0", "proto": 3, "mode": "standalone", "role": "master"}
_WHILE_LOADING = ("HELLO", "CLIENT", "CONFIG", "INFO")
QUEUED = SimpleString("QUEUED")
_ABORTED = "EXECABORT Transaction discarded because of previous errors."


class RedisSession:
    """The server's end of a connection."""

    def __init__(self, server: SimRedis, target: str, pipe: Pipe) -> None:
        """`target`: what faults call the server."""
        self.demoted = False
        """Whether the server behind it is no primary any more."""
        self._server, self._target, self._pipe = server, target, pipe
        self._reader = CommandReader()
        self._waiting: deque[Words] = deque()
        self._struck: Sequence[Fault] | None = None
        self._answers: list[Any] = []
        self._watched: dict[str, int] = {}
        self._queue: list[Words] | None = None
        self._spoilt = self._gone = False
        self._done: dict[str, Callable[[Words], Any]] = {
            "HELLO": lambda words: _WELCOME, "CLIENT": lambda words: OK, "WATCH": self._watch,
            "UNWATCH": self._unwatch, "MULTI": self._multi, "EXEC": self._exec, "DISCARD": self._discard,
            "EVALSHA": self._run, "SCRIPT": self._learn,
        }  # fmt: skip
        server.join(self)

    # --- the pipe ---

    def received(self, data: bytes) -> None:
        """Commands have come, or a part of one."""
        self._waiting.extend(self._reader.commands(data))
        self.work()

    def ended(self) -> None:
        """Nobody waits for answers any more; what has come is done all the same."""
        self._gone = True
        if not self._waiting:
            self._server.leave(self)

    def end(self) -> None:
        """Close the connection."""
        self._waiting.clear()
        self._flush()
        self._pipe.end()

    def work(self) -> None:
        """Do what waits."""
        while self._waiting and not self._server.paused:
            self._take(self._waiting.popleft())
        self._flush()
        if self._gone and not self._waiting:
            self._server.leave(self)

    def _flush(self) -> None:
        answers, self._answers = self._answers, []
        if answers and not self._gone:
            self._pipe.answer(answer_bytes(answers))

    # --- what strikes it ---

    def _take(self, words: Words) -> None:
        """Do one command, and what is to go wrong with it."""
        if self._server.faults.away[self._target]:
            self._cut()
            return
        struck = self._faults(words) if self._struck is None else self._struck
        kinds: dict[str, float] = {fault.kind: fault.amount for fault in struck}
        if "stall" in kinds and self._struck is None:
            self._struck = struck
            self._waiting.appendleft(words)
            self._server.pause(kinds["stall"])
            return
        self._struck = None
        if not kinds:
            self._answers.append(self._answer(words))
        elif "deny" in kinds:
            self._discard([])
            self._answers.append(RedisRefusal("NOPERM User choros has no permissions to run this command"))
        elif {"refuse", "away"} & kinds.keys():
            self._cut()
        else:
            self._answer_struck(words, kinds)

    def _faults(self, words: Words) -> Sequence[Fault]:
        faults = self._server.faults
        if self._writes(words):
            return faults.count("write", self._target)
        if words[0] in _CALLS and not words[1].startswith("{"):
            return faults.count("call", self._target)
        return ()

    def _answer_struck(self, words: Words, kinds: dict[str, float]) -> None:
        self._server.strike(kinds)
        if "loading" in kinds:
            return
        answer = self._answer(words)
        if "silent" in kinds:
            self._flush()
            self._pipe.half_open()
        elif "unknown" in kinds:
            self._cut()
        else:
            self._answers.append(answer)
        if "lose" in kinds:
            self._server.lose(int(kinds["lose"]) or 1)

    def _cut(self) -> None:
        self._flush()
        self._waiting.clear()
        self._pipe.cut()

    def _writes(self, words: Words) -> bool:
        """Whether this is one of the occasions on which a store can fail: one commit, whatever it consists of."""
        name = words[0]
        if name == "EXEC":
            return any(map(writes, self._queue or ()))
        if self._queue is not None:
            return False
        return words[1] in WRITING if name == "EVALSHA" else writes(words)

    # --- what it answers ---

    def _answer(self, words: Words) -> Any:
        keys = self._server.keys
        keys.read_only = self.demoted
        keys.begin()
        try:
            if self._server.loading and words[0] not in _WHILE_LOADING:
                raise RedisRefusal("LOADING Redis is loading the dataset in memory")
            if self._queue is not None and words[0] not in ("EXEC", "DISCARD"):
                return self._enqueue(words)
            if words[0] in self._done:
                return self._done[words[0]](words[1:])
            return self._plain(words)
        except RedisRefusal as refusal:
            return refusal

    def _plain(self, words: Words) -> Any:
        verb = verb_of(words[0])
        if verb.writes:
            self._check(words[0])
            self._server.remember()
        return verb.do(self._server.keys, words[1:])

    def _check(self, name: str) -> None:
        """Raises what every command of this name is refused with right now."""
        verb, keys = verb_of(name), self._server.keys
        if verb.writes and self.demoted:
            raise RedisRefusal(READ_ONLY)
        if verb.grows and keys.full:
            raise RedisRefusal(FULL)

    # --- transactions ---

    def _watch(self, names: Words) -> SimpleString:
        for name in names:
            self._watched.setdefault(name, self._server.keys.touched(name))
        return OK

    def _unwatch(self, _: Words) -> SimpleString:
        self._watched.clear()
        return OK

    def _multi(self, _: Words) -> SimpleString:
        self._queue, self._spoilt = [], False
        return OK

    def _enqueue(self, words: Words) -> SimpleString:
        try:
            self._check(words[0])
        except RedisRefusal:
            self._spoilt = True
            raise
        assert self._queue is not None
        self._queue.append(words)
        return QUEUED

    def _discard(self, _: Words) -> SimpleString:
        self._queue = None
        return self._unwatch([])

    def _exec(self, _: Words) -> Any:
        queue, watched, keys = self._queue or [], dict(self._watched), self._server.keys
        self._discard([])
        if self._spoilt:
            raise RedisRefusal(_ABORTED)
        try:
            for words in queue:
                self._check(words[0])
        except RedisRefusal as refusal:
            raise RedisRefusal(f"EXECABORT Transaction discarded because of: {refusal}") from None
        if any(keys.touched(name) != touched for name, touched in watched.items()):
            return None
        self._server.remember()
        return [self._one_of(words) for words in queue]

    def _one_of(self, words: Words) -> Any:
        try:
            return verb_of(words[0]).do(self._server.keys, words[1:])
        except RedisRefusal as refusal:
            return refusal

    # --- scripts ---

    def _learn(self, words: Words) -> str:
        sha = hashlib.sha1(words[1].encode("latin-1"), usedforsecurity=False).hexdigest()
        self._server.scripts.add(sha)
        return sha

    def _run(self, words: Words) -> Any:
        sha, count, *rest = words
        if sha not in self._server.scripts:
            raise RedisRefusal("NOSCRIPT No matching script. Please use EVAL.")
        if sha in WRITING:
            self._server.remember()
        names, given = rest[: int(count)], rest[int(count) :]
        seeing = self._server.seeing(self._pipe.process, sha, given)
        try:
            answer = OPERATIONS[sha](self._server.keys, names, given)
        except RedisRefusal as refusal:
            raise RedisRefusal(f"{refusal} script: {sha}, on @user_script:1.") from None
        for seen in seeing:
            seen(answer)
        return answer
