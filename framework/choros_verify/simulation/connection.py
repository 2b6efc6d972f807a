"""A logical connection of a simulated process: it is lost with all that was on its way, and comes back by itself."""

import asyncio
from collections.abc import Callable

from choros.errors import BrokerUnreachable
from choros_verify.simulation.broker import SimBroker
from choros_verify.simulation.connection_lane import SimLane
from choros_verify.simulation.transport_consumer import SimConsumer

SimResident = SimLane | SimConsumer
"""Who lives on a connection, and moves to the next one when it is lost."""


class SimConnection:
    """One connection, replaced whenever it is lost."""

    def __init__(self, broker: SimBroker, prepare: Callable[[], None], up: Callable[[], None]) -> None:
        self.up = False
        """Whether there is one right now."""
        self._broker = broker
        self._prepare = prepare
        self._came_up = up
        self._residents: list[SimResident] = []
        self._closed = False
        self._handle: asyncio.TimerHandle | None = None

    def open(self) -> None:
        """Connect for the first time; raises BrokerUnreachable."""
        if self._broker.away:
            raise BrokerUnreachable("The simulated broker is away.", "try again later.")
        self._set_up()

    def add(self, resident: SimResident) -> None:
        """Let somebody live here from now on."""
        self._residents.append(resident)
        if self.up:
            resident.housed()

    def lose(self, keep: bool = True) -> None:
        """It is lost, and dialled again after a while."""
        if not self.up:
            return
        self.up = False
        for resident in list(self._residents):
            resident.evicted(keep)
        self._dial_later()

    def close(self) -> None:
        """End it for good."""
        self._closed = True
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        if self.up:
            self.up = False
            for resident in list(self._residents):
                resident.evicted(True)

    def _dial_later(self) -> None:
        if not self._closed:
            network = self._broker.network
            self._handle = network.later(network.seconds(network.latency.reconnect), self._dial)

    def _dial(self) -> None:
        self._handle = None
        if self._broker.away:
            self._dial_later()
        else:
            self._prepare()
            self._set_up()
            self._came_up()

    def _set_up(self) -> None:
        self.up = True
        for resident in list(self._residents):
            resident.housed()
