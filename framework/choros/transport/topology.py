"""What has to exist on the broker, as data: names and arguments as in `docs/protocol.md`; no connection."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from choros.transport.fact_log import FactLog

RETRY_LADDER = (1, 5, 30, 120, 600)
"""Seconds that a failed fact waits before its next delivery; one queue for each."""
DELIVERY_LIMIT = 20
"""Deliveries of one message before the broker itself parks it: the last net for a handler that kills its
process."""
PARKING_LIMIT = 1_000_000_000
"""Deliveries of a parked message before the broker drops it, which is to say never. RabbitMQ 4 puts a limit of 20 on a
quorum queue that declares none, so looking at what is parked would in the end destroy it; 3.10 takes no -1."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """An exchange; always durable."""

    name: str
    kind: str


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue; always durable."""

    name: str
    arguments: Mapping[str, str | int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Binding:
    """From an exchange to a queue, or to another exchange."""

    source: str
    destination: str
    key: str = ""
    to_exchange: bool = False


@dataclass(frozen=True, slots=True)
class Topology:
    """Exchanges, queues and bindings in the order in which they can be declared."""

    namespace: str
    exchanges: tuple[Exchange, ...] = ()
    queues: tuple[Queue, ...] = ()
    bindings: tuple[Binding, ...] = ()

    def __add__(self, other: Topology) -> Topology:
        return Topology(
            self.namespace,
            tuple(dict.fromkeys(self.exchanges + other.exchanges)),
            self.queues + tuple(q for q in other.queues if q not in self.queues),
            tuple(dict.fromkeys(self.bindings + other.bindings)),
        )

    def only(self, queue: str) -> Topology:
        """This queue alone, with its bindings; no queue if it is not known here."""
        return Topology(
            self.namespace,
            queues=tuple(known for known in self.queues if known.name == queue),
            bindings=tuple(binding for binding in self.bindings if binding.destination == queue),
        )


@dataclass(frozen=True, slots=True)
class Subscription:
    """How a subscriber wants its queue."""

    name: str
    ordered: bool = False
    """One consumer at a time, so that no replica overtakes another."""
    at_most: int = 0
    """How many facts may wait: beyond that the oldest are dropped, and the subscriber finds them in the log. 0 is no
    bound."""


class Names:
    """Every name on the broker, from the namespace."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace
        self.commands = f"{namespace}.commands"
        self.replies = f"{namespace}.replies"
        self.facts = f"{namespace}.facts"
        self.facts_by_type = f"{namespace}.facts.by-type"
        self.facts_log = f"{namespace}.facts.log"
        self.retry = f"{namespace}.retry"
        self.facts_detour = f"{namespace}.retry.facts"
        self.dead = f"{namespace}.dead"

    def service_queue(self, service: str) -> str:
        """Where a service's commands wait."""
        return f"{self.namespace}.{service}"

    def reply_queue(self, application: str) -> str:
        """Where the replies to one orchestrator application wait; also the address in `reply_to`."""
        return f"{self.replies}.{application}"

    def subscriber_queue(self, subscriber: str) -> str:
        """Where a subscriber's facts wait."""
        return f"{self.facts}.{subscriber}"

    @staticmethod
    def retry_queue(queue: str, seconds: int) -> str:
        """Where a message waits before it goes back to `queue`."""
        return f"{queue}.retry.{seconds}s"

    @staticmethod
    def dead_queue(queue: str) -> str:
        """Where what could not be handled from `queue` is parked for a person."""
        return f"{queue}.dead"


def topology(
    namespace: str,
    *,
    services: Iterable[str] = (),
    applications: Iterable[str] = (),
    subscribers: Iterable[str | Subscription] = (),
    fact_log: FactLog | None = None,
) -> Topology:
    """Everything that these services, orchestrator applications and subscribers need on the broker."""
    names = Names(namespace)
    whole = _exchanges(names)
    for service in services:
        queue = names.service_queue(service)
        whole += _working_queue(names, queue, Binding(names.commands, queue, service))
    for application in applications:
        queue = names.reply_queue(application)
        whole += _working_queue(names, queue, Binding(names.replies, queue, queue))
    for subscriber in subscribers:
        wanted = Subscription(subscriber) if isinstance(subscriber, str) else subscriber
        queue = names.subscriber_queue(wanted.name)
        whole += _subscribed(names, queue, wanted) + _ladder(names, queue)
    return whole + _log(names, fact_log) if fact_log else whole


def _exchanges(names: Names) -> Topology:
    """With the detour of facts: a queue that nothing stays in. What the broker itself takes out of it and publishes to
    the facts exchange waits for no queue there, as a publisher's channel does for one that does not answer."""
    detour: dict[str, str | int] = {
        "x-queue-type": "quorum",
        "x-message-ttl": 0,
        "x-dead-letter-exchange": names.facts,
    }
    return Topology(
        names.namespace,
        exchanges=(
            Exchange(names.commands, "direct"),
            Exchange(names.replies, "direct"),
            Exchange(names.facts, "fanout"),
            Exchange(names.facts_by_type, "topic"),
            Exchange(names.retry, "direct"),
            Exchange(names.dead, "direct"),
            Exchange(names.facts_detour, "fanout"),
        ),
        queues=(Queue(names.facts_detour, detour),),
        bindings=(
            Binding(names.facts, names.facts_by_type, to_exchange=True),
            Binding(names.facts_detour, names.facts_detour),
        ),
    )


def _working_queue(names: Names, queue: str, binding: Binding) -> Topology:
    """A quorum queue with its dead-letter queue: at-least-once dead-lettering needs `reject-publish`."""
    dead = names.dead_queue(queue)
    working: dict[str, str | int] = {
        "x-queue-type": "quorum",
        "x-delivery-limit": DELIVERY_LIMIT,
        "x-dead-letter-exchange": names.dead,
        "x-dead-letter-routing-key": queue,
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
    }
    return Topology(
        names.namespace,
        queues=(Queue(dead, {"x-queue-type": "quorum", "x-delivery-limit": PARKING_LIMIT}), Queue(queue, working)),
        bindings=(Binding(names.dead, dead, queue), binding),
    )


def _subscribed(names: Names, queue: str, wanted: Subscription) -> Topology:
    """A subscriber's queue. A bounded one drops its oldest and has no dead-letter exchange: with `drop-head` that would
    be at most once at best, and would only move what is dropped into a queue without a bound."""
    usual = _working_queue(names, queue, Binding(names.facts, queue))
    arguments = dict(usual.queues[-1].arguments)
    if wanted.ordered:
        arguments["x-single-active-consumer"] = True
    if wanted.at_most:
        arguments = {name: value for name, value in arguments.items() if not name.startswith("x-dead-letter-")}
        arguments |= {"x-max-length": wanted.at_most, "x-overflow": "drop-head"}
    return replace(usual, queues=(*usual.queues[:-1], Queue(queue, arguments)))


def _log(names: Names, fact_log: FactLog) -> Topology:
    """The log, where marks reach it through the retry exchange, and nothing else but the facts."""
    log = names.facts_log
    bindings = (Binding(names.facts, log), Binding(names.retry, log, log))
    return Topology(names.namespace, queues=(Queue(log, fact_log.arguments),), bindings=bindings)


def _ladder(names: Names, queue: str) -> Topology:
    """One queue per delay (a TTL per message would block at the head), leading back to this queue alone."""
    rungs = tuple(
        Queue(
            names.retry_queue(queue, seconds),
            {
                "x-queue-type": "quorum",
                "x-message-ttl": seconds * 1000,
                "x-dead-letter-exchange": names.retry,
                "x-dead-letter-routing-key": queue,
                "x-dead-letter-strategy": "at-least-once",
                "x-overflow": "reject-publish",
            },
        )
        for seconds in RETRY_LADDER
    )
    # Bound under their own names, so that nobody needs the default exchange, which leads to any queue.
    entries = tuple(Binding(names.retry, rung.name, rung.name) for rung in rungs)
    return Topology(names.namespace, queues=rungs, bindings=(Binding(names.retry, queue, queue), *entries))
