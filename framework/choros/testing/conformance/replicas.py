"""Which process of a subscriber hears a fact: a suite for adapters of the transport port, to be mixed into
`TransportConformance`.

class TestMyTransport(TransportConformance, ReplicasConformance): ...
"""

from choros.testing.conformance.stage import Stage, assert_silent, fact, receive, receive_and_ack
from choros.transport.instances import instance_name, instance_topology
from choros.transport.port import Consumer, Transport
from choros.transport.topology import Subscription, topology


class ReplicasConformance:
    """The only one that is at work, or each."""

    async def test_of_a_singleton_one_is_at_work_until_it_ends(self, stage: Stage, transport: Transport) -> None:
        await transport.declare(topology(stage.namespace, subscribers=[Subscription("solo", replicas="singleton")]))
        queue, second = stage.names.subscriber_queue("solo"), await stage.transport()
        working, standing_by = await transport.consume(queue, 1), await second.consume(queue, 1)
        await transport.publish([fact(1), fact(2)])
        (held,) = await receive(working)
        await assert_silent(standing_by)
        await held.ack()
        await receive(working)  # and never settles it
        await working.drop()
        assert [one.seq for one in await receive_and_ack(standing_by)] == [2]

    async def test_where_each_process_hears_every_fact_each_has_a_queue_of_its_own(
        self, stage: Stage, transport: Transport
    ) -> None:
        await transport.declare(topology(stage.namespace, subscribers=[Subscription("each", replicas="every")]))
        consumers = [await self._process(stage, name) for name in ("a", "b")]
        await transport.publish([fact(1), fact(2)])
        for consumer in consumers:
            assert [one.seq for one in await receive_and_ack(consumer, 2)] == [1, 2]

    async def test_what_one_process_cannot_handle_is_parked_in_the_place_of_all(
        self, stage: Stage, transport: Transport
    ) -> None:
        await transport.declare(topology(stage.namespace, subscribers=[Subscription("each", replicas="every")]))
        one = await self._process(stage, "a")
        await transport.publish([fact(1)])
        (held,) = await receive(one)
        await held.dead_letter("no")
        queue = stage.names.subscriber_queue("each")
        (parked,) = await receive(await transport.consume(stage.names.dead_queue(queue), 1))
        assert parked.wire.headers["x-choros-reason"] == "no"

    async def _process(self, stage: Stage, name: str) -> Consumer:
        transport = await stage.transport()
        await transport.declare(instance_topology(stage.names, "each", name), strictly=True)
        return await transport.consume(stage.names.subscriber_queue(instance_name("each", name)), 9)
