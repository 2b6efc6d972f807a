"""What a transport is: tests for every adapter, run by pytest and pytest-asyncio, each in a namespace of its own.

    class TestMyTransport(TransportConformance):
        def open(self, namespace: str) -> Transport:
            return MyTransport(..., namespace)
        async def publish_raw(self, exchange: str, key: str, wire: Wire) -> None:
            ...  # by any means: what a stranger could put on the broker

For readable failures see `choros.testing.conformance`.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from choros.sources import fresh_id
from choros.testing.conformance.stage import (
    PATIENCE,
    Stage,
    assert_closing_ends_a_receive,
    assert_silent,
    command,
    fact,
    misconfigured,
    receive,
    receive_and_ack,
    reply,
)
from choros.transport.copies import ORIGINAL_QUEUE, REASON
from choros.transport.port import Published, Transport
from choros.transport.topology import RETRY_LADDER, Queue, Topology, topology
from choros.wire.envelope import Wire, decode


class TransportConformance(ABC):
    """Subclass it, name one way to open a transport, and run it."""

    @abstractmethod
    def open(self, namespace: str) -> Transport:
        """A new transport for this namespace, on always the same broker, not yet connected."""

    @abstractmethod
    async def publish_raw(self, exchange: str, key: str, wire: Wire) -> None:
        """Put on the broker what no transport of choros would send: only the subclass knows its broker's own client."""

    async def clean(self, namespace: str) -> None:
        """Remove what a test has left on the broker, if that matters."""
        return

    @pytest.fixture
    async def stage(self) -> AsyncIterator[Stage]:
        """A namespace for one test, closed and cleaned afterwards."""
        stage = Stage(f"t{fresh_id()[-12:]}", self.open)
        try:
            yield stage
        finally:
            await stage.close()
            await self.clean(stage.namespace)

    @pytest.fixture
    async def transport(self, stage: Stage) -> Transport:
        """One that is connected to a broker with all that the shop needs."""
        return await stage.transport(stage.shop())

    async def test_a_command_arrives_with_every_field(self, stage: Stage, transport: Transport) -> None:
        consumer = await transport.consume(stage.names.service_queue("payment"), 10)
        sent = command()
        assert await transport.send([sent]) == [Published.CONFIRMED]
        (delivery,) = await receive(consumer)
        assert replace(decode(delivery.wire), to=sent.to) == sent
        assert (delivery.exchange, delivery.retries) == (stage.names.commands, 0)
        await delivery.ack()

    async def test_a_reply_goes_to_its_application(self, stage: Stage, transport: Transport) -> None:
        queue = stage.names.reply_queue("app")
        consumer = await transport.consume(queue, 10)
        for service in ("payment", "shipping"):  # who answers is known by the exchange
            sent = [reply(queue, service), reply(stage.names.reply_queue("nobody"), service)]
            assert await transport.send(sent) == [Published.CONFIRMED, Published.RETURNED]
            (delivery,) = await receive(consumer)
            assert replace(decode(delivery.wire), to=queue) == sent[0]
            assert delivery.exchange == stage.names.replies_of(service)
            await delivery.ack()

    async def test_who_tells_is_known_by_the_exchange_at_first_and_by_that_of_retries_later(
        self, stage: Stage, transport: Transport
    ) -> None:
        consumer = await transport.consume(stage.names.subscriber_queue("one"), 10)
        await transport.publish([fact()])
        for exchange in (stage.names.facts_of("app"), stage.names.retry):
            (delivery,) = await receive(consumer)
            assert delivery.exchange == exchange
            await (delivery.retry(1) if delivery.retries == 0 else delivery.ack())

    async def test_a_fact_arrives_with_every_field(self, stage: Stage, transport: Transport) -> None:
        consumer = await transport.consume(stage.names.subscriber_queue("one"), 10)
        sent = fact()
        await transport.publish([sent])
        assert await receive_and_ack(consumer) == [sent]

    async def test_a_command_to_nobody_is_returned(self, transport: Transport) -> None:
        answers = await transport.send([command("payment"), command("nobody"), command("payment")])
        assert answers == [Published.CONFIRMED, Published.RETURNED, Published.CONFIRMED]

    async def test_a_confirmed_message_waits_for_its_consumer(self, stage: Stage, transport: Transport) -> None:
        assert await transport.send([command()]) == [Published.CONFIRMED]
        await transport.close()
        later = await stage.transport()
        consumer = await later.consume(stage.names.service_queue("payment"), 1)
        await receive_and_ack(consumer)

    async def test_a_message_that_cannot_be_written_holds_no_other(self, transport: Transport) -> None:
        sent = [command(number=0), replace(command(number=1), not_after=9e13), command(number=2)]
        assert await transport.send(sent) == [Published.CONFIRMED, Published.NACKED, Published.CONFIRMED]
        facts = [replace(fact(1, "a"), time=9e13), fact(2, "a"), fact(1, "b")]
        bad, behind, other = await transport.publish(facts)
        assert (bad, other) == (Published.NACKED, Published.CONFIRMED)
        assert behind in (Published.NACKED, Published.UNKNOWN)

    async def test_no_messages_have_no_answers(self, transport: Transport) -> None:
        assert list(await transport.send([])) == []
        assert list(await transport.publish([])) == []

    async def test_a_fact_reaches_every_subscriber(self, stage: Stage, transport: Transport) -> None:
        consumers = [await transport.consume(stage.names.subscriber_queue(s), 10) for s in ("one", "two")]
        assert await transport.publish([fact()]) == [Published.CONFIRMED]
        for consumer in consumers:
            await receive_and_ack(consumer)
            await assert_silent(consumer)

    async def test_a_fact_without_any_queue_is_returned(self, stage: Stage) -> None:
        transport = await stage.transport(topology(stage.namespace, applications=["app"]))
        assert await transport.publish([fact()]) == [Published.RETURNED]

    async def test_facts_of_a_stream_stay_in_order(self, stage: Stage, transport: Transport) -> None:
        consumer = await transport.consume(stage.names.subscriber_queue("one"), 100)
        facts = [fact(seq, stream) for seq in range(1, 21) for stream in ("a", "b", "c")]
        assert await transport.publish(facts) == [Published.CONFIRMED] * len(facts)
        received = await receive_and_ack(consumer, len(facts))
        for stream in ("a", "b", "c"):
            assert [f.seq for f in received if f.stream == stream] == list(range(1, 21))

    async def test_a_large_batch(self, stage: Stage, transport: Transport) -> None:
        consumer = await transport.consume(stage.names.service_queue("payment"), 50)
        sent = [command(number=number) for number in range(500)]
        assert await transport.send(sent) == [Published.CONFIRMED] * 500
        received = await receive_and_ack(consumer, 500)
        assert [envelope.id for envelope in received] == [envelope.id for envelope in sent]

    async def test_no_more_than_the_prefetch_is_out(self, stage: Stage, transport: Transport) -> None:
        consumer = await transport.consume(stage.names.service_queue("payment"), 3)
        await transport.send([command(number=number) for number in range(7)])
        held = await receive(consumer, 3)
        await assert_silent(consumer)
        await held[0].ack()
        held += await receive(consumer)
        await assert_silent(consumer)

    async def test_receive_takes_no_more_than_asked_for(self, stage: Stage, transport: Transport) -> None:
        consumer = await transport.consume(stage.names.service_queue("payment"), 10)
        await transport.send([command(number=number) for number in range(4)])
        received = 0
        async with asyncio.timeout(PATIENCE):
            while received < 4:
                deliveries = await consumer.receive(2)
                assert 1 <= len(deliveries) <= 2
                received += len(deliveries)

    async def test_what_is_not_settled_comes_again(self, stage: Stage, transport: Transport) -> None:
        queue = stage.names.service_queue("payment")
        consumer = await transport.consume(queue, 10)
        sent = [command(number=number) for number in range(3)]
        await transport.send(sent)
        await (await receive(consumer, 3))[1].ack()
        await transport.close()
        again = await (await stage.transport()).consume(queue, 10)
        received = await receive_and_ack(again, 2)
        assert {envelope.id for envelope in received} == {sent[0].id, sent[2].id}
        await assert_silent(again)

    async def test_what_is_settled_does_not_come_again(self, stage: Stage, transport: Transport) -> None:
        queue = stage.names.service_queue("payment")
        await transport.send([command(number=number) for number in range(20)])
        await receive_and_ack(await transport.consume(queue, 20), 20)
        await transport.close()
        await assert_silent(await (await stage.transport()).consume(queue, 10))

    async def test_settling_twice_does_nothing(self, stage: Stage, transport: Transport) -> None:
        consumer = await transport.consume(stage.names.service_queue("payment"), 1)
        await transport.send([command(), command()])
        (first,) = await receive(consumer)
        await first.ack()
        await first.ack()
        await first.dead_letter("not any more")
        await receive_and_ack(consumer)
        await transport.send([command()])
        await receive_and_ack(consumer)

    async def test_a_closed_consumer_gives_nothing_but_can_settle(self, stage: Stage, transport: Transport) -> None:
        queue = stage.names.service_queue("payment")
        consumer = await transport.consume(queue, 2)
        sent = [command(number=number) for number in range(3)]
        await transport.send(sent)
        (held,) = await receive(consumer)
        await consumer.close()
        assert list(await consumer.receive(1)) == []
        other = await transport.consume(queue, 10)
        await held.ack()
        received = await receive_and_ack(other, 2)
        assert {envelope.id for envelope in received} == {sent[1].id, sent[2].id}
        await assert_silent(other)

    async def test_closing_ends_a_waiting_receive(self, stage: Stage, transport: Transport) -> None:
        consumer = await transport.consume(stage.names.service_queue("payment"), 1)
        await assert_closing_ends_a_receive(consumer)

    async def test_two_consumers_share_a_queue(self, stage: Stage) -> None:
        first, second = await stage.transport(stage.shop()), await stage.transport()
        queue = stage.names.service_queue("payment")
        consumers = [await first.consume(queue, 2), await second.consume(queue, 2)]
        await first.send([command(number=number) for number in range(4)])
        received = [await receive_and_ack(consumer, 2) for consumer in consumers]
        assert len({envelope.id for part in received for envelope in part}) == 4

    async def test_a_retry_comes_back_later_and_only_here(self, stage: Stage, transport: Transport) -> None:
        mine = await transport.consume(stage.names.subscriber_queue("one"), 10)
        other = await transport.consume(stage.names.subscriber_queue("two"), 10)
        sent = fact()
        await transport.publish([sent])
        await receive_and_ack(other)
        now = asyncio.get_running_loop().time  # which a simulation moves on by itself
        asked = now()
        for count in range(2):
            (delivery,) = await receive(mine)
            assert delivery.retries == count
            asked = now()
            await delivery.retry(RETRY_LADDER[0] / 2)
        (delivery,) = await receive(mine)
        assert now() - asked >= RETRY_LADDER[0] * 0.95
        assert delivery.retries == 2
        assert decode(delivery.wire) == sent
        await delivery.ack()
        await assert_silent(mine)
        await assert_silent(other, 0.05)

    async def test_a_retry_without_a_ladder_comes_back_too(self, stage: Stage, transport: Transport) -> None:
        consumer = await transport.consume(stage.names.service_queue("payment"), 10)
        await transport.send([command()])
        (delivery,) = await receive(consumer)
        now = asyncio.get_running_loop().time
        asked = now()
        await delivery.retry(0.2)
        await receive_and_ack(consumer)
        assert now() - asked >= 0.19

    async def test_a_dead_letter_is_parked_once_with_its_reason(self, stage: Stage, transport: Transport) -> None:
        queue = stage.names.subscriber_queue("one")
        consumer = await transport.consume(queue, 10)
        parked = await transport.consume(stage.names.dead_queue(queue), 10)
        sent = fact()
        await transport.publish([sent])
        (delivery,) = await receive(consumer)
        await delivery.dead_letter("no such order")
        (copy,) = await receive(parked)
        assert decode(copy.wire) == sent
        assert copy.wire.headers[REASON] == "no such order"
        assert copy.wire.headers[ORIGINAL_QUEUE] == queue
        await copy.ack()
        await assert_silent(parked)
        await assert_silent(consumer, 0.05)

    async def test_rubbish_is_delivered_and_can_be_parked(self, stage: Stage, transport: Transport) -> None:
        queue = stage.names.service_queue("payment")
        consumer = await transport.consume(queue, 10)
        parked = await transport.consume(stage.names.dead_queue(queue), 10)
        nested = {
            "a": {"b": [1, "two", None]},
            "n": -1,
            "t": True,
            "raw": bytearray(b"\x00\xff"),
            "CC": ["elsewhere"],
        }
        large = b"\xfe\x00" * (1024 * 1024)
        for wire in (Wire(b"", {}), Wire(b"\xff{", nested, content_type="x/y"), Wire(large, {"f": 1.5})):
            await self.publish_raw(stage.names.commands, "payment", wire)
            (delivery,) = await receive(consumer)
            assert delivery.wire.body == wire.body
            await delivery.dead_letter("rubbish")
            (copy,) = await receive(parked)
            assert copy.wire.body == wire.body
            assert copy.wire.content_type == wire.content_type
            assert "CC" not in copy.wire.headers
            await copy.ack()
        await assert_silent(consumer)

    async def test_what_comes_back_too_often_is_parked_by_the_broker(self, stage: Stage) -> None:
        declared = _limited(stage.shop(), 2)
        queue = stage.names.service_queue("payment")
        await (await stage.transport(declared)).send([command()])
        for _ in range(3):
            transport = await stage.transport()
            await receive(await transport.consume(queue, 1))
            await transport.close()
        transport = await stage.transport()
        parked = await transport.consume(stage.names.dead_queue(queue), 1)
        await receive_and_ack(parked)
        await assert_silent(await transport.consume(queue, 1))

    async def test_declaring_twice_changes_nothing(self, stage: Stage, transport: Transport) -> None:
        await transport.send([command()])
        await transport.declare(stage.shop())
        await (await stage.transport()).declare(stage.shop())
        await receive_and_ack(await transport.consume(stage.names.service_queue("payment"), 1))

    async def test_declaring_with_other_arguments_is_refused(self, stage: Stage, transport: Transport) -> None:
        queue = stage.names.service_queue("payment")
        refused = await misconfigured(transport.declare(_limited(stage.shop(), 7)))
        assert queue in str(refused)
        assert refused.hint
        assert await transport.send([command()]) == [Published.CONFIRMED]

    async def test_a_queue_that_never_was_cannot_be_consumed(self, stage: Stage, transport: Transport) -> None:
        consumer = await transport.consume(stage.names.service_queue("nobody"), 1)
        assert "nobody" in str(await misconfigured(consumer.receive(1)))

    async def test_connected_while_open(self, stage: Stage) -> None:
        transport = await stage.transport()
        before = transport.connected, transport.health.state
        await transport.close()
        after = transport.connected, transport.health.state
        assert (before, after) == ((True, "connected"), (False, "away"))
        assert await transport.send([command()]) == [Published.UNKNOWN]


def _limited(declared: Topology, limit: int) -> Topology:
    """The same with another delivery limit on the working queues."""
    queues = tuple(
        Queue(queue.name, {**queue.arguments, "x-delivery-limit": limit})
        if "x-delivery-limit" in queue.arguments
        else queue
        for queue in declared.queues
    )
    return replace(declared, queues=queues)
