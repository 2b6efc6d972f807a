"""Sagas and rows of a simulated world in simulated Redis servers, behind the adapters that run in earnest."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, cast, get_args

from choros.errors import StoreUnreachable
from choros.store.barrier import LEAVING, Row
from choros.store.redis.barrier import RedisDatabase, RedisTransaction
from choros.store.redis.sagas import RedisStore, to_record
from choros.store.redis.scripts import COMMIT, FORGET
from choros.store.redis.transaction import readable
from choros.store.sagas import Channel, Record, Transition, Unsent
from choros_verify.simulation.faults import Faults
from choros_verify.simulation.keeping import LEDGER, Deed, Deleted, OnCommit, deeds_of
from choros_verify.simulation.pipe import Pipes
from choros_verify.simulation.processes import Process
from choros_verify.simulation.redis.dialling import Dialler
from choros_verify.simulation.redis.protocol import text_of
from choros_verify.simulation.redis.server import SimRedis


class RedisKeeping:
    """A server for each store and each database."""

    def __init__(self, pipes: Pipes, faults: Faults, time: Callable[[], float], on_commit: OnCommit) -> None:
        self._pipes, self._faults, self._time, self._on_commit = pipes, faults, time, on_commit
        self._servers: dict[str, SimRedis] = {}
        self._dialler = Dialler(pipes)

    def _server(self, name: str) -> SimRedis:
        if name not in self._servers:
            loses = any(fault.kind == "lose" for fault in self._faults.planned)
            self._servers[name] = SimRedis(self._pipes.network, self._faults, self._time, loses=loses)
        return self._servers[name]

    def sagas(self, name: str, namespace: str, identity: str) -> RedisSagas:
        """The store on the server of that name."""
        return RedisSagas(self._server(name), name, namespace, identity, self._dialler, self._on_commit)

    def rows(self, name: str, namespace: str) -> RedisRows:
        """The database on the server of that name."""
        return RedisRows(self._server(name), namespace, self._dialler)

    async def write(self, db: RedisTransaction, deed: Deed) -> None:
        """A key for each saga: handlers for different ones are in nobody's way."""
        key, text = f"{LEDGER}:{deed.saga_id}", ""
        with suppress(StoreUnreachable):
            text = await db.get(key) or ""
        with suppress(StoreUnreachable):
            await db.set(key, text + deed.line())

    def crashed(self, process: Process) -> None:
        """Its pipes are gone, and that is all there is of it."""

    def end(self) -> None:
        """There is nothing."""


