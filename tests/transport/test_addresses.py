"""From an address to a transport."""

from __future__ import annotations

import pytest
from pamqp import commands, frame

from choros.errors import UsageError, shown
from choros.roles.addresses import open_transport
from choros.testing.conformance.stage import command, receive_and_ack
from choros.transport.memory import MemoryTransport
from choros.transport.port import Published
from choros.transport.rabbitmq import RabbitMQTransport
from choros.transport.rabbitmq.address import Round, dialled
from choros.transport.rabbitmq.frames import ack_frame, reject_frame, requeue_frame, untouched_frame
from choros.transport.topology import topology


async def test_memory_addresses_with_the_same_name_meet() -> None:
    first, second = (open_transport("memory://meet", "ns", name) for name in ("a", "b"))
    other = open_transport("memory://elsewhere", "ns", "c")
    for transport in (first, second, other):
        await transport.connect()
    await first.declare(topology("ns", services=["payment"]))
    assert await second.send([command()]) == [Published.CONFIRMED]
    assert await other.send([command()]) == [Published.UNKNOWN]
    await receive_and_ack(await first.consume("ns.payment", 1))
    assert isinstance(first, MemoryTransport)


def test_amqp_addresses() -> None:
    for scheme in ("amqp", "amqps"):
        assert isinstance(open_transport(f"{scheme}://u:p@host/v", "ns", "me"), RabbitMQTransport)


@pytest.mark.parametrize(
    "url", ["", "localhost", "http://localhost", "amqp://", "amqp://host:port", "amqp://a:1,:2/", "amqp://a:1,,b:2/"]
)
def test_other_addresses(url: str) -> None:
    with pytest.raises(UsageError) as refused:
        open_transport(url, "ns", "me")
    assert "amqp://" in refused.value.hint


def test_what_is_shown_of_an_address() -> None:
    (address,) = dialled("amqp://user:hunter2@host/v?heartbeat=3", "me")
    assert dict(address.query) == {"heartbeat": "3", "name": "me"}
    assert shown(str(address)) == "amqp://***@host/v"


def test_the_nodes_of_a_cluster() -> None:
    """A comma may stand in a user name or a password, too, and a port be left out."""
    nodes = dialled("amqp://me:a,b@one:1,two,[::1]:3/v%2Fw?heartbeat=3", "me")
    assert [(node.host, node.port, node.user, node.password, node.raw_path) for node in nodes] == [
        ("one", 1, "me", "a,b", "/v%2Fw"),
        ("two", None, "me", "a,b", "/v%2Fw"),
        ("::1", 3, "me", "a,b", "/v%2Fw"),
    ]
    assert {dict(node.query)["heartbeat"] for node in nodes} == {"3"}


def test_every_node_has_its_turn() -> None:
    nodes = dialled("amqp://one,two,three/", "me")
    round_ = Round(nodes)
    met = []
    for _ in range(6):
        met.append(round_.address)
        round_.turn()
    assert met[:3] == met[3:]
    assert set(met) == set(nodes)


def test_settlement_frames_are_those_of_the_client() -> None:
    for tag in (1, 2**40):
        assert ack_frame(7, tag) == frame.marshal(commands.Basic.Ack(tag), 7)
        assert requeue_frame(7, tag) == frame.marshal(commands.Basic.Reject(tag, requeue=True), 7)
        assert reject_frame(7, tag) == frame.marshal(commands.Basic.Reject(tag, requeue=False), 7)
        assert untouched_frame(7, tag) == frame.marshal(commands.Basic.Nack(tag, requeue=True), 7)
