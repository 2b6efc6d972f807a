"""What a role declares that nobody can declare for it, or that leads to what is not ours."""

from collections.abc import Awaitable
from typing import Protocol

from choros.app.foreign import ForeignFacts
from choros.app.service import Service
from choros.errors import BrokerMisconfigured
from choros.sources import fresh_id
from choros.transport.instances import instance_topology
from choros.transport.permissions import Rights
from choros.transport.topology import Names, Topology, topology


class Declare(Protocol):
    """Declares, once the broker is there."""

    def __call__(self, needed: Topology, rights: Rights, *, strictly: bool = False) -> Awaitable[None]:
        """With `strictly`, it has to be created."""


async def instance_of(service: Service, namespace: str, declare: Declare) -> str:
    """Which process of the service this is, where each has a queue of its own: that is declared here."""
    if service.subscription.replicas != "every":
        return ""
    instance = fresh_id()[-12:]
    await declare(instance_topology(Names(namespace), service.name, instance), Rights(), strictly=True)
    return instance


async def bind_foreign(foreign: ForeignFacts, namespace: str, declare: Declare) -> None:
    """Have what they publish come to a queue of ours; raises BrokerMisconfigured where they have no such exchange."""
    names, exchange = Names(namespace), foreign.exchange
    await declare(topology(namespace) + exchange.ours(names), exchange.rights(names))
    try:
        await declare(exchange.theirs(names), Rights())
    except BrokerMisconfigured as fault:
        raise BrokerMisconfigured(
            f"There are no foreign facts {foreign.name!r} to be had: {fault.sentence}",
            f"start what owns it first, or say create='topic' in ForeignFacts({foreign.name!r}).",
        ) from None
