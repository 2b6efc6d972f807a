"""Answers that sagas give while they go on, and who asks for them."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, NamedTuple

from choros.saga.saga import Saga
from choros_verify.simulation.nested_sagas import served

PATIENCE = timedelta(seconds=10)


class EarlyAnswer(NamedTuple):
    """What somebody was told that a step has replied, and when."""

    saga_id: str
    step: str
    reply: str
    at: float


def askable(saga: Saga[Any]) -> Sequence[str]:
    """The steps whose reply may be asked for: in a list each item has one of its own."""
    return [leaf.path for leaf in served(saga) if "[" not in leaf.path]


async def ask_early(client: Any, saga: Saga[Any], saga_id: str, nth: int, told: list[EarlyAnswer]) -> str:
    """Ask for the reply of a step as soon as there is one; raises ChorosError. What came of it, in words."""
    step = askable(saga)[nth]
    state = await client.query(saga_id, until=step, timeout=PATIENCE)
    if step not in state.replies:
        return "never comes"
    told.append(EarlyAnswer(saga_id, step, state.replies[step].to_json(), asyncio.get_running_loop().time()))
    return "answered"
