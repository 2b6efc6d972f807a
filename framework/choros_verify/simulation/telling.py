"""Somebody tells a saga what it waits for, or asks it for a change."""

from collections.abc import Callable
from typing import Any

from choros.errors import UpdateRefused
from choros.messages import Message
from choros.saga.saga import Saga
from choros.saga.waiting import SignalWait
from choros_verify.simulation.script import PersonAct
from choros_verify.simulation.wait_paths import waits_of

Example = Callable[[Any], Message]
"""A message of a type."""


async def speak(client: Any, saga: Saga[Any], saga_id: str, act: PersonAct, example: Example) -> str:
    """Once, and once more under the same id; raises ChorosError. What is answered, in words."""
    say = _tell if act.verb == "signal" else _ask
    once, again = [await say(client, saga, saga_id, act, example) for _ in range(2)]
    return once if once == again else f"{once}, and asked again {again}"


async def _tell(client: Any, saga: Saga[Any], saga_id: str, act: PersonAct, example: Example) -> str:
    path = waits_of(saga.outline)[act.nth]
    leaf = saga.outline.leaf(path)
    assert isinstance(leaf, SignalWait)
    said: Any = example(leaf.signal)
    word: str = await client.signal(saga_id, said, wait=path, id=f"{saga_id} {act}")
    return word


async def _ask(client: Any, saga: Saga[Any], saga_id: str, act: PersonAct, example: Example) -> str:
    asked: Any = example(list(saga.outline.updates.values())[act.nth].update)
    try:
        return f"accepted: {(await client.update(saga_id, asked, id=f'{saga_id} {act}')).to_json()}"
    except UpdateRefused as refused:
        return f"refused: {refused.code}"
