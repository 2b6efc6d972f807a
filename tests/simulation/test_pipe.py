"""The pipe between a simulated process and a simulated server: what arrives, in which pieces, and what never does."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from choros_verify.simulation.broker_latency import Latency, Network
from choros_verify.simulation.pipe import ROOM, Pipe, Pipes, PipeWriter
from tests.simulation.broker_stage import simulated

SENT = bytes(range(256)) * 8


class Echo:
    """A server that says everything again, and remembers it."""

    def __init__(self, pipe: Pipe) -> None:
        self.pipe = pipe
        self.pieces: list[bytes] = []
        self.told: list[int] = []
        self.is_over = False

    def received(self, data: bytes) -> None:
        self.pieces.append(data)
        self.pipe.answer(data, lambda: self.told.append(len(data)))

    def ended(self) -> None:
        self.is_over = True

    @property
    def heard(self) -> bytes:
        return b"".join(self.pieces)


Trip = Callable[[Echo, asyncio.StreamReader, PipeWriter, Pipes], Coroutine[Any, Any, None]]


def on_a_pipe(trip: Trip, seed: int = 0) -> Echo:
    """One connection to a server that echoes."""
    servers: list[Echo] = []

    def listen(pipe: Pipe) -> Echo:
        servers.append(Echo(pipe))
        return servers[0]

    async def main() -> None:
        pipes = Pipes(Network(random.Random(seed), Latency()))
        reader, writer = await pipes.open("payment-1", listen)
        await trip(servers[0], reader, writer, pipes)

    simulated(main, seed)
    return servers[0]


def in_tens(writer: PipeWriter) -> None:
    for start in range(0, len(SENT), 10):
        writer.write(SENT[start : start + 10])


def test_everything_arrives_in_order_wherever_it_is_broken() -> None:
    async def trip(server: Echo, reader: asyncio.StreamReader, writer: PipeWriter, _: Pipes) -> None:
        for start in range(0, len(SENT), 100):
            writer.write(SENT[start : start + 100])
            await asyncio.sleep(0.001)
        assert await reader.readexactly(len(SENT)) == SENT
        writer.close()
        await asyncio.sleep(1)
        assert server.is_over

    servers = [on_a_pipe(trip, seed) for seed in range(20)]
    for server in servers:
        assert server.heard == SENT and sum(server.told) == len(SENT)
    sizes = [len(piece) for server in servers for piece in server.pieces]
    assert any(size < 100 for size in sizes), "nothing was broken"
    assert any(size > 100 for size in sizes), "nothing was merged"


def test_a_cut_lets_some_of_it_arrive_and_tells_both() -> None:
    async def trip(server: Echo, reader: asyncio.StreamReader, writer: PipeWriter, _: Pipes) -> None:
        in_tens(writer)
        server.pipe.cut()
        assert server.is_over and SENT.startswith(server.heard)
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await reader.readexactly(len(SENT))
        with pytest.raises(ConnectionResetError):
            await writer.drain()

    heard = {len(on_a_pipe(trip, seed).heard) for seed in range(20)}
    assert any(count % 10 for count in heard), "nothing was cut off in the middle"


def test_what_was_answered_before_the_end_arrives() -> None:
    async def trip(server: Echo, reader: asyncio.StreamReader, writer: PipeWriter, _: Pipes) -> None:
        server.pipe.answer(b"farewell")
        server.pipe.end()
        assert await reader.read() == b"farewell" and writer.is_closing()

    assert on_a_pipe(trip).is_over


@pytest.mark.parametrize("there", [True, False])
def test_nobody_is_told_of_a_half_open_pipe(there: bool) -> None:
    async def trip(server: Echo, reader: asyncio.StreamReader, writer: PipeWriter, pipes: Pipes) -> None:
        server.pipe.half_open(there=there, back=not there)
        writer.write(SENT)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), 60)
        assert (server.heard == b"") is there and not writer.is_closing()
        pipes.drop("payment-1")
        assert server.is_over is not there

    on_a_pipe(trip)


def test_who_does_not_read_makes_the_other_wait() -> None:
    async def trip(server: Echo, reader: asyncio.StreamReader, writer: PipeWriter, _: Pipes) -> None:
        server.pipe.stop_reading()
        writer.write(bytes(ROOM + 1))
        draining = asyncio.ensure_future(writer.drain())
        await asyncio.sleep(10)
        assert not draining.done() and server.heard == b""
        server.pipe.go_on_reading()
        await draining
        await reader.readexactly(ROOM + 1)

    on_a_pipe(trip)


def test_a_slow_or_stalled_pipe_delivers_in_the_end() -> None:
    async def trip(server: Echo, reader: asyncio.StreamReader, writer: PipeWriter, _: Pipes) -> None:
        server.pipe.stall(5)
        server.pipe.slow(60)
        writer.write(SENT)
        assert await reader.readexactly(len(SENT)) == SENT
        assert asyncio.get_running_loop().time() > 5 and max(map(len, server.pieces)) <= 40

    on_a_pipe(trip)


def test_a_process_that_is_gone_is_missed() -> None:
    async def trip(server: Echo, _: asyncio.StreamReader, writer: PipeWriter, pipes: Pipes) -> None:
        in_tens(writer)
        pipes.drop("payment-1")
        assert server.is_over and SENT.startswith(server.heard) and pipes.of("payment-1") == []

    on_a_pipe(trip)
