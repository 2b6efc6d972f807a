"""What a saga instance waits for: a step's answer, since when, which attempt; and whether anybody is there to give it.

Read from the record and, by one question, from the broker. A command line prints it; whatever else shows sagas has the
same values.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from choros.errors import DeclaredOtherwise
from choros.runtime.host.presence import AskQueue
from choros.runtime.orchestrator.recognition import as_stored, recognise
from choros.saga.machine.instance import Instance
from choros.saga.nesting import Nesting
from choros.saga.renaming import renaming
from choros.saga.saga import Saga, Sagas
from choros.sources import nested_id_for
from choros.store.sagas import Record, Store
from choros.transport.port import Seen
from choros.transport.reply_queues import reply_queue
from choros.transport.topology import Names
from choros.wire.command_key import CommandKey

NOT_ASKED = Seen("untold")
NOTED_WITHIN = 3.0
"""Seconds after which a command that has left is noted as sent."""
Standstill = Literal["", "paused", "parked"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Awaited:
    """The answer that an instance cannot go on without. Times are seconds since the epoch."""

    step: str
    operation: str
    """do, undo or close."""
    service: str
    queue: str
    """Where its commands go; empty where an orchestrator carries them out itself."""
    since: float
    """When its first attempt was sent."""
    attempt: int
    attempts: int | None
    """How many there may be in all; None where only the time counts."""
    until: float
    """No attempt starts after this moment."""
    next_try: float | None
    """When the next attempt is due; None while it is parked."""
    finish_by: float | None = None
    """Until when its service may take, which has taken it, to be finished from outside."""
    answered: bool
    """Whether the last attempt was answered with a failure, so that only the next one is waited for."""
    unsent: bool
    """Whether its command has not left yet."""
    held: Standstill = ""
    """What keeps the next attempt from being sent."""
    others: int = 0
    """How many other answers it waits for at the same time."""
    nested: str = ""
    """The id of the saga that has to answer, where that is nested in this one; and how far it is."""
    nested_is: str = ""
    seen: Seen = NOT_ASKED
    """The service's queue, once somebody has looked."""
    answers: Seen = NOT_ASKED
    """The queue that its answers go to, which the orchestrators on its store consume."""


def awaited(saga: Saga[Any], instance: Instance, names: Names, unsent: Collection[str] = ()) -> Awaited | None:
    """What it waits for; None where it waits for no answer. Of several, what a person should look at first: what is
    parked, and then what was tried most often. `unsent`: the ids of its commands that have not left."""
    legs = [(path, state.leg, state) for path, state in instance.nodes.items() if state.leg and not instance.terminal]
    if not legs:
        return None
    path, leg, state = max(legs, key=lambda one: (bool(one[2].parked), one[1].attempt, -one[1].first_at))
    leaf = saga.outline.commanded(path)
    if leaf is None:
        return None
    policy = leaf.policy(leg.operation)
    return Awaited(
        step=path, operation=leg.operation, service=leaf.whom,
        queue="" if leaf.local else names.service_queue(leaf.to),
        since=leg.first_at, until=leg.first_at + policy.total.total_seconds(), next_try=leg.due,
        finish_by=leg.finish_by if leg.unfinished else None,
        attempt=leg.attempt, attempts=policy.attempts, answered=leg.waiting, others=len(legs) - 1,
        unsent=leg.message in unsent if leg.message else bool(unsent),
        held="parked" if state.parked else "paused" if instance.paused else "",
    )  # fmt: skip


def asleep(instance: Instance) -> Sequence[tuple[str, float]]:
    """The nodes that sleep, and until when."""
    nodes = instance.nodes.items()
    return [(path, state.until) for path, state in nodes if state.until is not None and state.progress == "asleep"]


def untold(instance: Instance) -> Sequence[tuple[str, float]]:
    """The waits that nobody has told anything yet, and until when they wait."""
    nodes = instance.nodes.items()
    return [(path, state.not_after) for path, state in nodes if state.not_after and state.progress == "awaiting"]


async def waits_for(
    sagas: Sagas, namespace: str, store: Store, saga_id: str, ask: AskQueue | None = None
) -> Awaited | None:
    """What this instance waits for; None where that is no answer, or where these declarations do not fit it. Costs one
    record and, with `ask`, two or three questions to the broker. Raises StoreUnreachable."""
    loaded = (await store.load([saga_id])).get(saga_id)
    if loaded is None or loaded.record.gone or loaded.record.unreadable:
        return None
    try:
        saga, instance = recognise(sagas, loaded.record)
    except DeclaredOtherwise:
        return None
    settled = store.now() - loaded.record.updated_at > NOTED_WITHIN
    one = awaited(saga, instance, Names(namespace), loaded.unsent if settled else ())
    if one is None:
        return None
    one = await _below(saga, instance, namespace, loaded.record, one, store)
    if one.held or ask is None:
        return one
    mine = [reply_queue(namespace, loaded.record.application, of) for of in (store.identity, "")]
    seen = await ask(one.queue) if one.queue else NOT_ASKED
    return replace(one, seen=seen, answers=await _consumed(ask, mine))


async def _below(
    saga: Saga[Any], instance: Instance, namespace: str, record: Record, one: Awaited, store: Store
) -> Awaited:
    """The same, with the saga that has to answer, where that is no service: what it is parked for is nowhere else."""
    leaf = saga.outline.commanded(one.step)
    if not isinstance(leaf, Nesting):
        return one
    below = nested_at(leaf, one.step, instance, record, namespace)
    there = (await store.load([below])).get(below)
    if there is None or there.record.gone or there.record.unreadable:
        return replace(one, nested=below, nested_is="not there yet" if there is None else "deleted")
    why = as_stored(there.record, {}).why_parked
    return replace(one, nested=below, nested_is=f"parked: {why}" if why else there.record.status)


def nested_at(leaf: Nesting, path: str, instance: Instance, record: Record, namespace: str) -> str:
    """The id of the saga that is nested in this instance there."""
    state = instance.state(path)
    effect = CommandKey(state.owner or record.saga_id, renaming(instance).there(path), state.round, "do").effect
    return nested_id_for(namespace, record.application, leaf.child.saga, effect)


async def _consumed(ask: AskQueue, queues: Sequence[str]) -> Seen:
    """The first that somebody consumes, or else the first: where nobody may make a store's queue, its orchestrators
    consume that of the application."""
    seen = [await ask(queues[0])]
    if seen[0].state in ("there", "missing") and not seen[0].consumers:
        seen.append(await ask(queues[1]))
    return next((one for one in seen if one.consumers or one.state not in ("there", "missing")), seen[0])