class RedisSagas:
    """A saga store in a simulated Redis, seen from outside."""

    def __init__(
        self, server: SimRedis, name: str, namespace: str, identity: str, dialler: Dialler, on_commit: OnCommit
    ) -> None:
        self.identity = identity
        self._server, self._name, self._namespace, self._dialler = server, name, namespace, dialler
        self._on_commit = on_commit
        self._prefix = f"{{{namespace}}}:"
        self._deleted: dict[str, Deleted] = {}
        self._seen: tuple[int, Mapping[str, Record]] = (-1, {})
        self._read: dict[str, tuple[int, Record]] = {}
        server.founding |= {f"{self._prefix}identity", f"{self._prefix}schema"}
        server.keys.put(f"{self._prefix}identity", identity)  # it is in the name of a queue, which faults may strike
        server.witnesses += [(COMMIT.sha, self._commits), (FORGET.sha, self._forgets)]

    def view(self) -> RedisStore:
        """The adapter of a process that starts."""
        with self._dialler.to(self._server, self._name):
            return RedisStore("redis://store", self._namespace)

    def records(self) -> Mapping[str, Record]:
        """What there is, and what was deleted, as it was."""
        keys = self._server.keys
        if self._seen[0] != keys.written:
            start = f"{self._prefix}saga:"
            ids = [name.removeprefix(start) for name in keys.names() if name.startswith(start)]
            deleted = {saga_id: one.record for saga_id, one in self.deleted().items()}
            self._seen = keys.written, deleted | {saga_id: self._record(saga_id) for saga_id in ids}
        return self._seen[1]

    def _record(self, saga_id: str) -> Record:
        key, keys = f"{self._prefix}saga:{saga_id}", self._server.keys
        touched = keys.touched(key)
        if self._read.get(saga_id, (0,))[0] != touched:
            parts = [text_of(keys.fields(key)[name]) for name in ("version", "transition", "head", "state")]
            self._read[saga_id] = touched, to_record(saga_id, *parts)
        return self._read[saga_id][1]

    def deleted(self) -> Mapping[str, Deleted]:
        """What retention has deleted, unless the server has forgotten that."""
        keys = self._server.keys
        return {
            saga_id: one
            for saga_id, one in self._deleted.items()
            if keys.type_of(f"{self._prefix}over:{saga_id}") != "none"
        }

    def outbox(self) -> Sequence[tuple[float, str]]:
        """All that no broker has confirmed."""
        ranked = self._server.keys.ranked
        return [one for channel in get_args(Channel) for one in ranked(f"{self._prefix}unsent:{channel}")]

    # --- what it sees happen ---

    def _commits(self, process: str, given: Sequence[str]) -> Callable[[Any], None] | None:
        if given[0] != self._prefix:
            return None
        transition = transition_of([text_of(one) for one in given])
        return lambda done: self._on_commit(process, transition) if done else None

    def _forgets(self, process: str, given: Sequence[str]) -> Callable[[Any], None] | None:
        saga_id, keys = given[1], self._server.keys
        if given[0] != self._prefix or keys.type_of(f"{self._prefix}saga:{saga_id}") == "none":
            return None
        sends = keys.type_of(f"{self._prefix}outbox:{saga_id}") != "none"
        deleted = Deleted(asyncio.get_running_loop().time(), self._record(saga_id), sends)

        def seen(done: Any) -> None:
            if done == 1:
                self._deleted[saga_id] = deleted

        return seen


def transition_of(given: Sequence[str]) -> Transition:
    """The transition that a call of the script commits, read back from what that is given."""
    saga_id, previous, version, transition, head, state = given[1], *given[3:8]
    sent_end = 16 + int(given[14])
    entries_end = sent_end + int(given[15])
    entries, outbox = given[sent_end:entries_end], given[entries_end:]
    return Transition(
        to_record(saga_id, version, transition, head, state),
        previous,
        tuple(Unsent(id, cast(Channel, on), text) for on, id, text in zip(*[iter(outbox)] * 3, strict=True)),
        tuple(given[16:sent_end]),
        given[12].split(" ", 2)[2] if given[12] else "",
        dict(zip(entries[::2], entries[1::2], strict=True)),
    )


class RedisRows:
    """A database in a simulated Redis, seen from outside."""

    def __init__(self, server: SimRedis, namespace: str, dialler: Dialler) -> None:
        self._server, self._namespace, self._dialler = server, namespace, dialler
        self._prefix = f"{{{namespace}}}:barrier:"
        server.founding.add(f"{self._prefix}schema")

    def view(self, name: str) -> RedisDatabase:
        """The adapter of a process that starts."""
        with self._dialler.to(self._server, name):
            return RedisDatabase("redis://database", self._namespace)

    def rows(self) -> Mapping[str, Row]:
        """The rows of the barrier."""
        found = ((name, readable(name, text_of(text))) for name, text in self._texts(f"{self._prefix}row:"))
        return {text_of(name): row for name, row in found if row is not None}

    def owes(self) -> bool:
        """Whether a reply is not confirmed, or what a handler has published."""
        return any(self._server.keys.type_of(f"{self._prefix}{name}") != "none" for name in ("unsent", *LEAVING))

    def deeds(self) -> Sequence[Deed]:
        """What handlers have written into the ledger."""
        return [deed for _, text in self._texts(f"{LEDGER}:") for deed in deeds_of(text)]

    def _texts(self, start: str) -> list[tuple[str, str]]:
        keys = self._server.keys
        names = [name for name in keys.names() if name.startswith(start)]
        return [(name.removeprefix(start), keys.text(name) or "") for name in names]
