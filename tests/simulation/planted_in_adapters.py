"""Bugs to plant into the adapters for Redis and SQLite, which only runs on these can find."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import pytest

from choros.errors import StoreUnreachable
from choros.store.redis.sagas import RedisStore
from choros.store.redis.server import RedisCommand, Script, Server
from choros.store.redis.transaction import Conflict, RedisTransaction
from choros.store.sagas import Committed, Transition
from choros.store.sqlite import rows
from choros.store.sqlite.barrier import SqliteDatabase
from choros.store.sqlite.writer import Request, Writer

# --- Redis ------------------------------------------------------------------------------------------------------------


def nothing_is_watched(patch: pytest.MonkeyPatch) -> None:
    """Two transactions on the same keys do not notice each other."""
    patch.setattr(RedisTransaction, "_watch", lambda self, keys: ("PING",))


def a_conflict_counts_as_done(patch: pytest.MonkeyPatch) -> None:
    """An EXEC that did nothing is taken for one that did."""
    check = RedisTransaction._check

    def gullible(self: RedisTransaction, answers: Sequence[Any]) -> None:
        with suppress(Conflict):
            check(self, answers)

    patch.setattr(RedisTransaction, "_check", gullible)


def a_lost_exec_counts_as_done(patch: pytest.MonkeyPatch) -> None:
    """Nobody looks whether it happened."""

    async def settled(self: RedisTransaction) -> None: ...

    patch.setattr(RedisTransaction, "_settle", settled)


def scripts_are_given_once(patch: pytest.MonkeyPatch) -> None:
    """A server that has forgotten them stays without."""
    given = set[str]()

    async def once(self: Server, script: Script, calls: Sequence[RedisCommand]) -> list[Any]:
        if script.sha not in given:
            given.add(script.sha)
            await self.talk([("SCRIPT", "LOAD", script.text)])
        return await self.talk(calls)

    patch.setattr(Server, "run_each", once)


def connections_to_what_was_the_primary_are_kept(patch: pytest.MonkeyPatch) -> None:
    """They lead to a replica for as long as it lives."""
    patch.setattr(Server, "_look", lambda self, answer: False)


def a_lost_answer_counts_as_a_commit(patch: pytest.MonkeyPatch) -> None:
    """The store's client believes the best."""
    commit = RedisStore.commit

    async def hopeful(self: RedisStore, batch: Sequence[Transition]) -> Sequence[Committed]:
        try:
            return await commit(self, batch)
        except StoreUnreachable:
            return [Committed.OK] * len(batch)

    patch.setattr(RedisStore, "commit", hopeful)


# --- SQLite -----------------------------------------------------------------------------------------------------------


def any_version_is_overwritten(patch: pytest.MonkeyPatch) -> None:
    """Nothing is compared before it is set."""
    compared, set_blindly = " AND version = ? AND transition_id = ?", " AND ? IS NOT NULL AND ? IS NOT NULL"
    patch.setattr(rows, "_UPDATE", rows._UPDATE.replace(compared, set_blindly))


def a_commit_that_failed_counts(patch: pytest.MonkeyPatch) -> None:
    """A service's database says that it is done when it is not."""
    commit = SqliteDatabase.commit

    async def hopeful(self: SqliteDatabase) -> None:
        with suppress(StoreUnreachable):
            await commit(self)

    patch.setattr(SqliteDatabase, "commit", hopeful)


def what_was_not_written_counts(patch: pytest.MonkeyPatch) -> None:
    """The same of the saga store."""

    async def told(self: Writer, requests: Sequence[Request], error: Exception) -> None:
        for request in requests:
            request.answer.set_result([Committed.OK] * len(request.batch))

    patch.setattr(Writer, "_not_written", told)


IN_REDIS = (
    nothing_is_watched, a_conflict_counts_as_done, a_lost_exec_counts_as_done, scripts_are_given_once,
    connections_to_what_was_the_primary_are_kept, a_lost_answer_counts_as_a_commit,
)  # fmt: skip
IN_SQLITE = (any_version_is_overwritten, a_commit_that_failed_counts, what_was_not_written_counts)
