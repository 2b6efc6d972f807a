"""Exchanges, queues and bindings, declared and deleted by methods of a channel."""

from collections.abc import Callable, Mapping
from typing import Any

from pamqp import commands
from pamqp.base import Frame

from choros.errors import BrokerMisconfigured
from choros.transport.topology import Binding, Exchange, Queue, Topology
from choros_verify.simulation.amqp.refusals import inequivalent, not_found
from choros_verify.simulation.broker import SimBroker
from choros_verify.simulation.broker_queue import SimQueue


def _declare_exchange(broker: SimBroker, asked: Any) -> Frame:
    kind = broker.exchange(asked.exchange)
    if asked.passive:
        if kind is None:
            raise not_found("exchange", asked.exchange)
    elif kind is None:
        broker.declare(Topology("", exchanges=(Exchange(asked.exchange, asked.exchange_type),)))
    elif kind != asked.exchange_type:
        raise inequivalent("exchange", asked.exchange)
    return commands.Exchange.DeclareOk()


def _declare_queue(broker: SimBroker, asked: Any) -> Frame:
    if not asked.passive:
        try:
            broker.declare(Topology("", queues=(Queue(asked.queue, asked.arguments or {}),)))
        except BrokerMisconfigured:
            raise inequivalent("queue", asked.queue) from None
    seen = broker.attendance(asked.queue)
    if seen.state == "missing":
        raise not_found("queue", asked.queue)
    return commands.Queue.DeclareOk(asked.queue, seen.waiting, seen.consumers)


def _bind_queue(broker: SimBroker, asked: Any) -> Frame:
    if broker.found(asked.queue) is None:
        raise not_found("queue", asked.queue)
    _bind(broker, Binding(asked.exchange, asked.queue, asked.routing_key or ""))
    return commands.Queue.BindOk()


def _bind_exchange(broker: SimBroker, asked: Any) -> Frame:
    if broker.exchange(asked.destination) is None:
        raise not_found("exchange", asked.destination)
    _bind(broker, Binding(asked.source, asked.destination, asked.routing_key or "", to_exchange=True))
    return commands.Exchange.BindOk()


def _bind(broker: SimBroker, binding: Binding) -> None:
    if broker.exchange(binding.source) is None:
        raise not_found("exchange", binding.source)
    broker.declare(Topology("", bindings=(binding,)))


def _delete_queue(broker: SimBroker, asked: Any) -> Frame:
    waiting = broker.attendance(asked.queue).waiting
    if broker.found(asked.queue) is not None:  # else it is as it should be
        broker.delete_queue(asked.queue)
    return commands.Queue.DeleteOk(waiting)


def _delete_exchange(broker: SimBroker, asked: Any) -> Frame:
    broker.delete_exchange(asked.exchange)
    return commands.Exchange.DeleteOk()


def _purge(broker: SimBroker, asked: Any) -> Frame:
    queue = broker.found(asked.queue)
    if queue is None:
        raise not_found("queue", asked.queue)
    return commands.Queue.PurgeOk(queue.purge() if isinstance(queue, SimQueue) else 0)


ENTITY_METHODS: Mapping[str, Callable[[SimBroker, Any], Frame]] = {
    "Exchange.Declare": _declare_exchange,
    "Exchange.Bind": _bind_exchange,
    "Exchange.Delete": _delete_exchange,
    "Queue.Declare": _declare_queue,
    "Queue.Bind": _bind_queue,
    "Queue.Delete": _delete_queue,
    "Queue.Purge": _purge,
}
"""What to do for a method of this name, and what to answer; each raises ChannelRefusal."""
