"""How soon what follows from a message goes out: counted in turns of the event loop, so that no clock is in it.

With one saga in flight nothing else is there to do, and each turn is a look at the sockets that finds nothing.
"""

import asyncio
from functools import partial

import pytest

from benchmarks.application import Adapters, Application
from benchmarks.measuring import Arrivals, Part
from choros.store.memory.barrier import MemoryDatabase
from choros.store.memory.sagas import MemoryStore
from choros.transport.memory.broker import MemoryBroker
from choros.transport.memory.transport import MemoryTransport
from choros.transport.port import Published
from choros.wire.envelope import Wire

SAGAS = 3
REPLIES = ("payment.charged", "inventory.reserved", "shipping.shipped")


class CountingLoop(asyncio.SelectorEventLoop):
    """One that counts its turns."""

    turns = 0

    def _run_once(self) -> None:
        self.turns += 1
        super()._run_once()  # type: ignore[misc] # asyncio's own, of which no stub tells


class CountingBroker(MemoryBroker):
    """One that notes in which turn each message came."""

    def __init__(self, loop: CountingLoop) -> None:
        super().__init__()
        self._loop = loop
        self.came: list[tuple[str, int]] = []
        """The type of the message, and when."""

    def publish(self, exchange: str, key: str, wire: Wire) -> Published:
        self.came.append((wire.type or "", self._loop.turns))
        return super().publish(exchange, key, wire)


async def steps(loop: CountingLoop) -> list[tuple[str, str, int]]:
    """Of the last of some sagas: each message, the one that follows from it, and how many turns lie between."""
    broker, arrivals = CountingBroker(loop), Arrivals()
    adapters = Adapters(
        partial(MemoryTransport, broker, "turns"),
        partial(MemoryStore, namespace="turns.order"),
        lambda service: MemoryDatabase(namespace=f"turns.{service}"),
    )
    async with Application("turns", adapters).opened(Part.WHOLE, arrivals.heard) as shop:
        for number in range(SAGAS):  # the first ones begin what goes on from then on
            broker.came.clear()
            await shop.carry_out(f"order-{number}")
            await arrivals.reach(number + 1)
    pairs = zip(broker.came, broker.came[1:], strict=False)
    return [(first, then, after - before) for (first, before), (then, after) in pairs]


@pytest.fixture(scope="module")
def counted() -> list[tuple[str, str, int]]:
    """What follows from what, with the turns between."""
    with asyncio.Runner(loop_factory=CountingLoop) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, CountingLoop)
        return runner.run(steps(loop))


def test_what_follows_from_a_reply_goes_out_within_four_turns(counted: list[tuple[str, str, int]]) -> None:
    """Received, decided and committed, sent; and the broker takes one to confirm."""
    replies = counted[1::2]
    assert [first for first, _, _ in replies] == [f"shop.{one}.v1" for one in REPLIES]
    assert max(turns for _, _, turns in replies) <= 4


def test_a_reply_goes_out_within_six_turns_of_its_command(counted: list[tuple[str, str, int]]) -> None:
    """The same, and a task each for the command, for the transaction, and for what the handler's author wrote."""
    commands = counted[::2]
    assert [then for _, then, _ in commands] == [f"shop.{one}.v1" for one in REPLIES]
    assert max(turns for _, _, turns in commands) <= 6
