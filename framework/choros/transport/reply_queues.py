"""Where the replies to an orchestrator application wait: each store has a queue of its own.

Two stores on one broker and in one namespace, such as a developer's and the real one, took each other's replies as
long as both consumed the queue of the application. That one is consumed on, for what names it still.
"""

from dataclasses import replace

from choros.transport.topology import Binding, Names, Queue, Topology, topology

UNUSED_FOR = 30 * 86_400_000
"""Milliseconds after which the broker deletes a reply queue that nobody has consumed: its store may be gone for good.
A reply that is lost with it is asked for again by the timers of its saga."""
UNUSED_FOR_A_WHILE = 3_600_000
"""The same where a store is gone with its process: there is a new one with each start."""


def reply_queue(namespace: str, application: str, store: str) -> str:
    """The queue of this application on the store with this identity."""
    queue = Names(namespace).reply_queue(application)
    return f"{queue}.{store}" if store else queue


def reply_queues(namespace: str, application: str, store: str, lasting: bool = True) -> Topology:
    """The queue of this store and that of the application, whose dead-letter queue they share."""
    names, own = Names(namespace), reply_queue(namespace, application, store)
    shared = topology(namespace, applications=[application])
    common = names.reply_queue(application)
    if own == common:
        return shared
    usual = next(queue.arguments for queue in shared.queues if queue.name == common)
    unused = UNUSED_FOR if lasting else UNUSED_FOR_A_WHILE
    arguments = {**usual, "x-dead-letter-routing-key": own, "x-expires": unused}
    bound = Binding(names.dead, names.dead_queue(common), own), Binding(names.replies, own, own)
    return replace(shared, queues=(*shared.queues, Queue(own, arguments)), bindings=(*shared.bindings, *bound))
