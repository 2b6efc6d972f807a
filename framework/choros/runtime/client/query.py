"""What a program asks of a running saga, and changes nothing by that: its state, typed, and what may still come."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from typing import Any

from choros.errors import OutcomePending, StoreUnreachable, UsageError, unknown
from choros.messages import Failure, Message
from choros.saga.machine.instance import Instance, Status
from choros.saga.outline import Commanded
from choros.saga.remaining import RemainingStep, remaining_steps
from choros.saga.saga import Saga
from choros.saga.waiting import SignalWait

AGAIN = "the same again: what it replies is kept."


@dataclass(frozen=True, slots=True)
class SagaState:
    """A saga as one of its commits has left it."""

    saga_id: str
    status: Status
    paused: bool
    start: Message
    replies: Mapping[str, Message]
    """By the path of the step; of a wait, what it was told."""
    updates: Mapping[str, Message]
    """The last that was accepted of each, by its name."""
    failure: Failure | None
    """Why it is being undone, or was."""
    parked: Mapping[str, str]
    """Why it waits for a person, by the step."""
    result: Message | None
    """What it has come to, where its declaration says so."""
    remaining: Sequence[RemainingStep]
    """What may still come."""

    @property
    def settled(self) -> bool:
        """Whether no step of it replies any more by itself: it is being undone, over, or waits for a person."""
        return self.status != "running"


async def answered(look: Callable[[], Awaitable[SagaState]], until: str, seconds: float) -> SagaState:
    """The first state that has a reply of this step, or will never have one; without a step, the state as it is. It is
    read from the store, so what is told is committed. A store that is away meanwhile is waited for. Raises
    OutcomePending past so many seconds."""
    try:
        async with asyncio.timeout(seconds if until else None):
            return await _first(look, until)
    except TimeoutError:
        raise OutcomePending(f"{until} has not replied within {seconds:g} s; the saga goes on.", AGAIN) from None


async def _first(look: Callable[[], Awaitable[SagaState]], until: str) -> SagaState:
    pause = 0.02
    while True:
        with suppress(StoreUnreachable) if until else nullcontext():
            state = await look()
            if not until or until in state.replies or state.settled:
                return state
        await asyncio.sleep(pause)
        pause = min(pause * 1.5, 0.5)


def check_replies(saga: Saga[Any], step: str) -> Saga[Any]:
    """The same; raises UsageError where there is no step of this name that replies, or is told anything."""
    leaf = saga.outline.leaf(step)
    if step and not isinstance(leaf, Commanded | SignalWait):
        names = [leaf.path for leaf in saga.outline.leaves.values() if isinstance(leaf, Commanded | SignalWait)]
        raise UsageError(*unknown(f"saga {saga.name!r} has no step {step!r} that replies.", step, names))
    return saga


def saga_state(saga: Saga[Any], instance: Instance) -> SagaState:
    """The state of this instance, which came with all its entries."""
    outline, replies = saga.outline, dict[str, Message]()
    for path, state in instance.nodes.items():
        leaf = outline.leaf(path)
        if state.reply and isinstance(leaf, Commanded):
            replies[path] = leaf.reply_of(state.choice).from_json(state.reply)
        elif state.reply and isinstance(leaf, SignalWait):
            replies[path] = leaf.signal.from_json(state.reply)
    declared = outline.result
    return SagaState(
        instance.saga_id,
        instance.status,
        instance.paused,
        saga.start.from_json(instance.start),
        replies,
        {name: outline.updates[name].update.from_json(body) for name, body in instance.updated},
        Failure.from_json(instance.failure) if instance.failure else None,
        {path: state.parked for path, state in instance.parked_at.items()},
        declared.builds.from_json(instance.result) if declared and instance.result else None,
        remaining_steps(outline, instance),
    )
