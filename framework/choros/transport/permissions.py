"""Who needs to do what on the broker: the least that each role runs with, once its topology is declared.

Nobody configures anything, but for the queues of processes that each hear all facts, so nobody else can bind a queue of
his own to what others say. Each writes only to exchanges that are his own, whose name a receiver trusts, and reads only
his own queues."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from choros.transport.instances import instance_name
from choros.transport.reply_queues import reply_queue
from choros.transport.topology import Names, Subscription, Topology

NOTHING = "^$"
"""RabbitMQ's pattern that fits no name of ours."""
EVERY_STORE = "<store>"
"""Stands in a name for the identity of a store, or of a process, whichever it is: permissions outlive them."""


@dataclass(frozen=True, slots=True)
class Rights:
    """What a role may do: the exchanges that it writes to, and the queues that it reads."""

    writes: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    configures: tuple[str, ...] = ()
    """Queues that it creates by itself, since each of its processes has one of its own."""

    def __or__(self, other: Rights) -> Rights:
        pairs = (self.writes, other.writes), (self.reads, other.reads), (self.configures, other.configures)
        return Rights(*(tuple(dict.fromkeys(first + second)) for first, second in pairs))

    @property
    def patterns(self) -> tuple[str, str, str]:
        """As RabbitMQ takes them: configure, write, read."""
        return pattern(self.configures), pattern(self.writes), pattern(self.reads)


def pattern(names: Iterable[str]) -> str:
    """A regular expression that fits exactly these names."""
    fitting = sorted(name.replace(".", r"\.").replace(EVERY_STORE, "[0-9a-f]{12}") for name in names)
    if len(fitting) == 1:
        return f"^{fitting[0]}$"
    return f"^({'|'.join(fitting)})$" if fitting else NOTHING


def participant(names: Names, service: str) -> Rights:
    """Reads its commands, answers them, parks what it cannot read."""
    queue = names.service_queue(service)
    return Rights((names.replies_of(service), Names.dead_queue(queue), names.probe), (queue,))


def subscriber(names: Names, subscription: Subscription, *, reads_log: bool = False) -> Rights:
    """Reads its facts, puts those that fail aside, parks what it cannot handle; some read the log up to a mark."""
    if subscription.replicas == "every":
        return instances(names, subscription.name)
    own = _facts(names, names.subscriber_queue(subscription.name))
    return own | Rights((names.marks,), (names.facts_log,)) if reads_log else own


def instances(names: Names, subscriber: str) -> Rights:
    """Creates the queue of each process, binds it to what all facts go through, and parks what it cannot handle."""
    shared = names.subscriber_queue(subscriber)
    own = names.subscriber_queue(instance_name(subscriber, EVERY_STORE))
    return Rights((own, Names.dead_queue(shared), names.probe), (own, names.facts, names.retry), (own,))


def _facts(names: Names, queue: str) -> Rights:
    return Rights((names.retry_exchange(queue), Names.dead_queue(queue), names.probe), (queue,))


def signaller(names: Names, service: str) -> Rights:
    """Signals sagas."""
    return Rights((names.signals_of(service), names.probe))


def publisher(names: Names, name: str) -> Rights:
    """Publishes facts."""
    facts = names.facts_of(name)
    return Rights((facts, Names.detour_of(facts), names.probe))


def client(names: Names, application: str, *, nests: bool = False) -> Rights:
    """Starts sagas: sends their first commands, and the facts of those that end at once. It reads nothing. `nests`:
    some of its sagas talk to others nested in them."""
    sagas = (names.sagas_of(application),) if nests else ()
    return Rights((names.commands, *sagas)) | publisher(names, application)


def orchestrator(
    names: Names, application: str, *, nests: bool = False, hears: bool = False, signalled: bool = False
) -> Rights:
    """Commands, tells, reads the replies to its application and to its store, parks what is none; `nests`: some of its
    sagas talk to others nested in them; `hears`: it acts on facts; `signalled`: services may signal its sagas."""
    queues = tuple(reply_queue(names.namespace, application, store) for store in ("", EVERY_STORE))
    own = client(names, application, nests=nests) | Rights((names.parking_exchange(queues[0]),), queues)
    if hears:
        own |= _facts(names, names.application_facts(application))
    if signalled:
        queue = names.signal_queue(application)
        own |= Rights((Names.dead_queue(queue),), (queue,))
    return own


def operator(names: Names, declared: Topology) -> Rights:
    """Reads what is parked, and puts it back by the way it came, so may speak for everybody; and what was done."""
    dead = [queue.name for queue in declared.queues if names.working_queue(queue.name)]
    replies = [one.name for one in declared.exchanges if names.is_way_of_replies(one.name)]
    replies += [one.name for one in declared.exchanges if names.is_way_of_signals(one.name)]
    return Rights((names.commands, names.replies, *replies, names.retry, names.acts, names.probe), (*dead, names.acts))


def before(names: Names, rights: Rights) -> Rights:
    """What a process from before there were exchanges of each needs besides, to do the same."""
    own = {name.removeprefix(f"{names.namespace}.").rpartition(".")[2] for name in rights.writes}
    hubs = {"replies": names.replies, "facts": names.facts, "dead": names.dead, "retry": names.retry}
    shared = {hub for word, hub in hubs.items() if word in own}
    log = {names.retry} if names.facts_log in rights.reads else set()
    detour = {f"{names.retry}.facts"} if names.facts in shared else set()
    return Rights(tuple(sorted(shared | log | detour | {names.retry})))
