"""What has to exist on the broker, as data: names and arguments as in `docs/protocol.md`; no connection."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Literal, Protocol

from choros.names import ORCHESTRATOR

RETRY_LADDER = (1, 5, 30, 120, 600)
"""Seconds that a failed fact waits before its next delivery; one queue for each."""
DELIVERY_LIMIT = 20
"""Deliveries of one message before the broker itself parks it: the last net for a handler that kills its
process."""
PARKING_LIMIT = 1_000_000_000
"""Deliveries of a parked message before the broker drops it, which is to say never. RabbitMQ 4 puts a limit of 20 on a
quorum queue that declares none, so looking at what is parked would in the end destroy it; 3.10 takes no -1."""
OF_ONE = "@"
"""In the name of a queue, before the process that it goes with. No service is called so."""


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


class LogArguments(Protocol):
    """A fact log, as far as its queue is concerned."""

    @property
    def arguments(self) -> Mapping[str, str | int]:
        """Those of its queue."""


@dataclass(frozen=True, slots=True)
class Topology:
    """Exchanges, queues and bindings in the order in which they can be declared."""

    namespace: str
    exchanges: tuple[Exchange, ...] = ()
    queues: tuple[Queue, ...] = ()
    bindings: tuple[Binding, ...] = ()
    writes: tuple[str, ...] = ()
    """Exchanges that whoever declares it publishes to, and so must be permitted to write to."""

    def __add__(self, other: Topology) -> Topology:
        return Topology(
            self.namespace,
            tuple(dict.fromkeys(self.exchanges + other.exchanges)),
            self.queues + tuple(q for q in other.queues if q not in self.queues),
            tuple(dict.fromkeys(self.bindings + other.bindings)),
            tuple(dict.fromkeys(self.writes + other.writes)),
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
    replicas: Literal["pool", "every", "singleton"] = "pool"
    """Which of its processes hears a fact: any one, each, or the only one that is at work."""


class Names:
    """Every name on the broker, from the namespace.

    Who may write to an exchange of its own, and to no other, can speak for nobody else: a delivery names the exchange
    that it was published to, wherever that leads."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace
        self.commands: str = f"{namespace}.commands"
        self.replies: str = f"{namespace}.replies"
        self.facts: str = f"{namespace}.facts"
        self.facts_by_type: str = f"{namespace}.facts.by-type"
        self.facts_log: str = f"{namespace}.facts.log"
        self.signals: str = f"{namespace}.signals"
        self.retry: str = f"{namespace}.retry"
        self.dead: str = f"{namespace}.dead"
        self.probe: str = f"{namespace}.retry.probe"
        self.marks: str = f"{namespace}.log.marks"
        self.acts: str = f"{namespace}.dead.acts"

    def service_queue(self, service: str) -> str:
        """Where a service's commands wait."""
        return f"{self.namespace}.{service}"

    def reply_queue(self, application: str) -> str:
        """Where the replies to one orchestrator application wait; also the address in `reply_to`."""
        return f"{self.replies}.{application}"

    def subscriber_queue(self, subscriber: str) -> str:
        """Where a subscriber's facts wait."""
        return f"{self.facts}.{subscriber}"

    def application_facts(self, application: str) -> str:
        """Where the facts wait that an application's orchestrators act on; no subscriber is called so."""
        return self.subscriber_queue(f"app.{application}")

    def replies_of(self, service: str) -> str:
        """The exchange that this service answers through, and nobody else."""
        return f"{self.namespace}.{service}.replies"

    def signals_of(self, service: str) -> str:
        """The exchange that this service signals through, and nobody else."""
        return f"{self.namespace}.{service}.signals"

    def signal_queue(self, application: str) -> str:
        """Where the signals to the sagas of one application wait."""
        return f"{self.signals}.{application}"

    def sagas_of(self, application: str) -> str:
        """The exchange by which the sagas of this application, and nobody else, talk to those nested in them."""
        return f"{self.namespace}.{application}.sagas"

    def facts_of(self, publisher: str) -> str:
        """The exchange that this application, service or program publishes its facts to, and nobody else."""
        return f"{self.namespace}.{publisher}.facts"

    def way_of(self, kind: str, source: str) -> str:
        """The exchange that a message of this kind from this source is published to."""
        whole, _, speaker = source.rpartition("/")
        if speaker == ORCHESTRATOR and kind != "fact":
            return self.sagas_of(whole.rpartition("/")[2])
        if kind == "command":
            return self.commands
        if kind == "signal":
            return self.signals_of(speaker)
        return self.replies_of(speaker) if kind == "reply" else self.facts_of(speaker)

    def is_way_of_facts(self, exchange: str) -> bool:
        """Whether this is some publisher's own exchange."""
        return exchange.endswith(".facts") and exchange.startswith(f"{self.namespace}.") and exchange != self.facts

    def is_way_of_signals(self, exchange: str) -> bool:
        """Whether this is some service's own exchange for signals."""
        own = exchange.endswith(".signals") and exchange != self.signals
        return own and exchange.startswith(f"{self.namespace}.")

    def is_way_of_replies(self, exchange: str) -> bool:
        """Whether this is some service's own exchange, or that of an application's sagas."""
        own = exchange.endswith((".replies", ".sagas")) and exchange != self.replies
        return own and exchange.startswith(f"{self.namespace}.")

    @staticmethod
    def detour_of(exchange: str) -> str:
        """The way around a queue that does not answer, for what is published to this exchange: an exchange and a queue
        of this name."""
        return f"{exchange}.detour"

    def retry_exchange(self, queue: str) -> str:
        """Where the owner of a queue puts what shall come to it again later; empty if the queue has no such thing."""
        return f"{queue}.retry" if queue.startswith(f"{self.facts}.") and OF_ONE not in queue else ""

    @staticmethod
    def retry_queue(queue: str, seconds: int) -> str:
        """Where a message waits before it goes back to `queue`."""
        return f"{queue}.retry.{seconds}s"

    @staticmethod
    def dead_queue(queue: str) -> str:
        """Where what could not be handled from `queue` is parked for a person."""
        return f"{queue}.dead"

    @staticmethod
    def working_queue(dead: str) -> str:
        """The queue whose dead letters come to this one; empty where it is for none."""
        return dead.removesuffix(".dead") if dead.endswith(".dead") else ""

    def kind_of(self, queue: str) -> Literal["command", "reply", "fact", "signal"]:
        """What waits in a working queue."""
        if queue.startswith(f"{self.signals}."):
            return "signal"
        if queue.startswith(f"{self.replies}."):
            return "reply"
        return "fact" if queue.startswith(f"{self.facts}.") else "command"

    def parking_exchange(self, queue: str) -> str:
        """What the owner of a queue parks through; the reply queues of all stores have that of their application."""
        if queue.startswith(f"{self.replies}."):
            queue = self.reply_queue(queue.removeprefix(f"{self.replies}.").partition(".")[0])
        return self.dead_queue(queue.partition(OF_ONE)[0])


