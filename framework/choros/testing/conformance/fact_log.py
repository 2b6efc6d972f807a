"""What a fact log is: a suite for adapters of the transport port, to be mixed into `TransportConformance`.

class TestMyTransport(TransportConformance, FactLogConformance): ...
"""

import asyncio

import pytest

from choros.sources import now
from choros.testing.conformance.stage import (
    Stage,
    assert_closing_ends_a_receive,
    assert_silent,
    fact,
    misconfigured,
    receive,
    receive_and_ack,
)
from choros.transport.fact_log import MARK, OFFSET, FactLog
from choros.transport.port import Published, Transport
from choros.transport.topology import Subscription, topology
from choros.wire.envelope import decode

AN_HOUR = 3600.0


class FactLogConformance:
    """The log keeps what was published, for any number of readers; it disturbs no subscriber."""

    @pytest.fixture
    async def logged(self, stage: Stage) -> Transport:
        """One that is connected to a broker on which the shop keeps a log."""
        return await stage.transport(stage.shop_with_log())

    async def test_the_log_is_read_from_the_first_fact_by_any_number_of_readers(
        self, stage: Stage, logged: Transport
    ) -> None:
        facts = [fact(seq, stream) for seq in range(1, 6) for stream in ("a", "b")]
        await logged.publish(facts)
        queue = stage.names.subscriber_queue("one")
        assert await receive_and_ack(await logged.replay(queue, 9), 10) == facts
        reader = await logged.replay(queue, 3)
        assert await receive_and_ack(reader, 10) == facts
        await assert_silent(reader, 0.05)
        more = fact(6, "a")
        await logged.publish([more])
        assert await receive_and_ack(reader) == [more]
        assert await receive_and_ack(await logged.consume(queue, 20), 11) == [*facts, more]

    async def test_the_log_alone_takes_a_fact(self, stage: Stage) -> None:
        transport = await stage.transport(topology(stage.namespace, applications=["app"], fact_log=FactLog()))
        assert await transport.publish([fact()]) == [Published.CONFIRMED]

    async def test_a_full_queue_elsewhere_keeps_nothing_from_the_log(self, stage: Stage) -> None:
        few = Subscription("few", at_most=2)
        subscribed = topology(stage.namespace, applications=["app"], subscribers=[few], fact_log=FactLog())
        transport = await stage.transport(subscribed)
        facts = [fact(seq) for seq in range(1, 7)]
        assert await transport.publish(facts) == [Published.CONFIRMED] * 6
        queue = stage.names.subscriber_queue("few")
        assert await receive_and_ack(await transport.consume(queue, 9), 2) == facts[4:]
        assert await receive_and_ack(await transport.replay(queue, 9), 6) == facts

    async def test_no_more_than_the_prefetch_is_out_of_the_log(self, stage: Stage, logged: Transport) -> None:
        await logged.publish([fact(seq) for seq in range(1, 8)])
        reader = await logged.replay(stage.names.subscriber_queue("one"), 3)
        held = await receive(reader, 3)
        await assert_silent(reader)
        await held[0].ack()
        assert decode((await receive(reader))[0].wire).seq == 4

    async def test_the_log_is_read_from_a_moment_on(self, stage: Stage, logged: Transport) -> None:
        await logged.publish([fact(1), fact(2)])
        await asyncio.sleep(2.1)  # the moment is counted in whole seconds
        since = now()
        late = [fact(3), fact(4)]
        await logged.publish(late)
        queue = stage.names.subscriber_queue("one")
        assert await receive_and_ack(await logged.replay(queue, 9, since), 2) == late
        everything = await receive_and_ack(await logged.replay(queue, 9, since - AN_HOUR), 4)
        assert [one.seq for one in everything] == [1, 2, 3, 4]

    async def test_from_a_moment_in_the_future_it_is_read_from_the_next_fact(
        self, stage: Stage, logged: Transport
    ) -> None:
        await logged.publish([fact(1)])
        reader = await logged.replay(stage.names.subscriber_queue("one"), 9, now() + AN_HOUR)
        await logged.publish([fact(2)])
        assert [one.seq for one in await receive_and_ack(reader)] == [2]

    async def test_a_mark_comes_behind_all_that_was_there_and_reaches_no_subscriber(
        self, stage: Stage, logged: Transport
    ) -> None:
        await logged.publish([fact(1), fact(2)])
        assert await logged.mark("so far") is Published.CONFIRMED
        await logged.publish([fact(3)])
        queue = stage.names.subscriber_queue("one")
        deliveries = await receive(await logged.replay(queue, 9), 4)
        assert [delivery.wire.headers.get(MARK) for delivery in deliveries] == [None, None, "so far", None]
        offsets = [delivery.wire.headers[OFFSET] for delivery in deliveries]
        assert offsets == sorted(offsets)
        assert [one.seq for one in await receive_and_ack(await logged.consume(queue, 9), 3)] == [1, 2, 3]

    async def test_without_a_log_a_mark_is_returned_and_nothing_can_be_read(
        self, stage: Stage, transport: Transport
    ) -> None:
        assert await transport.mark("nowhere") is Published.RETURNED
        reader = await transport.replay(stage.names.subscriber_queue("one"), 1)
        assert "facts.log" in str(await misconfigured(reader.receive(1)))

    async def test_what_fails_goes_into_the_ladder_and_the_parking_of_the_readers_queue(
        self, stage: Stage, logged: Transport
    ) -> None:
        mine, other = stage.names.subscriber_queue("one"), stage.names.subscriber_queue("two")
        queues = [await logged.consume(queue, 9) for queue in (mine, other)]
        sent = [fact(1), fact(2)]
        await logged.publish(sent)
        for queue in queues:
            await receive_and_ack(queue, 2)
        reader = await logged.replay(mine, 9)
        again, dead = await receive(reader, 2)
        await again.retry(0.5)
        await dead.dead_letter("no such order")
        (delivery,) = await receive(queues[0])
        assert (decode(delivery.wire), delivery.retries) == (sent[0], 1)
        assert OFFSET not in delivery.wire.headers
        (parked,) = await receive(await logged.consume(stage.names.dead_queue(mine), 9))
        assert decode(parked.wire) == sent[1]
        await assert_silent(queues[1], 0.05)

    async def test_what_is_not_settled_is_read_again_by_the_next_reader(self, stage: Stage, logged: Transport) -> None:
        await logged.publish([fact(1), fact(2)])
        queue = stage.names.subscriber_queue("one")
        await receive(await logged.replay(queue, 9), 2)
        await logged.close()
        again = await (await stage.transport(stage.shop_with_log())).replay(queue, 9)
        assert [one.seq for one in await receive_and_ack(again, 2)] == [1, 2]

    async def test_dropping_the_queue_of_one_consumer_at_a_time_gives_back_everything_before_the_next_has_any(
        self, stage: Stage
    ) -> None:
        subscribed = topology(stage.namespace, applications=["app"], subscribers=[Subscription("one", ordered=True)])
        first, second = await stage.transport(subscribed), await stage.transport()
        queue = stage.names.subscriber_queue("one")
        mine, other = await first.consume(queue, 4), await second.consume(queue, 100)
        await first.publish([fact(seq) for seq in range(1, 10)])
        held = await receive(mine, 3)
        await held[0].ack()
        await assert_silent(other)
        before = held[1].lost
        await mine.drop()
        assert [one.seq for one in await receive_and_ack(other, 8)] == list(range(2, 10))
        assert (before, held[1].lost) == (False, True)
        await held[1].ack()
        await assert_silent(other, 0.05)

    async def test_a_closed_reader_gives_nothing_but_can_settle(self, stage: Stage, logged: Transport) -> None:
        await logged.publish([fact(1), fact(2)])
        reader = await logged.replay(stage.names.subscriber_queue("one"), 9)
        (held,) = await receive(reader)
        await reader.close()
        assert list(await reader.receive(1)) == []
        await held.ack()
        again = await logged.replay(stage.names.subscriber_queue("one"), 9)
        await receive_and_ack(again, 2)
        await assert_closing_ends_a_receive(again)
