"""The queue of one process of a subscriber each of whose processes hears every fact: it goes with the process."""

from __future__ import annotations

from choros.transport.topology import DELIVERY_LIMIT, OF_ONE, Binding, Names, Queue, Topology

UNUSED_FOR = 600_000
"""Milliseconds without a consumer, after which the queue goes: a connection that is lost is back by then."""


def instance_name(subscriber: str, instance: str) -> str:
    """What one process of a subscriber is called, in its queue and in its inbox."""
    return f"{subscriber}{OF_ONE}{instance}"


def instance_topology(names: Names, subscriber: str, instance: str, unused_for: int = UNUSED_FOR) -> Topology:
    """Its queue. What it cannot handle is parked in one place for all processes; what is put back comes to each."""
    queue, shared = names.subscriber_queue(instance_name(subscriber, instance)), names.subscriber_queue(subscriber)
    arguments: dict[str, str | int] = {
        "x-queue-type": "quorum",
        "x-delivery-limit": DELIVERY_LIMIT,
        "x-dead-letter-exchange": names.dead_queue(shared),  # who declares it must be permitted to write there
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
        "x-expires": unused_for,
    }
    bindings = Binding(names.facts, queue), Binding(names.retry, queue, shared)
    return Topology(names.namespace, queues=(Queue(queue, arguments),), bindings=bindings)
