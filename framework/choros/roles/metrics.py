"""What Prometheus is told of a process: gathered when it is asked for, but for what has to be counted as it passes."""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Awaitable, Coroutine, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from choros.app.app import App
from choros.errors import ChorosError
from choros.roles.meters import Meters
from choros.roles.queue_looks import QueueLooks
from choros.runtime.client.program_outbox import ProgramOutbox
from choros.runtime.client.start_outbox import StartRelay
from choros.runtime.foreign.translator import Translator
from choros.runtime.host.vitals import Receiver, Report, Vitals
from choros.runtime.orchestrator.orchestrator import Orchestrator
from choros.runtime.participant.participant import Participant
from choros.runtime.subscriber.subscriber import Subscriber
from choros.sources import now
from choros.store.barrier import Row
from choros.store.sagas import LIVE, Channel, Store
from choros.transport.topology import Names
from choros.version import __version__
from choros.wire.envelope import Envelope

T = TypeVar("T")
PATIENCE = 2.0
"""Seconds for a store that is asked on the side."""
_LEFT_OUT = frozenset({"taken apart", "held back", "gave way", "unconfirmed", "unreadable"})
"""What parts count that is no outcome of a message."""


class _Gathered(Collector):
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = list(families)

    def collect(self) -> Iterable[Metric]:
        return self._families


class Metrics:
    """What one process tells. Sagas, steps and handlers are counted from `attach` on, the rest gathered each time."""

    def __init__(self, app: App, vitals: Vitals) -> None:
        self._app, self._vitals = app, vitals
        self._meters = Meters()
        self._queues: QueueLooks | None = None

    def attach(self, parts: Sequence[Receiver]) -> None:
        """Count what these do."""
        for part in parts:
            if isinstance(part, Orchestrator):
                part.decider.meter = self._meters.folded
            elif isinstance(part, StartRelay) and part.meters is not None:
                part.meters(self._meters.folded)
            elif isinstance(part, (Participant, Subscriber)):
                part.calls.meter = partial(self._meters.called, part.queue)

    async def __call__(self) -> tuple[str, bytes]:
        """All of it now: the type of the text, and the text."""
        vitals, registry = self._vitals, CollectorRegistry(auto_describe=False)
        asked = await asyncio.gather(_sagas(self._app, vitals), _outboxes(self._app, vitals), self._waiting())
        live = [family for families in asked for family in families]
        registry.register(_Gathered([*_of_process(vitals.look()), *_of_parts(vitals), *live]))
        registry.register(self._meters)
        return CONTENT_TYPE_LATEST, generate_latest(registry)

    async def _waiting(self) -> Iterable[Metric]:
        """How its queues are, as far as the broker tells."""
        if self._vitals.attendance is None:
            return []
        self._queues = self._queues or QueueLooks(self._vitals.attendance)
        queues = _queues_of(self._app, self._vitals.receivers)
        seen = await self._queues.look(queues, PATIENCE)
        waiting = _by_queue("choros_queue_messages", "Messages that no consumer has.")
        consumers = _by_queue("choros_queue_consumers", "Who takes messages from a queue.")
        dead = _by_queue("choros_dead_letters", "Messages from a queue that wait for a person.")
        for queue in queues:
            if found := seen.get(queue):
                waiting.add_metric((queue,), found.waiting)
                consumers.add_metric((queue,), found.consumers)
            if letters := seen.get(Names.dead_queue(queue)):
                dead.add_metric((queue,), letters.waiting)
        return [waiting, consumers, dead]


def _queues_of(app: App, parts: Sequence[Receiver]) -> Sequence[str]:
    """Those of these parts; an orchestrator's are all of its application, since who is not there tells nothing."""
    names, found = Names(app.namespace), list[str]()
    for part in parts:
        if isinstance(part, Orchestrator):
            found += [names.service_queue(one) for one in app.participants]
            found += [names.subscriber_queue(one) for one in app.subscribers]
            found += part.reply_queues
        elif queue := getattr(part, "queue", ""):
            found.append(queue)
    return list(dict.fromkeys(found))


def _by_queue(name: str, says: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, says, labels=("queue",))


def _of_process(report: Report) -> Iterator[Metric]:
    build = GaugeMetricFamily("choros_build_info", "Which choros this is.", labels=("version", "python", "role"))
    build.add_metric((__version__, platform.python_version(), report.role), 1)
    yield build
    yield _gauge("choros_broker_connected", "Whether the broker answers.", report.broker.state == "connected")
    there = report.store.state == "connected"
    yield _gauge("choros_store_connected", "Whether all stores and databases answer.", there)
    yield _gauge(
        "choros_event_loop_lag_seconds", "For how long the event loop stood still at most of late.", report.loop_lag
    )
    yield _gauge("choros_handlers_hanging", "Handlers that take long.", len(report.hanging))
    yield _gauge("choros_sagas_left_alone", "Live sagas that are declared otherwise here.", report.stranded)
    yield _gauge("choros_stored_unreadable", "Stored messages and sagas that cannot be read here.", report.unreadable)
    unfinished = GaugeMetricFamily(
        "choros_unfinished_oldest_age_seconds",
        "How long the oldest command has waited to be finished from outside.",
        labels=("service",),
    )
    for service, since in report.unfinished.items():
        unfinished.add_metric((service,), max(0.0, now() - since))
    yield unfinished


