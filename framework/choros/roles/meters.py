"""What is counted where messages pass, in a process that Prometheus reads; nobody else counts it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from choros.runtime.orchestrator.work import Folded, Work
from choros.saga.machine.inputs import Event
from choros.saga.machine.instance import Instance
from choros.store.sagas import Record

_INDEX = re.compile(r"\[\d+\]")
_SOON = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_LONG = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1_800, 3_600, 14_400, 86_400)
_ATTEMPTS = {"replied": "ok", "refused": "refused", "failed": "failed", "timed_out": "timed_out", "undone": "ok"}
"""How an attempt went, by what the history says of it."""
_ENDS = ("completed", "compensated", "terminated")


class Meters(Collector):
    """Counts sagas and steps as they are committed, replies as they are settled, and handlers as they end."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry(auto_describe=False)
        of_saga, of_step = ("saga",), ("saga", "step", "outcome")
        self._started = Counter("choros_sagas_started", "Sagas that have begun.", of_saga, registry=registry)
        self._finished = Counter(
            "choros_sagas_finished", "Sagas that have ended, by how.", ("saga", "outcome"), registry=registry
        )
        self._lasted = Histogram(
            "choros_saga_duration_seconds", "From a saga's start to its end.", ("saga", "outcome"),
            registry=registry, buckets=_LONG,
        )  # fmt: skip
        self._parked = Counter(
            "choros_steps_parked", "Steps that came to wait for a person.", of_saga, registry=registry
        )
        self._attempts = Counter(
            "choros_step_attempts", "Attempts of commands, by how they went.", of_step, registry=registry
        )
        self._undone = Counter(
            "choros_compensations", "Attempts of undos, by how they went.", of_step, registry=registry
        )
        self._took = Histogram(
            "choros_step_duration_seconds", "From a command's first attempt to its answer.", of_step,
            registry=registry, buckets=_SOON,
        )  # fmt: skip
        self._replies = Counter(
            "choros_replies_consumed", "Replies that were settled, by what became of them.", ("outcome",),
            registry=registry,
        )  # fmt: skip
        self._handling = Histogram(
            "choros_message_handling_seconds", "How long handlers took.", ("queue", "handler", "outcome"),
            registry=registry, buckets=_SOON,
        )  # fmt: skip

    def collect(self) -> Iterable[Metric]:
        """All of it; when counting began is nobody's business."""
        for family in self._registry.collect():
            family.samples = [one for one in family.samples if not one.name.endswith("_created")]
            yield family

    def called(self, queue: str, handler: str, seconds: float, outcome: str) -> None:
        """A handler has ended."""
        self._handling.labels(queue, handler, outcome).observe(seconds)

    def folded(self, fold: Folded) -> None:
        """What was decided for one saga is committed."""
        for outcome, works in (("taken", fold.done), ("repeated", fold.repeated), ("parked", _works(fold))):
            if count := sum(work.delivery is not None for work in works):
                self._replies.labels(outcome).inc(count)
        if fold.transition is not None and fold.instance is not None:
            for event in fold.events:
                self._happened(event, fold.transition.record, fold.instance)

    def _happened(self, event: Event, record: Record, instance: Instance) -> None:
        if event.kind == "started":
            self._started.labels(record.saga).inc()
        elif event.kind in _ENDS:
            self._finished.labels(record.saga, event.kind).inc()
            self._lasted.labels(record.saga, event.kind).observe(max(0.0, record.updated_at - record.started_at))
        elif event.kind == "parked":
            self._parked.labels(record.saga).inc()
        elif (outcome := _ATTEMPTS.get(event.kind)) is not None:
            self._attempted(event, outcome, record, instance)

    def _attempted(self, event: Event, outcome: str, record: Record, instance: Instance) -> None:
        step = _INDEX.sub("", event.step)  # of a list, all items: no label may have as many values as those
        if event.operation == "undo":
            self._undone.labels(record.saga, step, outcome).inc()
            return
        self._attempts.labels(record.saga, step, outcome).inc()
        state = instance.nodes.get(event.step)
        if event.kind in ("replied", "refused") and state is not None and state.began is not None:
            self._took.labels(record.saga, step, outcome).observe(max(0.0, record.updated_at - state.began))


def _works(fold: Folded) -> Sequence[Work]:
    return [work for work, _ in fold.rejected]