def topology(
    namespace: str,
    *,
    services: Iterable[str] = (),
    applications: Iterable[str] = (),
    publishers: Iterable[str] = (),
    nesting: Iterable[str] = (),
    hearing: Mapping[str, Iterable[str]] = MappingProxyType({}),
    signalling: Iterable[str] = (),
    signalled: Iterable[str] = (),
    subscribers: Iterable[str | Subscription] = (),
    fact_log: LogArguments | None = None,
) -> Topology:
    """Everything that these services, orchestrator applications and subscribers need on the broker.

    `publishers` are the services and programs that publish facts of their own, `nesting` those applications that have
    sagas nested in others, and `hearing` the types of facts that an application acts on; `signalling` are the services
    that may signal sagas, and `signalled` the applications whose sagas they may."""
    names = Names(namespace)
    whole = _exchanges(names)
    for service in services:
        queue = names.service_queue(service)
        whole += working_queue(names, queue, Binding(names.commands, queue, service))
        whole += _own_way(names, names.replies_of(service), names.replies)
    for application in applications:
        queue = names.reply_queue(application)
        whole += working_queue(names, queue, Binding(names.replies, queue, queue))
    for publisher in (*applications, *publishers):
        whole += publisher_topology(names, publisher)
    for application in nesting:
        whole += _own_way(names, names.sagas_of(application), names.replies)
    for service in signalling:
        whole += _signal_hub(names) + _own_way(names, names.signals_of(service), names.signals)
    for application in signalled:
        queue = names.signal_queue(application)
        whole += _signal_hub(names) + working_queue(names, queue, Binding(names.signals, queue, queue))
    for application, types in hearing.items():
        queue = names.application_facts(application)
        whole += working_queue(names, queue, *(Binding(names.facts_by_type, queue, kind) for kind in types))
        whole += _ladder(names, queue)
    for subscriber in subscribers:
        wanted = Subscription(subscriber) if isinstance(subscriber, str) else subscriber
        queue = names.subscriber_queue(wanted.name)
        shared = wanted.replicas != "every"
        whole += _subscribed(names, queue, wanted) + _ladder(names, queue) if shared else parking(names, queue)
    return whole + _log(names, fact_log) if fact_log else whole


