"""Somebody tells a saga what it waits for."""

from collections.abc import Awaitable, Callable
from typing import Any

from choros.messages import Message
from choros.saga.saga import Saga
from choros.saga.waiting import SignalWait
from choros_verify.simulation.script import PersonAct
from choros_verify.simulation.wait_paths import waits_of

Signalling = Callable[..., Awaitable[str]]
"""As `Client.signal`."""


async def tell(
    signal: Signalling, saga: Saga[Any], saga_id: str, act: PersonAct, example: Callable[[Any], Message]
) -> str:
    """Tell it, and ask once more under the same id; raises ChorosError. What that is answered, in words."""
    path = waits_of(saga.outline)[act.nth]
    leaf = saga.outline.leaf(path)
    assert isinstance(leaf, SignalWait)
    said: Any = example(leaf.signal)
    once, again = [await signal(saga_id, said, wait=path, id=f"{saga_id} {act}") for _ in range(2)]
    return once if once == again else f"{once}, and asked again {again}"
