"""Where nothing can come from outside, time that a test waits for passes at once; else it is the system's."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from choros import sources
from tests.virtual_time import VirtualTimeLoop

HOUR = 3600.0


def loop() -> VirtualTimeLoop:
    running = asyncio.get_running_loop()
    assert isinstance(running, VirtualTimeLoop)
    return running


async def test_an_hour_takes_no_time_and_both_clocks_show_it() -> None:
    begun, epoch = loop().time(), sources.now()
    await asyncio.sleep(HOUR)
    assert HOUR <= loop().time() - begun < HOUR + 60
    assert HOUR <= sources.now() - epoch < HOUR + 60


async def test_a_limit_is_reached_at_once() -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(HOUR):
            await asyncio.Event().wait()


async def test_what_is_due_first_comes_first() -> None:
    came: list[int] = []

    async def come(number: int) -> None:
        await asyncio.sleep(number * HOUR)
        came.append(number)

    await asyncio.gather(*(come(number) for number in (3, 1, 2)))
    assert came == [1, 2, 3]


async def test_a_thread_is_waited_for() -> None:
    """What it does may take as long as it likes: no limit passes meanwhile but the system's."""
    go, done = threading.Event(), asyncio.Event()
    running = loop()

    def work() -> None:
        go.wait(30)
        time.sleep(0.05)
        running.call_soon_threadsafe(done.set)

    thread = threading.Thread(target=work)
    thread.start()
    go.set()
    async with asyncio.timeout(HOUR):
        await done.wait()
    thread.join()
    assert running.skipped == 0.0


async def test_a_socket_is_waited_for() -> None:
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    begun = time.monotonic()
    await asyncio.sleep(0.05)
    assert time.monotonic() - begun >= 0.05
    server.close()
    await server.wait_closed()
