"""The hand-packed floor: the stock floor with Redis, without all that stands between it and the bytes.

The same queues, messages, sizes, headers and states; the same order: kept, then sent, then acknowledged; a reply
confirmed before its command is acknowledged. What differs is how: frames that are prepared but for the saga's name,
parsed out of the chunk they came in; one write and one multiple acknowledgement for a turn of the loop; one MSET for
all that came meanwhile; no task, future or parsed header for a message. No engine could be faster than this here.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from aiormq.abc import AbstractConnection

from benchmarks.floor import COMMAND_PREFETCH, FACT_PREFETCH, REPLY_PREFETCH, declare_queues
from benchmarks.hand_packed.journal import Journal
from benchmarks.hand_packed.link import Channel, Link, connected, opened_channel
from benchmarks.hand_packed.stamps import Stamp, entry_of, frames_of
from benchmarks.measuring import PATIENCE, Heard, Part
from benchmarks.samples import Samples
from benchmarks.shop import APPLICATION, SUBSCRIBER
from choros.transport.topology import Names
from choros.wire.envelope import Wire


class Driver:
    """Takes sagas through their steps."""

    def __init__(self, link: Link, journal: Journal, number: int) -> None:
        self.channel = Channel(number, self._replied)
        self.states: tuple[Stamp, ...] = ()
        self.messages: tuple[Stamp, ...] = ()
        """What follows from each state: three commands and the fact."""
        self._link, self._journal = link, journal
        self._step: dict[bytes, int] = {}
        self._waiting: dict[bytes, asyncio.Future[None]] = {}

    async def carry_out(self, saga: str) -> None:
        """One saga; the fact is on its way when this returns."""
        name = saga.encode()
        self._step[name] = 0
        done = self._waiting[name] = asyncio.get_running_loop().create_future()
        self._journal.keep(self.states[0](name), self._kept, name, 0)
        await done

    def _replied(self, saga: bytes, tag: int) -> None:
        step = self._step[saga] = self._step[saga] + 1
        self._journal.keep(self.states[step](saga), self._kept, saga, tag)

    def _kept(self, saga: bytes, tag: int) -> None:
        step = self._step[saga]
        self.channel.published += 1
        if tag:  # they are kept in the order in which they came
            self.channel.done = tag
        self._link.send(self.messages[step](saga))
        if step == len(self.messages) - 1:
            del self._step[saga]
            self._waiting.pop(saga).set_result(None)

    async def finish(self) -> None:
        """Wait for what is not confirmed yet."""
        async with asyncio.timeout(PATIENCE):
            await self.channel.settled()


class Participant:
    """Keeps and sends the reply for each command. The nth publish answers the nth delivery, so what confirms the one
    lets the other be acknowledged."""

    def __init__(self, link: Link, journal: Journal, number: int) -> None:
        self.channel = Channel(number, self._commanded, self._confirmed)
        self.kept: Stamp = bytes
        self.reply: Stamp = bytes
        self._link, self._journal = link, journal

    def _commanded(self, saga: bytes, tag: int) -> None:
        self._journal.keep(self.kept(saga), self._kept, saga, tag)

    def _kept(self, saga: bytes, tag: int) -> None:
        self._link.send(self.reply(saga))

    def _confirmed(self, number: int) -> None:
        self.channel.done = number
        self._link.stir()


class Subscriber:
    """Notes each fact."""

    def __init__(self, link: Link, journal: Journal, number: int, heard: Heard) -> None:
        self.channel = Channel(number, self._told)
        self.kept: Stamp = bytes
        self._link, self._journal, self._heard = link, journal, heard

    def _told(self, saga: bytes, tag: int) -> None:
        self._journal.keep(self.kept(saga), self._kept, saga, tag)

    def _kept(self, saga: bytes, tag: int) -> None:
        self._heard(saga.decode())
        self.channel.done = tag
        self._link.stir()


@dataclass(frozen=True)
class HandPacked:
    """A contestant: bytes."""

    url: str
    redis_url: str
    namespace: str
    samples: Samples
    saga: str
    """The saga that the samples are of; its name has the length of all others."""

    @asynccontextmanager
    async def opened(self, part: Part, heard: Heard) -> AsyncIterator[Driver]:
        """Connected and consuming."""
        await declare_queues(self.url, self.namespace)
        async with AsyncExitStack() as stack:
            journal = await Journal.opened(self.redis_url)
            stack.callback(journal.close)
            connection, link = await connected(self.url)
            stack.push_async_callback(connection.close)
            driver = await self._driver(connection, link, journal)
            services = await self._services(connection, link, journal, heard) if Part.SERVICES in part else {}
            names = Names(self.namespace)
            orders = {names.reply_queue(APPLICATION): driver.channel} if Part.ORCHESTRATOR in part else {}
            link.take({**services, **orders})
            yield driver
            await driver.finish()
            await link.let_go()

    async def _driver(self, connection: AbstractConnection, link: Link, journal: Journal) -> Driver:
        names, samples = Names(self.namespace), self.samples
        driver = Driver(link, journal, await opened_channel(connection, REPLY_PREFETCH))
        number = driver.channel.number
        driver.states = tuple(self._kept("state", state) for state in samples.states)
        orders = (self._frames(command, number, names.commands, to) for to, command, _ in samples.steps)
        driver.messages = (*orders, self._frames(samples.fact, number, names.facts, samples.fact.type or ""))
        return driver

    async def _services(
        self, connection: AbstractConnection, link: Link, journal: Journal, heard: Heard
    ) -> dict[str, Channel]:
        """By the queue."""
        names, services = Names(self.namespace), {}
        for to, _, reply in self.samples.steps:
            participant = Participant(link, journal, await opened_channel(connection, COMMAND_PREFETCH))
            number = participant.channel.number
            participant.kept = self._kept(to, reply.body.decode())
            participant.reply = self._frames(reply, number, names.replies, names.reply_queue(APPLICATION))
            services[names.service_queue(to)] = participant.channel
        subscriber = Subscriber(link, journal, await opened_channel(connection, FACT_PREFETCH), heard)
        subscriber.kept = self._kept("fact", "")
        services[names.subscriber_queue(SUBSCRIBER)] = subscriber.channel
        return services

    def _frames(self, wire: Wire, channel: int, exchange: str, key: str) -> Stamp:
        return frames_of(wire, self.saga, channel, exchange, key)

    def _kept(self, what: str, text: str) -> Stamp:
        return entry_of(f"{self.namespace}:{what}", text, self.saga)
