"""Running a saga again: first the old instance notes its successor, then that one begins. Both may be repeated."""

import hashlib
from collections.abc import Awaitable, Callable

from choros.app.app import App
from choros.errors import UsageError
from choros.runtime.orchestrator.recognition import recognise
from choros.runtime.orchestrator.work import Start, Work, WorkDone
from choros.saga.machine.inputs import RerunRequested
from choros.saga.machine.instance import Instance
from choros.saga.machine.rerun import kept_by, why_not
from choros.saga.outline import Outline
from choros.sources import fresh_id, rerun_id_for
from choros.store.sagas import Loaded, Record

Ask = Callable[[Work], Awaitable[WorkDone]]
"""Has one input decided and committed."""


async def rerun(app: App, whole: Loaded, step: str, ask: Ask) -> str:
    """Run a saga, which was loaded whole, again from a step; returns the id of the new instance. Raises UsageError.

    The id follows from the old one's. After a crash between the two commits the same call goes on where it stopped."""
    record = whole.record
    saga, instance = recognise(app.sagas, record, None, whole.entries)
    successor = rerun_id_for(record.saga_id)
    if not _handed_over(instance, step):
        _check(saga.outline, instance, step)
        act = RerunRequested(fresh_id(), step, successor)
        instance = (await ask(Work(record.saga_id, act))).instance
    if not _handed_over(instance, step):  # somebody else was first
        _check(saga.outline, instance, step)
    start = _start(record, saga.outline, instance, step)
    await ask(Work(successor, start))
    return successor


def _handed_over(instance: Instance, step: str) -> bool:
    return bool(instance.successor) and instance.rerun_from == step


def _check(outline: Outline, instance: Instance, step: str) -> None:
    if sentence := why_not(outline, instance, step):
        raise UsageError(sentence, f"choros saga show {instance.saga_id}.")


def _start(record: Record, outline: Outline, instance: Instance, step: str) -> Start:
    kept = kept_by(outline, instance, step)
    digest = hashlib.sha256(f"{record.digest}\n{record.saga_id}\n{step}".encode()).hexdigest()
    return Start(
        fresh_id(), record.saga, record.saga_version, record.key, instance.start, digest,
        instance.traceparent, instance.tracestate, kept, instance.updated, instance.renamed,
        own_headers=instance.own_headers,
    )  # fmt: skip
