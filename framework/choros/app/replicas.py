"""Which processes of a service hear a fact, and how its queue is declared for that."""

from __future__ import annotations

from typing import Literal, cast, get_args

from choros.errors import DeclarationError
from choros.transport.topology import Subscription

Replicas = Literal["pool", "every", "singleton"]
REPLICAS: tuple[str, ...] = get_args(Replicas)


def subscription_of(service: str, ordered: bool, queue_limit: int, from_start: bool, replicas: str) -> Subscription:
    """How the queue of a service's facts is declared; raises DeclarationError."""
    if queue_limit < 0:
        raise DeclarationError(f"service {service!r}: queue_limit is {queue_limit}.", "0 for no limit.")
    if ordered and queue_limit:
        raise DeclarationError(
            f"service {service!r}: what a bounded queue drops comes back later, out of order.",
            "ordered=True or queue_limit, not both.",
        )
    if replicas not in REPLICAS:
        raise DeclarationError(f"service {service!r}: replicas={replicas!r}.", f"one of {', '.join(REPLICAS)}.")
    if replicas == "every" and (ordered or queue_limit or from_start):
        raise DeclarationError(
            f"service {service!r}: a queue that goes with its process is not ordered, nor bounded, and begins there.",
            "replicas='every' alone.",
        )
    return Subscription(service, ordered, queue_limit, cast("Replicas", replicas))
