"""A supervised connection: dial, prepare, serve its residents, watch; when lost, start again."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from itertools import chain
from typing import Protocol

import aiormq
from aiormq.abc import AbstractConnection
from aiormq.connection import TransportFactory
from aiormq.exceptions import ConnectionClosed
from yarl import URL

from choros.errors import BrokerUnreachable
from choros.sources import full_jitter
from choros.telemetry.logs import get_logger
from choros.transport.rabbitmq.address import Round
from choros.transport.rabbitmq.failures import CONNECTION_FAILURES, explained
from choros.transport.rabbitmq.hearing import hear_by
from choros.transport.rabbitmq.reader import Guarded
from choros.transport.rabbitmq.tasks import asked_for, end

_CLOSE_SECONDS = 5.0
_STABLE_SECONDS = 10.0
"""A connection that lived for so long was a good one: the next is dialled without much of a pause."""
_FIRST_TIMES = 4
"""Who gets no first connection ends: so one node is asked once more, and may take so many times as long. On a machine
on which everything starts at once a broker is slow, and may drop somebody in the handshake."""

_log = get_logger(__name__)


class Resident(Protocol):
    """Somebody who lives on a connection, and moves to the next one when it is lost."""

    async def serve(self, connection: AbstractConnection) -> None:
        """Work on this connection until cancelled, or until there is nothing left to do."""


class Link:
    """One connection to the broker, replaced whenever it is lost."""

    def __init__(
        self,
        addresses: tuple[URL, ...],
        prepare: Callable[[AbstractConnection], Awaitable[object]],
        connect_timeout: float,
        changed: Callable[[], None] = lambda: None,
        opening: TransportFactory | None = None,
    ) -> None:
        self.connection: AbstractConnection | None = None
        """The connection of the moment."""
        self._nodes = Round(addresses)
        self._prepare = prepare
        self._connect_timeout = connect_timeout
        self._opening = opening
        self._changed = changed
        self._residents: list[Resident] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._closings: set[asyncio.Task[None]] = set()
        self._supervisor: asyncio.Task[None] | None = None
        self._broken = asyncio.Event()
        self._closed = self._denied = False
        self._up = asyncio.Event()

    @property
    def name(self) -> str:
        """As the broker shows it."""
        return self._nodes.address.query["name"]

    @property
    def address(self) -> URL:
        """The node that was dialled last."""
        return self._nodes.address

    async def open(self) -> None:
        """Connect for the first time, to whichever node answers; raises BrokerUnreachable or BrokerMisconfigured."""
        if self._supervisor is None and not self._closed:
            first = await self._dial_all()
            self._supervisor = asyncio.create_task(self._supervise(first), name=f"choros link {self.name}")
            up = asyncio.create_task(self._up.wait())
            await asyncio.wait({up}, timeout=self._connect_timeout)
            up.cancel()

    def open_soon(self) -> None:
        """Connect without anybody waiting for it, however long it takes."""
        if self._supervisor is None and not self._closed:
            self._supervisor = asyncio.create_task(self._begin(), name=f"choros link {self.name}")

    @property
    def lost(self) -> bool:
        """Whether there is none, and it was lost or could not be had."""
        return (self._up.is_set() or self._denied) and self.connection is None

    def leave(self) -> None:
        """Give this connection up, and go to the next node."""
        if self.connection is not None:
            self._broken.set()

    def add(self, resident: Resident) -> None:
        """Let somebody live here from now on."""
        self._residents.append(resident)
        if self.connection is not None:
            self._house(resident, self.connection)

    async def close(self) -> None:
        """End it for good."""
        self._closed = True
        self._broken.set()  # in case the cancellation is swallowed on its way
        if self._supervisor is not None:
            self._supervisor.cancel()
            await asyncio.wait({self._supervisor}, timeout=_CLOSE_SECONDS)
        if self._closings:
            await asyncio.wait(self._closings, timeout=_CLOSE_SECONDS)

    async def _begin(self) -> None:
        await self._supervise(await self._redial(chain([0.0], full_jitter())))

    async def _supervise(self, connection: AbstractConnection) -> None:
        delays = full_jitter()
        while True:
            begun = asyncio.get_running_loop().time()
            try:
                await self._live(connection)
            except CONNECTION_FAILURES as failure:
                _log.warning("choros.broker.setup_failed", connection=self.name, why=type(failure).__name__)
            except Exception as error:  # without its supervisor the connection would be away for ever
                _log.error("choros.broker.setup_crashed", error=error, connection=self.name)
            finally:
                await self._tear_down(connection)
            if self._closed:
                return
            if asyncio.get_running_loop().time() - begun > _STABLE_SECONDS:
                delays = full_jitter()  # else a broker that only takes connections would be dialled without a pause
            connection = await self._redial(delays)

    async def _live(self, connection: AbstractConnection) -> None:
        closing = connection.closing
        with asked_for():
            await self._prepare(connection)
        self.connection = connection
        self._up.set()
        self._changed()
        for resident in list(self._residents):
            self._house(resident, connection)
        broken = asyncio.create_task(self._broken.wait())
        try:
            await asyncio.wait({closing, broken}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await end({broken})
        if not self._closed:
            _log.warning("choros.broker.connection_lost", connection=self.name)

    def _house(self, resident: Resident, connection: AbstractConnection) -> None:
        task = asyncio.create_task(self._serve(resident, connection))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, resident: Resident, connection: AbstractConnection) -> None:
        """A resident that fails costs the connection: starting again is the one repair there is."""
        try:
            with asked_for():
                await resident.serve(connection)
        except CONNECTION_FAILURES as failure:
            if not connection.is_closed:
                _log.warning("choros.broker.resident_failed", connection=self.name, why=repr(failure))
            self._broken.set()
        except Exception as error:
            _log.error("choros.broker.resident_crashed", error=error, connection=self.name)
            self._broken.set()
        else:
            self._residents.remove(resident)

    async def _tear_down(self, connection: AbstractConnection) -> None:
        self.connection = None
        self._miss()
        await end(self._tasks)
        self._broken.clear()
        closing = asyncio.create_task(_closed(connection))
        self._closings.add(closing)
        closing.add_done_callback(self._closings.discard)

    def _miss(self) -> None:
        """There is none, and there should be."""
        self._denied = True
        self._changed()

    async def _redial(self, delays: Iterator[float]) -> AbstractConnection:
        for seconds in delays:
            self._nodes.turn()  # the node that was lost is the last to be asked again
            await asyncio.sleep(seconds)
            if self._closed:
                raise asyncio.CancelledError  # the one that was asked for has been swallowed on its way
            try:
                connection = await self._dial()
            except Exception as failure:
                _log.warning("choros.broker.unreachable", connection=self.name, why=str(failure))
                self._miss()
            else:
                if self._up.is_set():
                    _log.info("choros.broker.connected_again", connection=self.name)
                return connection
        raise AssertionError("unreachable")

    async def _dial_all(self) -> AbstractConnection:
        """That none answers is the affair of whoever asks; that one of several does not, of the log."""
        failures: list[BrokerUnreachable] = []
        for times in [1] * len(self._nodes) + [_FIRST_TIMES]:
            try:
                connection = await self._dial(times)
            except BrokerUnreachable as failure:
                failures.append(failure)
                if times == 1:
                    self._nodes.turn()
            else:
                for missed in failures:
                    _log.warning("choros.broker.unreachable", connection=self.name, why=str(missed))
                return connection
        raise failures[-1]

    async def _dial(self, times: int = 1) -> AbstractConnection:
        """Not by aio-pika, whose connection closes itself when it is collected, wherever that happens to be."""
        guarded = Guarded(self._opening)
        try:
            with asked_for():
                async with asyncio.timeout(times * self._connect_timeout):
                    connection = await aiormq.connect(self.address, transport_factory=guarded)
        except CONNECTION_FAILURES as failure:
            raise explained(failure, self.address, guarded.closed_with) from failure
        hear_by(connection, guarded.hearing)
        return connection


async def _closed(connection: AbstractConnection) -> None:
    try:
        async with asyncio.timeout(_CLOSE_SECONDS):
            await connection.close(ConnectionClosed)
    except CONNECTION_FAILURES as failure:
        _log.debug("choros.broker.close_failed", why=type(failure).__name__)
