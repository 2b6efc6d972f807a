"""A stranger's messages among the others, with properties that no client can decode: all must be parked.

Once is not promised: who dies between the parked copy and the acknowledgement parks it again.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from aiormq.exceptions import AMQPError

from choros.transport.rabbitmq import RabbitMQTransport
from choros.transport.topology import Names
from tests.chaos.faults import Fault, Scene, Thrown
from tests.chaos.voyages import NAMESPACE, app
from tests.transport.strangers import UNDECODABLE, throw

_NAMES = Names(NAMESPACE)
SERVICES, SUBSCRIBERS = ("fares", "cabins", "harbour"), ("journal", "gazette")
_PREFIX = b"stranger-"
_PATIENCE = 30.0


@dataclass
class Account:
    """What became of them."""

    thrown: int = 0
    parked: int = 0
    more_than_once: int = 0
    missing: list[str] = field(default_factory=list)
    """Name and queue of what is not parked, though its queue was never deleted."""


async def undecodable(scene: Scene) -> str:
    """Throw one of some kind at some queue, or at all subscribers."""
    return await _thrown(scene, 0)


async def oversized(scene: Scene) -> str:
    """The same with a body that takes several frames."""
    return await _thrown(scene, scene.dice.randint(150_000, 400_000))


async def _thrown(scene: Scene, size: int) -> str:
    exchange, key, queues = scene.dice.choice(_places())
    name, at = f"stranger-{len(scene.thrown)}-{scene.dice.randrange(10**9)}", time.time()
    kind = scene.dice.choice(sorted(UNDECODABLE))
    host, port = scene.battlefield.address(scene.dice.choice(list(scene.battlefield.nodes)))
    try:
        async with asyncio.timeout(_PATIENCE):
            await throw(
                f"amqp://guest:guest@{host}:{port}/", exchange, key, [UNDECODABLE[kind]], name.encode().ljust(size)
            )
    except (AMQPError, OSError, RuntimeError, TimeoutError):
        return ""  # the broker is just being hurt; whether it has it, nobody knows
    scene.thrown.append(Thrown(name, queues, at))
    return f"{kind}{f', {size} bytes,' if size else ''} to {', '.join(queues)}"


def _places() -> list[tuple[str, bytes, tuple[str, ...]]]:
    """Exchange, routing key, and the queues that it comes to."""
    replies = _NAMES.reply_queue(app.name)
    facts = tuple(_NAMES.subscriber_queue(one) for one in SUBSCRIBERS)
    return [
        *((_NAMES.commands, one.encode(), (_NAMES.service_queue(one),)) for one in SERVICES),
        (_NAMES.replies, replies.encode(), (replies,)),
        (_NAMES.facts, b"\xff\xfe", facts),
    ]


STRANGERS: dict[str, tuple[Fault, int]] = {"undecodable": (undecodable, 4), "oversized": (oversized, 3)}
"""With how often it comes, as in `faults.SMALL`."""


async def look(url: str, depths: Mapping[str, int]) -> Counter[tuple[str, str]]:
    """How often each is parked, by name and queue; they stay where they are."""
    found: Counter[tuple[str, str]] = Counter()
    transport = RabbitMQTransport(url, NAMESPACE, "judge")
    await transport.connect()
    try:
        for queue in (queue for _, _, queues in _places() for queue in queues):
            left = depths.get(dead := Names.dead_queue(queue), 0)
            consumer = await transport.consume(dead, max(1, left))
            async with asyncio.timeout(_PATIENCE):
                while left > 0:
                    bodies = [one.wire.body for one in await consumer.receive(left)]
                    left -= len(bodies)
                    found.update((body.decode().strip(), queue) for body in bodies if body.startswith(_PREFIX))
    finally:
        await transport.close()
    return found


def account(
    thrown: Sequence[Thrown], parked: Mapping[tuple[str, str], int], lossy: Sequence[tuple[float, float]]
) -> Account:
    """Compare. `lossy` are the times in which queues were deleted, with what was in them."""
    result = Account(len(thrown))
    for one in thrown:
        excused = any(until > one.at - 1 for _, until in lossy)
        for queue in one.queues:
            times = parked.get((one.name, queue), 0)
            result.parked += times > 0
            result.more_than_once += times > 1
            if not times and not excused:
                result.missing.append(f"{one.name} in {queue}")
    return result
