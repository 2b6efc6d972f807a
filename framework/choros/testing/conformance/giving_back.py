"""What it is to leave a message to another consumer: a suite for adapters of the transport port, to be mixed into
`TransportConformance`.

class TestMyTransport(TransportConformance, GivingBackConformance): ...
"""

from choros.testing.conformance.stage import Stage, assert_silent, command, fact, receive, receive_and_ack, reply
from choros.transport.port import Transport
from choros.transport.reply_queues import reply_queue, reply_queues
from choros.wire.envelope import decode


class GivingBackConformance:
    """It comes again, and says how often it has been left."""

    async def test_what_is_passed_on_comes_to_the_other_consumer_and_says_how_often(
        self, stage: Stage, transport: Transport
    ) -> None:
        queue = stage.names.service_queue("payment")
        sent = command()
        await transport.send([sent])
        first = await transport.consume(queue, 1)
        (delivery,) = await receive(first)
        assert (delivery.returns, delivery.fresh) == (0, True)
        second = await transport.consume(queue, 1)
        await first.close()
        delivery.pass_on(0.05)
        await delivery.ack()  # it is settled: the first verb wins
        (again,) = await receive(second)
        assert (decode(again.wire).id, again.returns, again.fresh) == (sent.id, 1, False)
        again.pass_on(0.0)
        assert (await receive(second))[0].returns == 2

    async def test_a_retry_that_is_no_try_counts_apart(self, stage: Stage, transport: Transport) -> None:
        await transport.publish([fact()])
        consumer = await transport.consume(stage.names.subscriber_queue("one"), 1)
        (delivery,) = await receive(consumer)
        assert (delivery.retries, delivery.waits, delivery.fresh) == (0, 0, True)
        await delivery.retry(1, tried=False)
        (waited,) = await receive(consumer)
        assert (waited.retries, waited.waits, waited.fresh) == (0, 1, False)
        await waited.retry(1)
        (tried,) = await receive(consumer)
        assert (tried.retries, tried.waits, tried.fresh) == (1, 1, False)
        await tried.ack()

    async def test_the_reply_queues_of_two_stores_are_apart_and_park_in_one_place(
        self, stage: Stage, transport: Transport
    ) -> None:
        for store in ("a0", "b1"):
            await transport.declare(reply_queues(stage.namespace, "app", store))
        queues = [reply_queue(stage.namespace, "app", store) for store in ("a0", "b1", "")]
        consumers = [await transport.consume(queue, 1) for queue in queues]
        sent = [reply(queue) for queue in queues]
        await transport.send(sent)
        for message, consumer in zip(sent, consumers, strict=True):
            (delivery,) = await receive(consumer)
            assert decode(delivery.wire).id == message.id
            await delivery.dead_letter("not wanted")
            await assert_silent(consumer, 0.05)
        parked = await transport.consume(stage.names.dead_queue(queues[-1]), 3)
        assert len(await receive_and_ack(parked, 3)) == 3
