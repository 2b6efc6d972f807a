"""What has to exist on the broker for who acts on dead letters."""

from choros.transport.topology import PARKING_LIMIT, Binding, Exchange, Names, Queue, Topology

MOST_ACTS, MOST_ACTS_BYTES = 100_000, 256 * 1024**2
"""How many acts on dead letters are kept, and how much of them; the oldest go first."""


def acts_topology(namespace: str) -> Topology:
    """Where it is kept what people did with dead letters. Only who acts on them needs it."""
    acts = Names(namespace).acts
    arguments: dict[str, str | int] = {
        "x-queue-type": "quorum",
        "x-delivery-limit": PARKING_LIMIT,
        "x-max-length": MOST_ACTS,
        "x-max-length-bytes": MOST_ACTS_BYTES,
        "x-overflow": "drop-head",
    }
    return Topology(namespace, (Exchange(acts, "fanout"),), (Queue(acts, arguments),), (Binding(acts, acts),))