def _gauge(name: str, says: str, value: float) -> Metric:
    return GaugeMetricFamily(name, says, value=float(value))


def _of_parts(vitals: Vitals) -> Iterator[Metric]:
    consumed = CounterMetricFamily(
        "choros_messages_consumed",
        "Messages that were settled, by what became of them.",
        labels=("kind", "queue", "outcome"),
    )
    unconfirmed = CounterMetricFamily(
        "choros_publishing_unconfirmed", "Times that a message was not confirmed, and sent again.", labels=("queue",)
    )
    for part in vitals.receivers:
        if isinstance(part, (Participant, Subscriber, Translator)):
            kind = {Participant: "command", Subscriber: "fact", Translator: "foreign"}[type(part)]
            _add(consumed, kind, part.queue, part.counts)
            if isinstance(part, Participant):
                unconfirmed.add_metric((part.queue,), part.counts["unconfirmed"])
    yield from (consumed, unconfirmed)


def _add(consumed: CounterMetricFamily, kind: str, queue: str, counts: Mapping[str, int]) -> None:
    for outcome, count in sorted(counts.items()):
        if outcome not in _LEFT_OUT:
            consumed.add_metric((kind, queue, outcome.replace(" ", "_")), count)


async def _sagas(app: App, vitals: Vitals) -> Iterable[Metric]:
    """Those of its store that have not ended, of those that are declared also how many are not there; nothing where the
    store does not answer soon."""
    stores = [part.store for part in vitals.receivers if isinstance(part, Orchestrator)]
    active = GaugeMetricFamily("choros_sagas_active", "Sagas that have not ended.", labels=("saga", "status"))
    for counts in await asyncio.gather(*(_soon(store.counts()) for store in stores)):
        if counts is not None:
            none = {(saga.name, status): 0 for saga in app.sagas.values() for status in LIVE}
            for (saga, status), count in sorted({**none, **counts}.items()):
                if status in LIVE:
                    active.add_metric((saga, status), count)
    return [active] if active.samples else []


async def _outboxes(app: App, vitals: Vitals) -> Iterable[Metric]:
    """For how long the oldest message has waited to leave; 0 where none does."""
    ages = GaugeMetricFamily(
        "choros_outbox_oldest_age_seconds",
        "How long the oldest message has waited to leave.",
        labels=("outbox", "kind"),
    )
    wanted = [one for part in vitals.receivers for one in _oldest_of(app, part)]
    found = await asyncio.gather(*(_soon(asked) for *_, asked in wanted))
    for (outbox, kind, _), since in zip(wanted, found, strict=True):
        if since is not None:
            ages.add_metric((outbox, kind), max(0.0, now() - since) if since else 0.0)
    return [ages] if ages.samples else []


def _oldest_of(app: App, part: Receiver) -> Iterator[tuple[str, str, Coroutine[Any, Any, float]]]:
    """The outboxes of a part: whose, of what, and since when the oldest message waits."""
    if isinstance(part, Orchestrator):
        yield app.scope, "commands", _unsent(part.store, "commands")
        yield app.scope, "facts", _unsent(part.store, "facts")
    if isinstance(part, (Participant, Subscriber)):
        yield part.queue, "facts", _written(part.database.listed("publishing", 1))
        yield part.queue, "signals", _written(part.database.listed("signalling", 1))
    if isinstance(part, Participant):
        yield part.queue, "replies", _written(part.database.unsent(1))
    if isinstance(part, StartRelay):
        yield app.scope, "starts", _written(part.database.listed("publishing", 1))
    if isinstance(part, ProgramOutbox):
        yield part.place, "facts", _written(part.database.listed("publishing", 1))


async def _unsent(store: Store, channel: Channel) -> float:
    waiting = await store.unsent(channel, store.now(), 1)
    return Envelope.loads(waiting[0].envelope).time if waiting else 0.0


async def _written(asked: Awaitable[Sequence[Row]]) -> float:
    rows = await asked
    return rows[0].since if rows else 0.0


async def _soon(asked: Awaitable[T]) -> T | None:
    """What is answered soon."""
    try:
        async with asyncio.timeout(PATIENCE):
            return await asked
    except (ChorosError, TimeoutError, ValueError):  # what cannot be read has a metric of its own
        return None
