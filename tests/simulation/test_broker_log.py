"""The fact log of the simulated broker, through lost connections and an emptied broker."""

from __future__ import annotations

import asyncio

from choros.testing.conformance.stage import fact
from choros.transport.fact_log import FactLog
from choros.transport.port import Published
from choros.transport.topology import topology
from choros.wire.envelope import decode
from choros_verify.simulation.faults import Fault
from tests.simulation.broker_stage import ONE, Shop, simulated

CONFIRMED = Published.CONFIRMED


def test_a_reader_of_the_log_goes_on_after_a_lost_connection_with_the_first_it_did_not_settle() -> None:
    shop = Shop(declared=topology("ns", applications=["app"], subscribers=["one"], fact_log=FactLog()))

    async def main() -> None:
        client, service = await shop.process("client"), await shop.process("service")
        reader = await service.replay(ONE, 10)
        await client.publish([fact(seq) for seq in range(1, 6)])
        seen = 0
        while seen < 5:
            for delivery in await reader.receive(5):
                seen += 1
                if seen != 3:
                    await delivery.ack()
        shop.broker.cut("service")
        again = await reader.receive(5)
        assert decode(again[0].wire).seq == 3

    simulated(main)


def test_an_emptied_log_is_read_again_from_its_end() -> None:
    shop = Shop(declared=topology("ns", applications=["app"], subscribers=["one"], fact_log=FactLog()))

    async def main() -> None:
        client = await shop.process("client")
        reader = await client.replay(ONE, 10)
        await client.publish([fact(1), fact(2)])
        for delivery in await reader.receive(9):
            await delivery.ack()
        shop.broker.strike(Fault("empty", "broker", 0, 3))
        while await client.publish([fact(3)]) != [CONFIRMED]:
            await asyncio.sleep(0.2)
        while not client.connected:
            await asyncio.sleep(0.2)
        await asyncio.sleep(5)
        await client.publish([fact(4)])
        assert decode((await reader.receive(9))[-1].wire).seq == 4

    simulated(main)
