"""What Prometheus is told of a process. It is gathered when it is asked for, and costs nothing else."""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Iterable, Iterator, Mapping

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from choros.errors import ChorosError
from choros.runtime.foreign.translator import Translator
from choros.runtime.host.vitals import Report, Vitals
from choros.runtime.orchestrator.orchestrator import Orchestrator
from choros.runtime.participant.participant import Participant
from choros.runtime.subscriber.subscriber import Subscriber
from choros.sources import now
from choros.version import __version__

PATIENCE = 2.0
"""Seconds for a store that is asked on the side."""
_LEFT_OUT = frozenset({"taken apart", "held back", "gave way", "unconfirmed", "unreadable"})
"""What parts count that is no outcome of a message."""


class _Gathered(Collector):
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = list(families)

    def collect(self) -> Iterable[Metric]:
        return self._families


async def exposition(vitals: Vitals) -> tuple[str, bytes]:
    """All of it now: the type of the text, and the text."""
    registry = CollectorRegistry(auto_describe=False)
    live = await _live(vitals)
    registry.register(_Gathered([*_of_process(vitals.look()), *_of_parts(vitals), *live]))
    return CONTENT_TYPE_LATEST, generate_latest(registry)


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


async def _live(vitals: Vitals) -> Iterable[Metric]:
    """The sagas of its store; nothing where that does not answer soon."""
    active = GaugeMetricFamily("choros_sagas_active", "Sagas that have not ended.", labels=("saga",))
    stores = [part.store for part in vitals.receivers if isinstance(part, Orchestrator)]
    by_saga: dict[str, int] = {}
    try:
        async with asyncio.timeout(PATIENCE):
            for store in stores:
                for kind, count in (await store.live()).items():
                    by_saga[kind.saga] = by_saga.get(kind.saga, 0) + count
    except (ChorosError, TimeoutError):
        return []
    for saga, count in sorted(by_saga.items()):
        active.add_metric((saga,), count)
    return [active] if stores else []