def _exchanges(names: Names) -> Topology:
    """What all share. Only the orchestrator writes to `commands`, everybody to `probe`, which leads nowhere, and to the
    others nobody but the broker: they are what the exchanges of each lead to."""
    return Topology(
        names.namespace,
        exchanges=(
            Exchange(names.commands, "direct"),
            Exchange(names.replies, "direct"),
            Exchange(names.facts, "fanout"),
            Exchange(names.facts_by_type, "topic"),
            Exchange(names.retry, "direct"),
            Exchange(names.dead, "direct"),
            Exchange(names.probe, "fanout"),
            Exchange(names.marks, "direct"),
        ),
        bindings=(Binding(names.facts, names.facts_by_type, to_exchange=True),),
    )


def _signal_hub(names: Names) -> Topology:
    """What the exchanges of those who signal lead to; only where somebody does."""
    return Topology(names.namespace, exchanges=(Exchange(names.signals, "direct"),))


def _own_way(names: Names, own: str, hub: str) -> Topology:
    """An exchange that only one role may write to. It keeps the routing key, so the hub routes as if it had got the
    message itself."""
    return Topology(
        names.namespace, exchanges=(Exchange(own, "fanout"),), bindings=(Binding(own, hub, to_exchange=True),)
    )


def publisher_topology(names: Names, publisher: str) -> Topology:
    """What one needs who publishes facts: an exchange of its own, and the way around a queue that does not answer."""
    facts = names.facts_of(publisher)
    return _own_way(names, facts, names.facts) + _detour(names, facts)


def _detour(names: Names, facts: str) -> Topology:
    """A queue that nothing stays in. What the broker itself takes out of it and publishes to the facts exchange waits
    for no queue there, as a publisher's channel does for one that does not answer."""
    detour = names.detour_of(facts)
    arguments: dict[str, str | int] = {"x-queue-type": "quorum", "x-message-ttl": 0, "x-dead-letter-exchange": facts}
    return Topology(
        names.namespace, (Exchange(detour, "fanout"),), (Queue(detour, arguments),), (Binding(detour, detour),)
    )


def working_queue(names: Names, queue: str, *entries: Binding) -> Topology:
    """A quorum queue with its dead-letter queue: at-least-once dead-lettering needs `reject-publish`.

    The broker parks through the exchange of all, who reads the queue through one that leads to this parking alone."""
    working: dict[str, str | int] = {
        "x-queue-type": "quorum",
        "x-delivery-limit": DELIVERY_LIMIT,
        "x-dead-letter-exchange": names.dead,
        "x-dead-letter-routing-key": queue,
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
    }
    return parking(names, queue) + Topology(names.namespace, queues=(Queue(queue, working),), bindings=entries)


def parking(names: Names, queue: str) -> Topology:
    """Where what cannot be handled from a queue is parked."""
    dead = names.dead_queue(queue)
    return Topology(
        names.namespace,
        exchanges=(Exchange(dead, "fanout"),),
        queues=(Queue(dead, {"x-queue-type": "quorum", "x-delivery-limit": PARKING_LIMIT}),),
        bindings=(Binding(names.dead, dead, queue), Binding(dead, dead)),
    )


def _subscribed(names: Names, queue: str, wanted: Subscription) -> Topology:
    """A subscriber's queue. A bounded one drops its oldest and has no dead-letter exchange: with `drop-head` that would
    be at most once at best, and would only move what is dropped into a queue without a bound."""
    usual = working_queue(names, queue, Binding(names.facts, queue))
    arguments = dict(usual.queues[-1].arguments)
    if wanted.ordered or wanted.replicas == "singleton":
        arguments["x-single-active-consumer"] = True
    if wanted.at_most:
        arguments = {name: value for name, value in arguments.items() if not name.startswith("x-dead-letter-")}
        arguments |= {"x-max-length": wanted.at_most, "x-overflow": "drop-head"}
    return replace(usual, queues=(*usual.queues[:-1], Queue(queue, arguments)))


def _log(names: Names, fact_log: LogArguments) -> Topology:
    """The log, where marks reach it through an exchange of their own (of a process before there was one: through the
    retry exchange), and nothing else but the facts."""
    log = names.facts_log
    bindings = (Binding(names.facts, log), Binding(names.marks, log, log), Binding(names.retry, log, log))
    return Topology(names.namespace, queues=(Queue(log, fact_log.arguments),), bindings=bindings)


def _ladder(names: Names, queue: str) -> Topology:
    """One queue per delay (a TTL per message would block at the head), leading back to this queue alone.

    The broker leads back through the exchange of all, and who reads the queue goes in through one of its own. Processes
    from before there was one go in through that of all as well."""
    own = names.retry_exchange(queue)
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
    entries = tuple(Binding(entry, rung.name, rung.name) for entry in (own, names.retry) for rung in rungs)
    return Topology(names.namespace, (Exchange(own, "direct"),), rungs, (Binding(names.retry, queue, queue), *entries))
