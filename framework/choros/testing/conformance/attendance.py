"""What it is to ask who consumes a queue: a suite for adapters of the transport port, to be mixed into
`TransportConformance`.

class TestMyTransport(TransportConformance, AttendanceConformance): ...
"""

from choros.testing.conformance.stage import Stage, command, receive, receive_and_ack
from choros.transport.port import Seen, Transport


class AttendanceConformance:
    """It changes nothing, and says who is there."""

    async def test_it_counts_consumers_and_what_waits(self, stage: Stage, transport: Transport) -> None:
        queue = stage.names.service_queue("payment")
        await transport.send([command(), command()])
        assert await transport.attendance(queue) == Seen("there", 0, 2)
        consumer = await transport.consume(queue, 1)
        (delivery,) = await receive(consumer)
        assert await transport.attendance(queue) == Seen("there", 1, 1)
        await delivery.ack()
        await receive_and_ack(consumer)

    async def test_asking_for_what_is_not_there_harms_nothing(self, stage: Stage, transport: Transport) -> None:
        queue = stage.names.service_queue("payment")
        await transport.send([command()])
        for _ in range(2):
            assert await transport.attendance(stage.names.service_queue("nobody")) == Seen("missing")
            assert await transport.attendance(queue) == Seen("there", 0, 1)
        await transport.close()
        assert await transport.attendance(queue) == Seen("untold")
