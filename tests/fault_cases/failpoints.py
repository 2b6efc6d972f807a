"""Failpoints: the ports of a process, wrapped so that it kills itself at a named point; nothing in the product is.

`CHOROS_FAILPOINT=commit.after@2` is SIGKILL when `commit.after` is passed for the second time. Points: `commit`, `run`
(of a participant's database), `send`, `publish`, `mark_sent` and `ack`, each `.before` and `.after`; `run.within`,
after a handler and before its commit; `publish.between`, after the first of several facts.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from typing import Any, cast

from choros.store.barrier import Database, Job, Transaction
from choros.store.sagas import Store
from choros.transport.port import Consumer, Delivery, Published, Transport
from choros.wire.envelope import Envelope

WRAPPED = ("commit", "send", "publish", "mark_sent", "ack")


class Failpoint:
    """Where this process is to be killed; nowhere, if nothing is said."""

    def __init__(self, said: str) -> None:
        self.name, _, count = said.partition("@")
        self._left = int(count or 1)

    def passed(self, name: str) -> None:
        """Die here, if this is the place."""
        if name == self.name:
            self._left -= 1
            if not self._left:
                os.kill(os.getpid(), signal.SIGKILL)


class _Doomed:
    """Whatever is asked goes to the real thing; some of it passes failpoints."""

    def __init__(self, real: Any, failpoint: Failpoint) -> None:
        self._real, self._failpoint = real, failpoint

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._real, name)
        if name not in WRAPPED:
            return real

        async def passing(*arguments: Any) -> Any:
            if not arguments or arguments[0]:  # a batch that is empty is no point
                self._failpoint.passed(f"{name}.before")
            answer = await real(*arguments)
            if not arguments or arguments[0]:
                self._failpoint.passed(f"{name}.after")
            return answer

        return passing


class _DoomedTransport(_Doomed):
    async def consume(self, queue: str, prefetch: int) -> Consumer:
        return cast(Consumer, _DoomedConsumer(await self._real.consume(queue, prefetch), self._failpoint))

    async def publish(self, facts: Sequence[Envelope]) -> Sequence[Published]:
        self._failpoint.passed("publish.before")
        if self._failpoint.name == "publish.between" and len(facts) > 1:
            await self._real.publish(facts[:1])
            self._failpoint.passed("publish.between")
        published: Sequence[Published] = await self._real.publish(facts)
        self._failpoint.passed("publish.after")
        return published


class _DoomedConsumer(_Doomed):
    async def receive(self, limit: int) -> Sequence[Delivery]:
        return [cast(Delivery, _Doomed(one, self._failpoint)) for one in await self._real.receive(limit)]


class _DoomedDatabase(_Doomed):
    async def run(self, jobs: Sequence[Job[Any]]) -> Sequence[Any]:
        self._failpoint.passed("run.before")
        results: Sequence[Any] = await self._real.run([self._doom(job) for job in jobs])
        self._failpoint.passed("run.after")
        return results

    def _doom(self, job: Job[Any]) -> Job[Any]:
        async def doomed_job(transaction: Transaction) -> Any:
            result = await job(transaction)
            self._failpoint.passed("run.within")
            return result

        return doomed_job


def doomed_database(database: Database, failpoint: Failpoint) -> Database:
    """The same database, with failpoints."""
    return cast(Database, _DoomedDatabase(database, failpoint))


def doomed_store(store: Store, failpoint: Failpoint) -> Store:
    """The same store, with failpoints."""
    return cast(Store, _Doomed(store, failpoint))


def doomed_transport(transport: Transport, failpoint: Failpoint) -> Transport:
    """The same transport, with failpoints."""
    return cast(Transport, _DoomedTransport(transport, failpoint))
